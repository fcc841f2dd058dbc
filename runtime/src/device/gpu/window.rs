//! Windows: states kept in f32 once for each window of chunks, and rebuilt within it.
//!
//! Forward runs window by window, and what leaves one is the checkpoint of the next. Backward takes
//! them from the last to the first: rebuilds what enters each chunk of the window into memory of one
//! window, then runs its backward. A checkpoint is the carried state itself, unrounded, so outputs,
//! states and their gradients have the bits of a run that keeps everything; params' gradients are
//! added in more parts.

use super::run::{Place, Run, row_bytes};
use crate::Error;
use baton_codegen::Phase;
use baton_ir::tile::Role;

impl Run<'_> {
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
        params: &[Option<Place>],
    ) -> Result<(), Error> {
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
                let place = parts.map(|parts| Place {
                    address: parts.address + run * parts.strides[0] as u64,
                    ..parts
                });
                let role = Role::DParam(i as u32);
                self.places.extend(place.map(|place| (role, place)));
            }
            let carries = self.carries(Phase::Backward, &from, &to);
            self.launch(Phase::Backward, &window, &carries)?;
            std::mem::swap(&mut from, &mut to);
            run += window.len() as u64;
        }
        self.gather(&cut.arriving(), &from, leaving)
    }

    /// Checkpoint `k` of each state.
    fn checkpoint(&self, kept: &[u64], k: usize) -> Vec<u64> {
        let row = self.cut.checkpoint(k);
        let states = kept.iter().zip(row_bytes(self.kernel, self.cut));
        states
            .map(|(kept, bytes)| kept + (row * bytes) as u64)
            .collect()
    }

    /// Memory for what enters the chunks of one window.
    fn bind_window(&mut self) -> Result<(), Error> {
        let chunks = self.cut.reaching(0) * self.cut.window_chunks();
        let storage = self.kernel.schedule.storage.bytes() as usize;
        let sizes = row_bytes(self.kernel, self.cut).into_iter();
        let addresses: Result<Vec<u64>, Error> = sizes
            .map(|row| self.machine.output(chunks * row / 4 * storage))
            .collect();
        self.bind_entering(&addresses?);
        Ok(())
    }
}
