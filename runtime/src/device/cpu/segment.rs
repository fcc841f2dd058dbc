//! Time cut into segments, for runs with fewer tasks than a machine has cores.
//!
//! A state that enters a segment leaves it as `exp(L) o S + own`, where `L` is the log decay of
//! the segment and `own` its final state from zero. A first sweep finds both for every segment at
//! once, [`chain`](CpuKernel::chain) walks the borders in order, and the second sweep has what
//! enters each segment. Gradients go the same way backwards: the decay is a diagonal factor, so it
//! is its own transpose.

use super::bound::Bound;
use super::kernel::CpuKernel;
use super::run::Run;
use super::task::{Major, Place};
use crate::{Error, Tensor};
use baton_codegen::target::Native;
use baton_codegen::{Artifact, Phase};
use baton_ir::tile::CarryRole;

/// A log decay of every segment: `[segments, H, n]`.
struct Log {
    role: CarryRole,
    entries: usize,
    data: Vec<f32>,
}

impl Log {
    /// What the log decay says of entry `i` of state `state` in `lane` (segment and head).
    fn at(&self, state: usize, lane: usize, i: usize, columns: usize) -> f32 {
        let (of, entry) = match self.role {
            CarryRole::LogScalar(of) => (of, 0),
            CarryRole::LogRow(of) => (of, i / columns),
            CarryRole::LogCol(of) => (of, i % columns),
            CarryRole::State(_) | CarryRole::DState(_) => return 0.0,
        };
        match of as usize == state {
            true => self.data[lane * self.entries + entry],
            false => 0.0,
        }
    }
}

impl CpuKernel {
    /// The states that enter each segment: `[segments, H, dims...]`.
    pub fn segment_states(
        &self,
        run: &Run,
        bound: &mut Bound,
        first: &[Tensor],
    ) -> Result<Vec<Tensor>, Error> {
        let artifact = self.artifact(Phase::Summary, run.plan.chunk)?;
        let mut own = self.state_buffers(run.segments.len(), run.heads);
        self.bind_carries(bound, run.heads, &mut own, CarryRole::State);
        let logs = self.bind_logs(&artifact, bound, run);
        let tasks = run.tasks(&run.segments, |i, _| run.follows(i, i + 1).then_some(i));
        self.launch(&artifact, &tasks, bound);
        self.chain(run, &mut own, &logs, first, false);
        Ok(own)
    }

    /// The gradients that arrive at the end of each segment.
    pub fn segment_gradients(
        &self,
        run: &Run,
        bound: &mut Bound,
        last: &[Tensor],
    ) -> Result<Vec<Tensor>, Error> {
        let artifact = self.artifact(Phase::BackwardState, run.plan.chunk)?;
        let decays = self.artifact(Phase::LogDecay, run.plan.chunk)?;
        let mut own = self.state_buffers(run.segments.len(), run.heads);
        self.bind_carries(bound, run.heads, &mut own, CarryRole::DState);
        let logs = self.bind_logs(&decays, bound, run);
        let before = |i: usize| i > 0 && run.follows(i - 1, i);
        let tasks = run.tasks(&run.segments, |i, _| before(i).then_some(i));
        self.launch(&decays, &tasks, bound);
        self.launch(&artifact, &tasks, bound);
        self.chain(run, &mut own, &logs, last, true);
        Ok(own)
    }

    /// Buffers for the log decays that `artifact` carries.
    fn bind_logs(&self, artifact: &Artifact<Native>, bound: &mut Bound, run: &Run) -> Vec<Log> {
        let mut logs = vec![];
        for carry in &artifact.program.carries {
            if matches!(carry.role, CarryRole::State(_) | CarryRole::DState(_)) {
                continue;
            }
            let entries = carry.dims.iter().map(|&n| n as usize).product();
            let mut data = vec![0.0; run.segments.len() * run.heads * entries];
            let place = Place::heads(data.as_mut_ptr(), Major::Slot, run.heads, entries);
            bound.carries.insert(carry.role, place);
            logs.push(Log {
                role: carry.role,
                entries,
                data,
            });
        }
        logs
    }

    /// Turns what each segment does on its own into what arrives at its border, in place; `outer`
    /// arrives at the first (in reverse, the last) segment of each sequence.
    fn chain(&self, run: &Run, own: &mut [Tensor], logs: &[Log], outer: &[Tensor], reverse: bool) {
        let count = run.segments.len();
        for (index, port) in self.recurrence().states.iter().enumerate() {
            let (entries, columns) = (self.entries(port), self.columns(port));
            let row = run.heads * entries;
            let mut arriving = vec![];
            for position in 0..count {
                let slot = if reverse {
                    count - 1 - position
                } else {
                    position
                };
                let inside = match reverse {
                    true => run.follows(slot, slot + 1),
                    false => slot > 0 && run.follows(slot - 1, slot),
                };
                if !inside {
                    let sequence = run.segments[slot].sequence;
                    arriving = outer[index].data[sequence * row..][..row].to_vec();
                }
                let border = &mut own[index].data[slot * row..][..row];
                for (i, (own, arriving)) in border.iter_mut().zip(&mut arriving).enumerate() {
                    let lane = slot * run.heads + i / entries;
                    let log: f32 = logs
                        .iter()
                        .map(|log| log.at(index, lane, i % entries, columns))
                        .sum();
                    let leaving = log.exp() * *arriving + *own;
                    *own = std::mem::replace(arriving, leaving);
                }
            }
        }
    }
}
