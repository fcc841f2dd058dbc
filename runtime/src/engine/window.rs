//! Windows: states kept in f32 once for each window of chunks, and rebuilt within it.
//!
//! Forward runs window by window, and what leaves one is the checkpoint of the next. Backward takes
//! them from the last to the first: rebuilds what enters each chunk of the window into memory of one
//! window, then runs its backward. A checkpoint is the carried state itself, unrounded, so outputs,
//! states and their gradients have the bits of a run that keeps everything; where a machine does not add in
//! memory, params' gradients are added in more parts.

use super::call::Strided;
use super::plan::kept_head_bytes;
use super::run::Engine;
use crate::Error;
use baton_codegen::Phase;
use baton_ir::tile::Role;

impl Engine<'_> {
    /// Forward window by window, with checkpoints in `kept`.
    pub(super) fn forward_windows(
        &mut self,
        phase: Phase,
        entering: &[u64],
        leaving: &[u64],
        kept: &[u64],
    ) -> Result<(), Error> {
        let cut = self.cut;
        self.gather(&cut.order(), entering, kept)?;
        if phase == Phase::Entering {
            self.bind_window()?;
        }
        for k in 0..cut.windows() {
            let [from, to] = [k, k + 1].map(|k| self.checkpoint(kept, k));
            let carries = self.carries(phase, &from, &to);
            self.launch(phase, &cut.window(k), &carries)?;
        }
        self.gather(&cut.leaving(), kept, leaving)
    }

    /// Backward window by window; `params` are the parts of params' gradients.
    pub(super) fn backward_windows(
        &mut self,
        arriving: &[u64],
        leaving: &[u64],
        kept: &[u64],
        params: &[Option<Strided>],
    ) -> Result<(), Error> {
        let last = self.reverse_windows(Phase::Backward, arriving, kept, params)?;
        self.gather(&self.cut.arriving(), &last, leaving)
    }

    /// The gradient of what enters each range, of what is its own alone.
    pub(super) fn arriving_windows(&mut self, own: &[u64], kept: &[u64]) -> Result<(), Error> {
        let none = vec![0; own.len()];
        let last = self.reverse_windows(Phase::BackwardState, &none, kept, &[])?;
        let places = self.cut.places().into_iter();
        let rows: Vec<i64> = places.map(|place| place as i64).collect();
        self.gather(&rows, &last, own)
    }

    /// A phase window by window from the last; gives what is left at the start of the ranges, in the
    /// order of windows.
    fn reverse_windows(
        &mut self,
        phase: Phase,
        arriving: &[u64],
        kept: &[u64],
        params: &[Option<Strided>],
    ) -> Result<Vec<u64>, Error> {
        let cut = self.cut;
        self.bind_window()?;
        // Each window reads one and writes the other; a range that joins finds in both what
        // arrives at its end.
        let (mut from, mut to) = (self.rows(cut.ranges.len())?, self.rows(cut.ranges.len())?);
        self.gather(&cut.order(), arriving, &from)?;
        self.gather(&cut.order(), arriving, &to)?;
        let nowhere = self.rows(cut.ranges.len())?;
        let mut run = 0;
        for k in (0..cut.windows()).rev() {
            let window = cut.window(k);
            let checkpoint = self.checkpoint(kept, k);
            let carries = self.carries(Phase::Entering, &checkpoint, &nowhere);
            self.launch(Phase::Entering, &window, &carries)?;
            for (i, parts) in params.iter().enumerate() {
                let part = parts.map(|parts| Strided {
                    address: parts.address + run * parts.strides[0] as u64,
                    ..parts
                });
                let role = Role::DParam(i as u32);
                self.ports.extend(part.map(|part| (role, part)));
            }
            let carries = self.carries(phase, &from, &to);
            self.launch(phase, &window, &carries)?;
            std::mem::swap(&mut from, &mut to);
            if !self.machine.adds() {
                run += window.len() as u64;
            }
        }
        Ok(from)
    }

    /// Checkpoint `k` of each state.
    fn checkpoint(&self, kept: &[u64], k: usize) -> Vec<u64> {
        let row = self.cut.checkpoint(k);
        let states = kept.iter().zip(self.row_bytes());
        states
            .map(|(kept, bytes)| kept + (row * bytes) as u64)
            .collect()
    }

    /// Memory for what enters the chunks of one window.
    fn bind_window(&mut self) -> Result<(), Error> {
        let lanes = self.cut.reaching(0) * self.cut.window_chunks() * self.cut.extent.heads;
        let heads = kept_head_bytes(self.kernels);
        let addresses = self.rooms(heads.into_iter().map(|head| lanes * head))?;
        self.bind_entering(&addresses);
        Ok(())
    }
}
