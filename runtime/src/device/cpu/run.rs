//! One run: its sequences, how they are cut into tasks, and the buffers that tasks fill.

use super::task::{Place, Task};
use crate::device::{Call, Options};
use crate::{Tensor, View};
use baton_codegen::schedule::{Load, Plan};
use baton_ir::recurrence::Class;

/// A range of steps that one task carries its states through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// The sequence it belongs to.
    pub sequence: usize,
    /// Batch row.
    pub row: usize,
    /// First step.
    pub start: usize,
    /// Steps; at least one.
    pub len: usize,
    /// First of its chunks among all chunks of the run.
    pub chunk: usize,
}

/// The extents of a run and its plan.
pub(super) struct Run {
    pub heads: usize,
    pub groups: usize,
    pub sequences: usize,
    pub plan: Plan,
    /// Whole sequences that have any step, in order.
    pub whole: Vec<Range>,
    /// The segments of these in order; the same when time is not cut.
    pub segments: Vec<Range>,
    /// Chunks of all sequences.
    pub chunks: usize,
}

impl Run {
    pub fn new(
        [batch, time, heads, groups]: [usize; 4],
        call: &Call<'_>,
        class: Class,
        state_bytes: usize,
        options: &Options,
    ) -> Run {
        let bounds: Vec<(usize, usize, usize)> = match call.cu_seqlens {
            Some(ends) => ends
                .windows(2)
                .map(|w| (0, w[0] as usize, (w[1] - w[0]) as usize))
                .collect(),
            None => (0..batch).map(|row| (row, 0, time)).collect(),
        };
        let lens = || bounds.iter().map(|&(.., len)| len);
        let load = Load {
            sequences: lens().filter(|len| *len > 0).count(),
            longest: lens().max().unwrap_or(0),
            steps: lens().sum(),
            heads,
            groups,
            state_bytes,
        };
        let plan = Plan::new(class, load, options.chunk, options.keep_bytes);
        let mut run = Run {
            heads,
            groups,
            sequences: bounds.len(),
            plan,
            whole: vec![],
            segments: vec![],
            chunks: 0,
        };
        for (sequence, &(row, start, len)) in bounds.iter().enumerate().filter(|(_, b)| b.2 > 0) {
            let chunk = run.chunks;
            run.whole.push(Range {
                sequence,
                row,
                start,
                len,
                chunk,
            });
            let step = plan.segment.unwrap_or(len);
            for offset in (0..len).step_by(step) {
                run.segments.push(Range {
                    sequence,
                    row,
                    start: start + offset,
                    len: step.min(len - offset),
                    chunk: chunk + offset / plan.chunk,
                });
            }
            run.chunks += len.div_ceil(plan.chunk);
        }
        run
    }

    /// Whether time is cut.
    pub fn segmented(&self) -> bool {
        self.segments.len() > self.whole.len()
    }

    /// Places of carries that tasks add to: one for each segment, or for each sequence.
    pub fn slots(&self) -> usize {
        if self.segmented() {
            self.segments.len()
        } else {
            self.sequences
        }
    }

    /// Whether segment `next` goes on where segment `this` ends.
    pub fn follows(&self, this: usize, next: usize) -> bool {
        let sequence = |i: usize| self.segments.get(i).map(|segment| segment.sequence);
        sequence(next).is_some() && sequence(this) == sequence(next)
    }

    /// Places of kept states: one for each chunk, or for each window of chunks.
    pub fn windows(&self) -> usize {
        match self.plan.window {
            1 => self.chunks,
            window => self.chunks / window + self.sequences + 1,
        }
    }

    /// The windows of a task over a whole sequence, in order; `chunk` counts kept states then.
    pub fn window_tasks(&self, task: &Task) -> Vec<Task> {
        let steps = self.plan.window * self.plan.chunk;
        let first = task.chunk / self.plan.window + task.slot;
        let window = |(i, offset): (usize, usize)| Task {
            start: task.start + offset,
            len: steps.min(task.len - offset),
            chunk: first + i,
            ..*task
        };
        (0..task.len)
            .step_by(steps)
            .enumerate()
            .map(window)
            .collect()
    }

    /// Copies what left each sequence's last (in reverse, first) segment.
    pub fn take_borders(&self, borders: &[Tensor], states: &mut [Tensor], reverse: bool) {
        for (slot, range) in self.segments.iter().enumerate() {
            let outermost = match reverse {
                true => slot == 0 || !self.follows(slot - 1, slot),
                false => !self.follows(slot, slot + 1),
            };
            for (border, state) in borders.iter().zip(&mut *states).filter(|_| outermost) {
                let row = state.data.len() / self.sequences;
                let from = &border.data[slot * row..][..row];
                state.data[range.sequence * row..][..row].copy_from_slice(from);
            }
        }
    }

    /// The tasks over whole sequences.
    pub fn sequence_tasks(&self) -> Vec<Task> {
        self.tasks(&self.whole, |_, range| Some(range.sequence))
    }

    /// Tasks of one group.
    pub fn blocks(&self) -> usize {
        (self.heads / self.groups.max(1))
            .div_ceil(self.plan.task_heads)
            .max(1)
    }

    /// The tasks over `ranges`; `slot` names the place of a range's carries.
    pub fn tasks(
        &self,
        ranges: &[Range],
        slot: impl Fn(usize, &Range) -> Option<usize>,
    ) -> Vec<Task> {
        let group_heads = self.heads / self.groups.max(1);
        let mut tasks = vec![];
        for (index, range) in ranges.iter().enumerate() {
            let Some(slot) = slot(index, range) else {
                continue;
            };
            for group in 0..self.groups {
                for block in 0..self.blocks() {
                    let first = block * self.plan.task_heads;
                    tasks.push(Task {
                        row: range.row,
                        slot,
                        start: range.start,
                        len: range.len,
                        chunk: range.chunk,
                        group,
                        block,
                        head: group * group_heads + first,
                        heads: self.plan.task_heads.min(group_heads - first),
                    });
                }
            }
        }
        tasks
    }
}

/// A tensor whose innermost dims are contiguous: the caller's memory, or a copy of it.
pub(super) enum Packed<'a> {
    Given(View<'a>),
    Copied(Tensor),
}

impl<'a> Packed<'a> {
    /// Copies only when the last `inner` dims are not contiguous.
    pub fn new(view: &View<'a>, inner: usize) -> Packed<'a> {
        let outer = view.shape.len() - inner;
        let mut stride = 1;
        let dense = (outer..view.shape.len()).rev().all(|i| {
            let fits = view.shape[i] <= 1 || view.strides[i] == stride;
            stride *= view.shape[i];
            fits
        });
        match dense {
            true => Packed::Given(view.clone()),
            false => Packed::Copied(view.to_tensor()),
        }
    }

    fn parts(&self) -> (*mut f32, Vec<usize>) {
        match self {
            Packed::Given(view) => (view.data.as_ptr().cast_mut(), view.strides.clone()),
            Packed::Copied(tensor) => (tensor.data.as_ptr().cast_mut(), tensor.view().strides),
        }
    }

    /// As `[B, T, H, dims...]`.
    pub fn steps(&self) -> Place {
        let (base, strides) = self.parts();
        Place::strided(base, &strides)
    }

    /// As `[H, dims...]`.
    pub fn heads(&self) -> Place {
        let (base, strides) = self.parts();
        Place::strided(base, &[0, 0, strides[0]])
    }
}

/// A fresh tensor that tasks fill. Where checks are on it starts as NaN, so that whatever a kernel
/// leaves out shows.
pub(super) fn unwritten(shape: &[usize]) -> Tensor {
    let value = if cfg!(debug_assertions) {
        f32::NAN
    } else {
        0.0
    };
    Tensor::full(shape, value)
}

/// A state buffer `[sequences, H, dims...]` from what the caller gave, zero when absent.
pub(super) fn states_from(given: Option<&View<'_>>, shape: &[usize]) -> Tensor {
    match given {
        Some(view) => view.to_tensor(),
        None => Tensor::full(shape, 0.0),
    }
}
