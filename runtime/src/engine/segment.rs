//! Segments: what arrives at each, from what each does on its own.
//!
//! A state that enters a segment leaves it as `M S + own`, where `M` is the segment's [`Summary`] and
//! `own` its final state from zero. A first sweep finds both for all segments at once, a chain walks
//! the borders in order, and the ordinary kernel has what enters each. Gradients go the same way
//! backwards, by the transpose of `M`. Log decays come with either sweep; matrices are one of their own.

use super::cut::Range;
use super::machine::{Carries, Chain, Summary};
use super::run::Engine;
use crate::Error;
use baton_codegen::{self as codegen, Phase};
use baton_ir::tile::{CarryRole, Role};

impl Engine<'_> {
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
        let matrices = self.matrices(&ranges)?;
        self.chain(&outer, &own, [&carries, &matrices], false)?;
        Ok(own)
    }

    /// The gradients that arrive at the end of each range. Where a readout is not linear they depend on
    /// the states that enter the chunks: on `kept`.
    pub(super) fn arriving(&mut self, outer: &[u64], kept: &[u64]) -> Result<Vec<u64>, Error> {
        if !self.cut.segmented() {
            return Ok(outer.to_vec());
        }
        let own = self.rows(self.cut.ranges.len())?;
        let mut logs = Carries::new();
        let ranges = self.cut.all_but(&self.cut.first());
        if self.kernels.leaves(Phase::LogDecay) {
            self.bind_logs(Phase::LogDecay, &mut logs)?;
            self.launch(Phase::LogDecay, &ranges, &logs)?;
        }
        let kernel = self.kernels.kernel(Phase::BackwardState, self.cut)?;
        let mut ports = kernel.program().ports.iter();
        let reads = ports.any(|port| matches!(port.role, Role::Entering(_)));
        if reads && !self.cut.keeps_all() {
            self.arriving_windows(&own, kept)?;
        } else {
            let carries = self.carries(Phase::BackwardState, &vec![0; own.len()], &own);
            self.launch(Phase::BackwardState, &ranges, &carries)?;
        }
        let matrices = self.matrices(&ranges)?;
        self.chain(outer, &own, [&logs, &matrices], true)?;
        Ok(own)
    }

    /// What ranges do to the states that are read in their own update: matrices, from the identity.
    fn matrices(&mut self, ranges: &[Range]) -> Result<Carries, Error> {
        let mut carries = Carries::new();
        if !self.kernels.leaves(Phase::Transition) {
            return Ok(carries);
        }
        let kernel = self.kernels.kernel(Phase::Transition, self.cut)?;
        let lanes = ranges.len() * self.cut.extent.heads;
        for carry in &kernel.program().carries {
            let n = carry.dims[0] as usize;
            let identities = self.machine.identities(lanes, n)?;
            let to = self.machine.room(4 * lanes * n * n)?;
            carries.insert(carry.role, [identities, to]);
        }
        self.launch(Phase::Transition, ranges, &carries)?;
        Ok(carries)
    }

    /// Memory for the log decays that a phase carries, from zero.
    fn bind_logs(&mut self, phase: Phase, carries: &mut Carries) -> Result<(), Error> {
        let kernel = self.kernels.kernel(phase, self.cut)?;
        let lanes = self.cut.ranges.len() * self.cut.extent.heads;
        for carry in &kernel.program().carries {
            if !matches!(carry.role, CarryRole::State(_) | CarryRole::DState(_)) {
                let entries: usize = carry.dims.iter().map(|&n| n as usize).product();
                let to = self.machine.room(4 * lanes * entries)?;
                carries.insert(carry.role, [0, to]);
            }
        }
        Ok(())
    }

    /// Turns `own` into what arrives at each range, from what arrives at each sequence and the summaries.
    fn chain(
        &mut self,
        outer: &[u64],
        own: &[u64],
        [logs, matrices]: [&Carries; 2],
        reverse: bool,
    ) -> Result<(), Error> {
        let shapes = self.kernels.shapes();
        let ports = shapes.recurrence.states.iter().zip(0..);
        for ((port, i), (&outer, &own)) in ports.zip(outer.iter().zip(own)) {
            let left = |of: &Carries, role| of.get(&role).map_or(0, |both| both[1]);
            let summary = match self.kernels.summary(i as usize) {
                codegen::Summary::Dense(side) => {
                    Summary::Dense(side, left(matrices, CarryRole::State(i)))
                }
                codegen::Summary::Diagonal => {
                    let roles = [CarryRole::LogScalar, CarryRole::LogRow, CarryRole::LogCol];
                    Summary::Diagonal(roles.map(|role| left(logs, role(i))))
                }
                codegen::Summary::Open => unreachable!("plans keep such sequences whole"),
            };
            self.machine.chain(&Chain {
                sequences: &self.cut.sequences,
                heads: self.cut.extent.heads,
                dims: [shapes.strip_size(port, 0), shapes.strip_size(port, 1)],
                outer,
                own,
                summary,
                reverse,
            })?;
        }
        Ok(())
    }
}
