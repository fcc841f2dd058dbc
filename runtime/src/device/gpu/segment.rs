//! Segments: what arrives at each, from what each does on its own.
//!
//! A state that enters a segment leaves it as `exp(L) o S + own`, where `L` is the log decay of the
//! segment and `own` its final state from zero. A first sweep finds both for all segments at once, a
//! chain walks the borders in order, and the ordinary kernel has what enters each. Gradients go the
//! same way backwards: the decay is a diagonal factor, so it is its own transpose.

use super::run::{Carries, Run};
use super::service::{self, Chain};
use crate::Error;
use baton_codegen::Phase;
use baton_ir::tile::CarryRole;

impl Run<'_> {
    /// The states that enter each range, `[ranges, H, dims...]`; null is zero.
    pub(super) fn entering(&mut self) -> Result<Vec<u64>, Error> {
        let outer = self.states.clone();
        if !self.cut.segmented() {
            return Ok(outer);
        }
        let own = self.rows(self.cut.ranges.len())?;
        let mut carries = self.carries(Phase::Summary, &vec![0; own.len()], &own);
        self.bind_logs(Phase::Summary, &mut carries)?;
        // What the last segment does arrives nowhere.
        let ranges = self.cut.all_but(&self.cut.last());
        self.launch(Phase::Summary, &ranges, &carries)?;
        self.chain(&outer, &own, &carries, false)?;
        Ok(own)
    }

    /// The gradients that arrive at the end of each range.
    pub(super) fn arriving(&mut self, outer: &[u64]) -> Result<Vec<u64>, Error> {
        if !self.cut.segmented() {
            return Ok(outer.to_vec());
        }
        let own = self.rows(self.cut.ranges.len())?;
        let mut logs = Carries::new();
        self.bind_logs(Phase::LogDecay, &mut logs)?;
        let ranges = self.cut.all_but(&self.cut.first());
        if !logs.is_empty() {
            self.launch(Phase::LogDecay, &ranges, &logs)?;
        }
        let carries = self.carries(Phase::BackwardState, &vec![0; own.len()], &own);
        self.launch(Phase::BackwardState, &ranges, &carries)?;
        self.chain(outer, &own, &logs, true)?;
        Ok(own)
    }

    /// Memory for the log decays that a phase carries, from zero.
    fn bind_logs(&mut self, phase: Phase, carries: &mut Carries) -> Result<(), Error> {
        let artifact = self.kernel.artifact(phase, self.cut)?;
        let lanes = self.cut.ranges.len() * self.cut.extent.heads;
        for carry in &artifact.program.carries {
            if !matches!(carry.role, CarryRole::State(_) | CarryRole::DState(_)) {
                let entries: usize = carry.dims.iter().map(|&n| n as usize).product();
                let to = self.machine.output(4 * lanes * entries)?;
                carries.insert(carry.role, [0, to]);
            }
        }
        Ok(())
    }

    /// Turns `own` into what arrives at each range, from what arrives at each sequence.
    fn chain(
        &mut self,
        outer: &[u64],
        own: &[u64],
        logs: &Carries,
        reverse: bool,
    ) -> Result<(), Error> {
        let ports = self.kernel.recurrence().states.iter().enumerate();
        for ((i, port), (&outer, &own)) in ports.zip(outer.iter().zip(own)) {
            let size = |at: usize| {
                port.shape
                    .get(at)
                    .map_or(1, |dim| self.kernel.sizes[dim.index()])
            };
            let roles = [CarryRole::LogScalar, CarryRole::LogRow, CarryRole::LogCol];
            let chain = Chain {
                sequences: &self.cut.sequences,
                heads: self.cut.extent.heads,
                dims: [size(0), size(1)],
                outer,
                own,
                logs: roles.map(|role| logs.get(&role(i as u32)).map_or(0, |both| both[1])),
                reverse,
            };
            service::chain(self.kernel, self.machine, &chain)?;
        }
        Ok(())
    }
}
