//! One call of compiled code: the words that say where everything is.
//!
//! Invariant: a [`Place`] comes from a checked view or from a buffer that this crate allocated
//! for the run, and tasks that run at the same time write disjoint parts of it. This is the only
//! file that turns tensors into addresses.

use crate::Tensor;
use baton_codegen::Artifact;
use baton_codegen::target::Native;
use baton_ir::tile::{CarryDecl, CarryRole, Pace, PortDecl, Role};

/// A range of time of one sequence, and heads of one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// Batch row.
    pub row: usize,
    /// Position among the sequences or segments of the run.
    pub slot: usize,
    /// First step.
    pub start: usize,
    /// Steps; at least one.
    pub len: usize,
    /// First of its chunks among all chunks of the run.
    pub chunk: usize,
    /// Group.
    pub group: usize,
    /// Position among the tasks of the group.
    pub block: usize,
    /// First head.
    pub head: usize,
    /// Heads; at least one.
    pub heads: usize,
}

/// What the outermost index of a buffer counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Major {
    Row,
    Slot,
    Chunk,
}

/// Where a tensor is; strides in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub base: *mut f32,
    pub by: Major,
    pub major: usize,
    pub block: usize,
    pub step: usize,
    pub head: usize,
}

// SAFETY: a place is an address and strides; what is behind it is divided among tasks as the head
// comment says.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    /// Memory `[major, head, entries]`.
    pub fn heads(base: *mut f32, by: Major, heads: usize, entries: usize) -> Place {
        Place {
            base,
            by,
            major: heads * entries,
            block: 0,
            step: heads * entries,
            head: entries,
        }
    }

    /// The same memory seen as one task's own, from its first head on.
    pub fn own(base: *mut f32, heads: usize, entries: usize) -> Place {
        Place {
            base,
            by: Major::Slot,
            major: 0,
            block: 0,
            step: heads * entries,
            head: entries,
        }
    }

    /// A tensor `[B, T, H, dims...]`.
    pub fn steps(tensor: &mut Tensor) -> Place {
        let strides = tensor.view().strides;
        let base = tensor.data.as_mut_ptr();
        Place::strided(base, &strides)
    }

    /// Memory with strides over batch, time and heads (and further ones).
    pub fn strided(base: *mut f32, strides: &[usize]) -> Place {
        let (major, step, head) = (strides[0], strides[1], strides[2]);
        Place {
            base,
            by: Major::Row,
            major,
            block: 0,
            step,
            head,
        }
    }

    fn index(&self, task: &Task) -> usize {
        match self.by {
            Major::Row => task.row,
            Major::Slot => task.slot,
            Major::Chunk => task.chunk,
        }
    }

    fn words(&self, task: &Task, pace: Pace, per_head: bool, own: bool) -> [i64; 3] {
        let major = self.index(task);
        let start = if pace == Pace::Step { task.start } else { 0 };
        let lane = if per_head { task.head } else { task.group };
        let lane = if own { 0 } else { lane };
        let at =
            self.major * major + self.block * task.block + self.step * start + self.head * lane;
        let head = if per_head { self.head } else { 0 };
        [
            self.base.wrapping_add(at) as i64,
            (self.step * 4) as i64,
            (head * 4) as i64,
        ]
    }
}

/// Says where the ports and carries of a program are.
pub(super) trait Places: Sync {
    /// The place of a port, and whether it is the task's own memory.
    fn port(&self, role: Role) -> (Place, bool);
    /// The place of a carry.
    fn carry(&self, role: CarryRole) -> (Place, bool);
}

/// Memory for the tiles of one thread, aligned as the code expects.
#[derive(Default)]
pub(super) struct Scratch(Vec<Line>);

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

/// Copies the heads of a task from one buffer `[major, H, entries]` to another; a flag says that a
/// buffer is the task's own.
pub(super) fn copy_heads(task: &Task, from: (&Place, bool), to: (&Place, bool)) {
    let at = |(place, own): (&Place, bool)| {
        let lane = if own { 0 } else { task.head };
        place
            .base
            .wrapping_add(place.major * place.index(task) + place.head * lane)
    };
    // SAFETY: both places hold the task's heads, `entries` apart and contiguous, and a checkpoint
    // is never a carry.
    unsafe { std::ptr::copy_nonoverlapping(at(from), at(to), task.heads * from.0.head) }
}

/// Runs the code of `artifact` on one task.
pub(super) fn call(
    artifact: &Artifact<Native>,
    task: &Task,
    places: &dyn Places,
    scratch: &mut Scratch,
) {
    let program = &artifact.program;
    let bytes = artifact.code.scratch_bytes();
    let mut words = vec![task.len as i64, task.heads as i64, scratch.at_least(bytes)];
    for PortDecl {
        role,
        pace,
        per_head,
        ..
    } in &program.ports
    {
        let (place, own) = places.port(*role);
        words.extend(place.words(task, *pace, *per_head, own));
    }
    for CarryDecl { role, .. } in &program.carries {
        let (place, own) = places.carry(*role);
        let [base, _, head] = place.words(task, Pace::Task, true, own);
        words.extend([base, head]);
    }
    // SAFETY: the words follow the signature of this very program; the places behind them hold
    // the ranges that the task names, by the invariant of this file.
    unsafe { artifact.code.call(words.as_ptr()) }
}
