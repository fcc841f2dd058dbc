//! `baton post-train`: a few more steps from a checkpoint, beginning at other states.

use crate::Context;
use crate::failure::Failure;
use crate::train::{Run, finish};
use baton_train::initial_state::InitialStateConfig;
use baton_train::runs::{self, PostTraining};
use baton_train::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};

/// Train a checkpoint a little further, from other initial states
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton post-train --from runs/small/checkpoint.safetensors \
    --folder runs/repaired --initial-state state-passing\n\n\
    Everything that is not given is that of the checkpoint's own run. Run again with the same\n\
    arguments, it resumes at the last checkpoint. --task passkey:loss=all --length 1024 trains on a task."
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
    /// Tokens in a training sequence; those of the checkpoint's run when absent
    #[arg(long)]
    length: Option<usize>,
    /// Sequences in a batch; those of the checkpoint's run when absent
    #[arg(long)]
    batch: Option<usize>,
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
            train_length: self.length,
            batch_size: self.batch,
        };
        let tokenizer = Tokenizer::of(self.from.parent().unwrap_or(Path::new(".")))?;
        let (source, device) = (self.place.source(tokenizer)?, self.place.device()?);
        let place = self.place.place("post-train");
        let ended = runs::post_train(&self.from, &post, source.as_ref(), &place, device.as_ref())?;
        finish(context, &ended);
        Ok(())
    }
}
