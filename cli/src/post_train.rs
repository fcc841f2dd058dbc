//! `baton post-train`: a few more steps from a checkpoint, beginning at other states.

use crate::Context;
use crate::failure::Failure;
use crate::train::{Run, finish};
use baton_train::initial_state::InitialStateConfig;
use baton_train::runs::{self, PostTraining};
use std::path::PathBuf;

/// Train a checkpoint a little further, from other initial states
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton post-train --from runs/small/checkpoint.safetensors \
    --folder runs/repaired --initial-state state-passing\n\n\
    The text and everything that is not given are those of the checkpoint's own run. Run again\n\
    with the same arguments, it resumes at the last checkpoint."
)]
pub struct PostTrain {
    #[command(flatten)]
    place: Run,
    /// The checkpoint to begin from
    #[arg(long)]
    from: PathBuf,
    /// Where sequences begin
    #[arg(long, value_enum, default_value = "state-passing")]
    initial_state: InitialState,
    /// Probability that a sequence begins at zero under state passing
    #[arg(long, default_value_t = 0.1)]
    p_zero: f64,
    /// Pass the convolution's state too
    #[arg(long)]
    pass_conv: bool,
    /// Optimiser steps
    #[arg(long, default_value_t = 300)]
    steps: u64,
    /// The highest learning rate over that of the first training
    #[arg(long, default_value_t = 0.1)]
    rate_share: f64,
    /// Seed of all random choices
    #[arg(long, default_value_t = 2)]
    seed: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum InitialState {
    /// Every sequence at zero: the control
    Zero,
    /// The final states of the previous batch
    StatePassing,
}

impl PostTrain {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let post = PostTraining {
            initial_state: match self.initial_state {
                InitialState::Zero => InitialStateConfig::Zero,
                InitialState::StatePassing => InitialStateConfig::StatePassing {
                    p_zero: self.p_zero,
                    pass_conv: self.pass_conv,
                },
            },
            steps: self.steps,
            rate_share: self.rate_share,
            seed: self.seed,
        };
        let (text, device) = (self.place.text()?, self.place.device()?);
        let place = self.place.place("post-train");
        let ended = runs::post_train(&self.from, &post, &text, &place, device.as_ref())?;
        finish(context, &ended);
        Ok(())
    }
}
