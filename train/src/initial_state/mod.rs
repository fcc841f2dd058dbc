//! Where a training sequence begins: the interventions, behind one trait.
//!
//! A recurrent model fails past its training length because it meets states it never saw. The
//! repair is to begin training sequences elsewhere than at zero, and everything that is tried
//! differs only in where: zero, noise, fitted noise, the final states of other sequences or of the
//! text just before. An [`InitialState`] says so for each batch. It sees final states detached and
//! in f32, on the host, and knows nothing of the model or of Burn.
//!
//! What was observed counts only from the next optimiser step on: the trainer lays final states
//! aside and hands them over after the update, and [`draw`](InitialState::draw) changes nothing.
//! So a batch that is computed twice (gradient checkpointing) or in parts (gradient accumulation)
//! sees the same states each time.

mod bptt;
mod build;
mod fitted;
mod mixed;
mod noise;
mod passing;
mod per_layer;
mod scheduled;
pub(crate) mod sequences;
mod several;
mod zero;

use baton_data::Order;
pub use bptt::TruncatedBptt;
pub use build::build;
pub use fitted::FittedNoise;
pub use mixed::Mixed;
pub use noise::Noise;
pub use passing::StatePassing;
pub use per_layer::PerLayer;
pub use scheduled::{After, WarmUp};
pub use zero::Zero;

use crate::Error;
use crate::models::HostStates;
use baton_data::rng::Rng;
use baton_runtime::Tensor;

/// What a policy knows when it is asked for initial states.
pub struct Moment<'a> {
    /// Optimiser steps done.
    pub step: u64,
    /// Sequences in the step's batch, all parts together under gradient accumulation.
    pub batch: usize,
    /// Sizes of every recurrence state without the batch, `[layer][state]`.
    pub sizes: &'a [Vec<Vec<usize>>],
    /// Random numbers of this step.
    pub rng: Rng,
}

/// A choice of initial states.
pub trait InitialState: Send {
    /// Its name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// The order of the data that it needs.
    fn order(&self) -> Order {
        Order::Random
    }

    /// Initial states of a batch, `[layer]`, each `[batch, H, dims...]`; `None` is zero.
    fn draw(&self, moment: Moment<'_>) -> Option<HostStates>;

    /// Batches whose final states, reached from zero, it wants to see before the first step.
    fn fit_batches(&self) -> usize {
        0
    }

    /// Takes the final states of one such batch.
    fn fit(&mut self, _finals: &HostStates) {}

    /// Whether it wants to see the final states of every step.
    fn observes(&self) -> bool {
        false
    }

    /// Takes the final states of the batch of the step that was just done.
    fn observe(&mut self, _finals: HostStates) {}

    /// What has to be in a checkpoint for the next draw to be the same.
    fn carried(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// Takes back what [`carried`](Self::carried) gave.
    fn restore(&mut self, carried: Vec<(String, Tensor)>) -> Result<(), Error> {
        match carried.first() {
            None => Ok(()),
            Some((name, _)) => Err(Error::Config(format!(
                "the initial-state policy `{}` carries no `{name}`",
                self.name()
            ))),
        }
    }
}

/// A moment of the tests.
#[cfg(test)]
pub(crate) fn moment(step: u64, batch: usize, sizes: &[Vec<Vec<usize>>]) -> Moment<'_> {
    Moment {
        step,
        batch,
        sizes,
        rng: Rng::at(1, baton_data::rng::Purpose::States, step),
    }
}
