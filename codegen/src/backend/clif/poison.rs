//! NaN wherever a compiled task has not written, where debug assertions are on.
//!
//! What a tile's padding, a workspace or a place before its first write holds may reach no result.
//! Whether it does cannot be seen from a result alone: left-over numbers are mostly plausible. So
//! the scratch is filled with NaN when a chunk begins, a tile's whole place and a step's room before
//! the step, and the padding of what it wrote after it: every step of every size meets nothing but
//! its operands and NaN.

use super::emit::{Emitter, NUMBER};
use super::plan::{Buffer, Place, Step, Work};
use baton_ir::tile::Op;
use cranelift_codegen::ir::{InstBuilder, Value};

/// Fills `rows` rows of `cols` numbers with NaN; the stride counts bytes.
///
/// # Safety
///
/// The rows lie in memory that the caller may write.
unsafe extern "C" fn fill(at: *mut f32, stride: i64, rows: i64, cols: i64) {
    for r in 0..rows as isize {
        for c in 0..cols as isize {
            // SAFETY: inside the rows that the caller vouches for.
            unsafe { *at.byte_offset(r * stride as isize).offset(c) = f32::NAN }
        }
    }
}

impl Emitter<'_, '_> {
    /// All of the scratch.
    pub fn poison_scratch(&mut self) {
        let at = self.scratch;
        self.poison(at, 0, 1, self.plan.scratch);
    }

    /// What `step` writes anew, and its room.
    pub fn poison_before(&mut self, step: Step) {
        if step.numbers > 0 {
            let offset = step.room as i64 * NUMBER;
            let at = self.scratch;
            let at = self.builder.ins().iadd_imm_s(at, offset);
            self.poison(at, 0, 1, step.numbers);
        }
        let Some(to) = self.writes(step.work) else {
            return;
        };
        let tile = self.plan.tiles[to];
        let over = match step.work {
            Work::Compute(node) => {
                let operands = self.plan.operands(self.program, node);
                let mut places = operands.iter().map(|t| self.plan.tiles[t.index()].place);
                places.any(|place| place == tile.place)
            }
            _ => false,
        };
        if matches!(tile.place, Place::Scratch(_)) && !over {
            let at = self.place(to);
            self.poison(at, 0, 1, tile.rows * tile.row);
        }
    }

    /// The padding of what `step` wrote.
    pub fn poison_after(&mut self, step: Step) {
        let to = match step.work {
            Work::Compute(node) => self.plan.summed[node.index()].or(self.writes(step.work)),
            Work::AddHead { to, .. } => Some(to),
            work => self.writes(work),
        };
        if let Some(to) = to {
            self.poison_padding(to);
        }
    }

    /// The padding of a buffer.
    pub fn poison_padding(&mut self, buffer: Buffer) {
        let tile = self.plan.tiles[buffer];
        if matches!(tile.place, Place::Scratch(_)) && tile.cols < tile.row {
            let at = self.place(buffer);
            let at = self.builder.ins().iadd_imm_s(at, tile.cols as i64 * NUMBER);
            let stride = tile.row as i64 * NUMBER;
            self.poison(at, stride, tile.rows, tile.row - tile.cols);
        }
    }

    /// The buffer that a step makes.
    fn writes(&self, work: Work) -> Option<Buffer> {
        match work {
            Work::Compute(node) if self.plan.summed[node.index()].is_some() => None,
            Work::Compute(node) if matches!(self.program.node(node).op, Op::HeadSum(_)) => None,
            Work::Compute(node) => Some(node.index()),
            Work::Turn { to, .. } => Some(to),
            Work::AddHead { .. } | Work::Effect(_) => None,
        }
    }

    fn poison(&mut self, at: Value, stride: i64, rows: usize, cols: usize) {
        let [stride, rows, cols] = [stride, rows as i64, cols as i64].map(|x| self.word(x));
        self.call(fill as *const () as usize, &[at, stride, rows, cols]);
    }
}
