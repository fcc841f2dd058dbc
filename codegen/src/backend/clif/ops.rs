//! Each op as a call of its micro-kernel; maps go to `map`.

use super::emit::{Emitter, NUMBER};
use super::micro::{Shape, running, scan_flags};
use super::plan::{Buffer, Form, Place, form};
use super::{functions, map, products};
use baton_ir::chunked::{Interval, Partial};
use baton_ir::running::Scan;
use baton_ir::tile::{Along, Fill, Op, TileId, Triangle, Zeros};
use cranelift_codegen::ir::{InstBuilder, Value};

impl Emitter<'_, '_> {
    /// Computes a node, with `room` as its workspace.
    pub fn compute(&mut self, tile: TileId, room: usize) {
        let program = self.program;
        let node = program.node(tile);
        let out = tile.index();
        match &node.op {
            Op::Load(port, fill) => self.load(*port, *fill, out),
            Op::Carry(carry) => {
                let to = self.plan.tiles[out];
                if !matches!(to.place, Place::Carry(_)) {
                    let from = self.carried(*carry);
                    let (d, s) = (self.place(out), self.carry(*carry));
                    self.rows(self.kernels.copy as usize, d, to, s, from);
                }
            }
            Op::HeadSum(_) => (),
            op if let Some(alone) = functions::alone_in(op) => self.function(out, &alone),
            op if let Some(products) = products::alone_in(op) => self.multiply(out, op, &products),
            Op::Map {
                shape,
                operands,
                body,
                reduce,
            } => map::Map {
                shape,
                operands,
                body,
                reduce: *reduce,
                out,
            }
            .emit(self),
            Op::Matmul {
                a,
                ta,
                b,
                tb,
                add,
                triangle,
            } => self.matmul(out, (*a, *ta), (*b, *tb), *add, *triangle),
            Op::Decay(interval, strict, l) => self.decay(out, *interval, *strict, l.index()),
            Op::Spread(interval, strict, x) => {
                self.spread(out, *interval, *strict, x.index(), room);
            }
            Op::Trilinear(partial, strict, operands, l) => {
                self.trilinear(out, *partial, *strict, operands, *l, room);
            }
            Op::Solve { transposed, l, r } => self.solve(out, *transposed, l.index(), r.index()),
            Op::Running(scan) => self.running(out, scan),
            Op::Delay { reverse, x, border } => {
                self.delay(out, *reverse, x.index(), border.index());
            }
            Op::Edge { reverse, x } => self.edge(out, *reverse, x.index()),
        }
    }

    fn matmul(
        &mut self,
        out: Buffer,
        (a, ta): (TileId, bool),
        (b, tb): (TileId, bool),
        add: Option<TileId>,
        triangle: Triangle,
    ) {
        let form = form(&self.program.node(a).shape, ta, tb);
        let (left, right) = (self.plan.tiles[a.index()], self.plan.tiles[b.index()]);
        let sum = self.plan.summed[out];
        let target = sum.unwrap_or(out);
        let result = self.plan.tiles[target];
        let (mut m, mut k) = (left.rows, left.cols);
        let (mut a_row, mut a_col) = (left.row, 1);
        if ta {
            (m, k) = (k, m);
            (a_row, a_col) = (a_col, a_row);
        }
        let n = if tb { right.rows } else { right.cols };
        // What is claimed and what is known by itself; a triangle of `a` comes first, as what
        // it leaves out may not be read, while what is left out of the result is not needed.
        let zero = match triangle {
            Triangle::A => self.plan.gives[a.index()].zeros.max(Zeros::Above),
            _ => self.plan.gives[a.index()].zeros,
        };
        let triangle = match (zero, ta, triangle) {
            (Zeros::Above, false, _) => Shape::LowerA,
            (Zeros::Above, true, _) => Shape::UpperA,
            (Zeros::Diagonal, false, _) => Shape::StrictLowerA,
            (Zeros::Diagonal, true, _) => Shape::StrictUpperA,
            (Zeros::Nowhere, _, Triangle::Out) => Shape::LowerC,
            (Zeros::Nowhere, ..) => Shape::Full,
        };
        let (mut from, mut to) = (a.index(), b.index());
        let (mut b_row, width) = (right.row, n.next_multiple_of(16));
        let mut kernel = self.kernels.matmul as usize;
        match form {
            Form::Rows => (),
            Form::TurnedRows => {
                to = self.plan.turned[b.index()].unwrap_or(to);
                b_row = self.plan.tiles[to].row;
            }
            Form::Dot => {
                (from, to) = (to, from);
                (a_row, m) = (right.row, n);
                kernel = self.kernels.dot_rows as usize;
            }
        }
        let scaled = self.plan.scaled[out];
        let add = scaled.map(|scaled| scaled.tile).or(add);
        let added = sum.or(add.map(|add| add.index()));
        let add_row = added.map_or(0, |add| self.plan.tiles[add].row);
        let (from, to, result_at) = (self.place(from), self.place(to), self.place(target));
        let added = match added {
            Some(add) => self.place(add),
            None => self.word(0),
        };
        let (scale, along) = match scaled {
            Some(scaled) => (self.place(scaled.by.index()), Some(scaled.along)),
            None => (self.word(0), None),
        };
        let [scale_row, scale_col] =
            [Along::First, Along::Second].map(|each| self.word(i64::from(along == Some(each))));
        let [a_row, a_col, b_row, add_row, c_row, m, n] =
            [a_row, a_col, b_row, add_row, result.row, m, width].map(|x| self.word(x as i64));
        let steps =
            |tile: TileId, axis: bool| self.plan.gives[tile.index()].steps[usize::from(axis)];
        let k = match steps(a, !ta) || steps(b, tb) {
            true => self.valid,
            false => self.word(k as i64),
        };
        let words = [
            from, a_row, a_col, to, b_row, added, add_row, scale, scale_row, scale_col, result_at,
            c_row, m, n, k,
        ];
        match form {
            Form::Dot => self.call_with(kernel, &words, &[]),
            _ => {
                let triangle = self.word(triangle as i64);
                self.call_with(kernel, &words, &[triangle]);
            }
        }
    }

    /// A scan over the steps of `x`; one from the last step to the first begins at the last
    /// valid one, and is zero past it, where it is an adjoint (`valid`).
    fn scan(&mut self, out: Buffer, x: Buffer, flags: i64, valid: bool) {
        let (from, to) = (self.plan.tiles[x], self.plan.tiles[out]);
        let vector = self.program.nodes[x].shape.len() == 1;
        let (rows, cols, from_row, to_row) = match vector {
            true => (from.cols, 1, 1, 1),
            false => (from.rows, from.cols, from.row, to.row),
        };
        let (d, s) = (self.place(out), self.place(x));
        let stride = self.word(to_row as i64 * NUMBER);
        let [to_row, from_row, rows, cols] =
            [to_row, from_row, rows, cols].map(|x| self.word(x as i64));
        let flags = self.word(flags);
        let rows = if valid { self.valid } else { rows };
        self.call(
            self.kernels.scan as usize,
            &[d, to_row, s, from_row, rows, cols, flags],
        );
        if valid {
            self.past_the_end(d, stride, cols, Fill::Zero);
        }
    }

    fn decay(&mut self, out: Buffer, interval: Interval, strict: bool, l: Buffer) {
        match interval {
            Interval::Between => {
                let (d, s) = (self.place(out), self.place(l));
                let row = self.plan.tiles[out].row as i64;
                let size = i64::from(self.program.chunk);
                let words = [row, 0, size, 0, i64::from(strict)].map(|x| self.word(x));
                let [row, none, size, no_room, strict] = words;
                self.call(
                    self.kernels.decay_between as usize,
                    &[d, row, s, none, size, no_room, strict],
                );
            }
            Interval::Start => self.scan(out, l, scan_flags(false, !strict, true, false), false),
            Interval::End => self.scan(out, l, scan_flags(true, false, true, false), false),
            Interval::Total => self.scan(out, l, scan_flags(false, true, true, true), false),
        }
    }

    fn spread(&mut self, out: Buffer, interval: Interval, strict: bool, x: Buffer, room: usize) {
        match interval {
            Interval::Between => {
                let (d, s) = (self.place(out), self.place(x));
                let row = self.plan.tiles[x].row as i64;
                let [none, row, strict, stride, cols] =
                    [0, row, i64::from(strict), NUMBER, 1].map(|x| self.word(x));
                let room = self.room(room);
                self.call(
                    self.kernels.spread_between as usize,
                    &[d, none, s, row, self.valid, room, strict],
                );
                self.past_the_end(d, stride, cols, Fill::Zero);
            }
            Interval::Start => self.scan(out, x, scan_flags(true, !strict, false, false), true),
            Interval::End => self.scan(out, x, scan_flags(false, false, false, false), false),
            Interval::Total => {
                let (d, s) = (self.place(out), self.place(x));
                let (from, to) = (self.plan.tiles[x], self.plan.tiles[out]);
                let number = self.program.nodes[x].shape.is_empty();
                let (stride, cols) = match number {
                    true => (NUMBER, 1),
                    false => (to.row as i64 * NUMBER, from.cols as i64),
                };
                let size = i64::from(self.program.chunk);
                let [stride, none, size, cols] = [stride, 0, size, cols].map(|x| self.word(x));
                self.call(
                    self.kernels.copy as usize,
                    &[d, stride, s, none, size, cols],
                );
            }
        }
    }

    /// A solve for the valid steps; the others are zero.
    fn solve(&mut self, out: Buffer, transposed: bool, l: Buffer, r: Buffer) {
        let mut words = vec![];
        for buffer in [l, r, out] {
            let row = self.plan.tiles[buffer].row as i64;
            words.push(self.place(buffer));
            words.push(self.word(row));
        }
        let to = self.plan.tiles[out];
        let [columns, transposed, stride, cols] = [
            to.cols.next_multiple_of(16) as i64,
            i64::from(transposed),
            to.row as i64 * NUMBER,
            to.cols as i64,
        ]
        .map(|x| self.word(x));
        words.extend([self.valid, columns]);
        self.call_with(self.kernels.solve as usize, &words, &[transposed]);
        let to = self.place(out);
        self.past_the_end(to, stride, cols, Fill::Zero);
    }

    /// Bytes from step to step of a tile, and numbers of a step: of a vector over the steps one.
    fn pace(&self, tile: Buffer) -> [i64; 2] {
        let place = self.plan.tiles[tile];
        match self.program.nodes[tile].shape.len() {
            1 => [NUMBER, 1],
            _ => [place.row as i64 * NUMBER, place.cols as i64],
        }
    }

    /// A running extreme or an angle over the valid steps; the rows past them are the last one.
    fn running(&mut self, out: Buffer, scan: &Scan<TileId>) {
        let scan = scan.map(TileId::index);
        let floor = scan.bound.floor().unwrap_or(scan.shift);
        let [stride, cols] = self.pace(out).map(|x| self.word(x));
        let rows = [scan.shift, floor, out].map(|tile| self.pace(tile)[0] / NUMBER);
        let [by, to, row] = rows.map(|row| self.word(row));
        let [shift, floor, entering, result] =
            [scan.shift, floor, scan.entering, out].map(|tile| self.place(tile));
        let words = [
            shift, by, floor, to, entering, result, row, self.valid, cols,
        ];
        let kind = self.word(running::kind(scan.bound));
        self.call_with(self.kernels.running as usize, &words, &[kind]);
        self.past_the_end(result, stride, cols, Fill::Repeat);
    }

    /// The valid steps moved by one, the border in the place that is left.
    fn delay(&mut self, out: Buffer, reverse: bool, x: Buffer, border: Buffer) {
        let ([to_step, cols], [from_step, _]) = (self.pace(out), self.pace(x));
        let (to, from, at_border) = (self.place(out), self.place(x), self.place(border));
        let [to_row, from_row, cols, one, none] =
            [to_step, from_step, cols, 1, 0].map(|x| self.word(x));
        let moved = self.builder.ins().iadd_imm_s(self.valid, -1);
        let last = self.builder.ins().imul_imm_s(moved, to_step);
        let last = self.builder.ins().iadd(to, last);
        let (source, target, place) = match reverse {
            true => (self.builder.ins().iadd_imm_s(from, from_step), to, last),
            false => (from, self.builder.ins().iadd_imm_s(to, to_step), to),
        };
        let copy = self.kernels.copy as usize;
        self.call(copy, &[target, to_row, source, from_row, moved, cols]);
        self.call(copy, &[place, to_row, at_border, none, one, cols]);
        let fill = if reverse { Fill::Zero } else { Fill::Repeat };
        self.past_the_end(to, to_row, cols, fill);
    }

    /// The last valid step, or the first.
    fn edge(&mut self, out: Buffer, reverse: bool, x: Buffer) {
        let [step, cols] = self.pace(x);
        let (to, from) = (self.place(out), self.place(x));
        let from = match reverse {
            true => from,
            false => {
                let last = self.builder.ins().iadd_imm_s(self.valid, -1);
                let last = self.builder.ins().imul_imm_s(last, step);
                self.builder.ins().iadd(from, last)
            }
        };
        let [cols, one, none] = [cols, 1, 0].map(|x| self.word(x));
        self.call(
            self.kernels.copy as usize,
            &[to, none, from, none, one, cols],
        );
    }

    fn room(&mut self, room: usize) -> Value {
        let offset = room as i64 * NUMBER;
        self.builder.ins().iadd_imm_s(self.scratch, offset)
    }

    fn trilinear(
        &mut self,
        out: Buffer,
        partial: Partial,
        strict: bool,
        operands: &[TileId],
        l: TileId,
        room: usize,
    ) {
        // Positions of m, q and k among the operands.
        let (kernel, order) = match partial {
            Partial::Weights => (self.kernels.weights, [None, Some(0), Some(1)]),
            Partial::Query => (self.kernels.query, [Some(0), None, Some(1)]),
            Partial::Key => (self.kernels.key, [Some(0), Some(1), None]),
            Partial::LogDecay => (self.kernels.log_decay, [Some(0), Some(1), Some(2)]),
        };
        let tiles = order
            .map(|at| at.map(|i: usize| operands[i].index()))
            .into_iter()
            .chain([Some(l.index()), Some(out)]);
        let mut words = vec![];
        for tile in tiles {
            let row = tile.map_or(0, |tile| self.plan.tiles[tile].row as i64);
            words.push(match tile {
                Some(tile) => self.place(tile),
                None => self.scratch,
            });
            words.push(self.word(row));
        }
        let channels = self.plan.tiles[l.index()].cols as i64;
        words.push(self.valid);
        for word in [i64::from(self.program.chunk), channels, i64::from(strict)] {
            words.push(self.word(word));
        }
        words.push(self.room(room));
        self.call_with(kernel as usize, &words, &[]);
    }
}
