//! One call of compiled code: the words that say where everything is.

use crate::engine::call::Strided;
use baton_codegen::Artifact;
use baton_codegen::target::Native;
use baton_ir::tile::{Pace, Role};
use std::cell::RefCell;

/// A range of time of one sequence, and heads of one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// Batch row.
    pub row: i64,
    /// Position among the ranges of the launch.
    pub slot: i64,
    /// First step.
    pub start: i64,
    /// Steps.
    pub len: i64,
    /// First of its chunks in memory of kept states.
    pub chunk: i64,
    /// Position among the tasks of a range.
    pub lane: i64,
    /// Group.
    pub group: i64,
    /// First head.
    pub head: i64,
    /// Heads; at least one.
    pub heads: usize,
}

/// Memory for the tiles of one thread, aligned as the code expects.
#[derive(Default)]
struct Scratch(Vec<Line>);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A cache line: only its size and alignment matter.
#[repr(align(64))]
#[derive(Clone, Copy, Default)]
struct Line {
    _words: [u64; 8],
}

impl Scratch {
    fn at_least(&mut self, bytes: usize) -> i64 {
        let lines = bytes.div_ceil(64);
        if self.0.len() < lines {
            self.0 = vec![Line::default(); lines];
        }
        self.0.as_mut_ptr().cast::<u64>() as i64
    }
}

/// What belongs to steps and to heads, as a program names them.
fn exchanged<T>(across: bool, [steps, heads]: [T; 2]) -> [T; 2] {
    match across {
        true => [heads, steps],
        false => [steps, heads],
    }
}

/// Runs the code of `artifact` on one task of a run with `heads` heads; ports and carries in the program's
/// order. What enters a carry moves to where it leaves first, and is updated there. Where the loops of the
/// program are exchanged, so are the steps and heads that it is given.
pub(super) fn call(
    artifact: &Artifact<Native>,
    task: &Task,
    heads: usize,
    ports: &[Strided],
    carries: &[[u64; 2]],
) {
    let program = &artifact.program;
    let mut words = vec![];
    let extents = [task.len, task.heads as i64];
    words.extend(exchanged(program.across, extents));
    words.push(0);
    for (port, at) in program.ports.iter().zip(ports) {
        let [row, step, head] = at.strides;
        let [moves, per_head] = exchanged(program.across, [port.pace != Pace::Task, port.per_head]);
        let lane = match (per_head, port.role) {
            (true, _) => task.head,
            (false, Role::DInput(_)) => task.lane,
            (false, _) => task.group,
        };
        let first = match (moves, port.role) {
            (true, Role::Entering(_)) => step * task.chunk,
            (true, _) => row * task.row + step * task.start,
            (false, _) => row * task.slot,
        };
        let address = at.address.wrapping_add_signed(first + head * lane);
        words.push(address as i64);
        words.extend(exchanged(
            program.across,
            [step, if per_head { head } else { 0 }],
        ));
    }
    for (carry, &[from, to]) in program.carries.iter().zip(carries) {
        let entries: usize = carry.dims.iter().map(|&n| n as usize).product();
        let first = (task.slot as usize * heads + task.head as usize) * entries;
        let to = (to as *mut f32).wrapping_add(first);
        let count = task.heads * entries;
        // SAFETY: both hold the heads of the task, f32 side by side, and no other task's; they are the
        // same memory or apart.
        unsafe {
            match from {
                0 => to.write_bytes(0, count),
                _ if (from as *const f32).wrapping_add(first) == to.cast_const() => {}
                _ => to.copy_from_nonoverlapping((from as *const f32).wrapping_add(first), count),
            }
        }
        words.extend([to as i64, 4 * entries as i64]);
    }
    if task.len > 0 {
        SCRATCH.with_borrow_mut(|scratch| {
            words[extents.len()] = scratch.at_least(artifact.code.scratch_bytes());
            // SAFETY: the words follow the signature of this very program; the memory behind them holds the
            // ranges that the task names.
            unsafe { artifact.code.call(words.as_ptr()) }
        });
    }
}
