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

mod passing;
pub(crate) mod sequences;
mod zero;

pub use crate::data::Order;
pub use passing::StatePassing;
pub use zero::Zero;

use crate::Error;
use crate::models::HostStates;
use crate::rng::Rng;
use baton_runtime::Tensor;
use serde::{Deserialize, Serialize};

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

    /// Whether it wants to see final states.
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

/// Which policy, as configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InitialStateConfig {
    /// Every sequence begins at zero: the control.
    Zero,
    /// Final states of the previous batch.
    StatePassing {
        /// Probability that a sequence begins at zero instead.
        p_zero: f64,
        /// Whether the convolution's state is passed too; zero as published.
        pass_conv: bool,
    },
}

impl InitialStateConfig {
    /// State passing as published: p = 0.1, convolution from zero.
    pub fn state_passing() -> Self {
        InitialStateConfig::StatePassing {
            p_zero: 0.1,
            pass_conv: false,
        }
    }

    /// The policy.
    pub fn build(&self) -> Result<Box<dyn InitialState>, Error> {
        Ok(match *self {
            InitialStateConfig::Zero => Box::new(Zero),
            InitialStateConfig::StatePassing { p_zero, pass_conv } => {
                if !(0.0..=1.0).contains(&p_zero) {
                    return Err(Error::Config(format!(
                        "p_zero {p_zero} given, expected a probability"
                    )));
                }
                Box::new(StatePassing::new(p_zero, pass_conv))
            }
        })
    }
}
