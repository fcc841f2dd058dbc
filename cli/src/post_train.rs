//! `baton post-train`: a few more steps from a checkpoint, beginning at other states.

use crate::context::Context;
use crate::failure::Failure;
use crate::stop::Stop;
use crate::train::{Run, finish, initial_state};
use baton_train::files;
use baton_train::initial_state::InitialStateConfig;
use baton_train::origin;
use baton_train::pretrained;
use baton_train::runs::{self, PostTraining, Rate};
use baton_train::tokenizer::Tokenizer;
use std::path::PathBuf;

/// Train a checkpoint a little further, from other initial states
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton post-train --from runs/small/checkpoint.safetensors \
    --folder runs/repaired --initial-state state_passing:p_zero=0.5\n  \
    baton post-train --from mamba2-130m --folder runs/130m --text book.txt --rate 3e-4 \
    --length 2048 --batch 1 --parts 8 --recompute\n\n\
    Everything that is not given is that of the checkpoint's own run, the data too: what is given must be\n\
    the same, unless it is a task or --other-data is given. Run again with the same\n\
    arguments, it resumes at the last checkpoint. --task passkey:loss=all --length 1024 trains on a task."
)]
pub struct PostTrain {
    #[command(flatten)]
    place: Run,
    /// The checkpoint to begin from: a run's, or the folder of a published one
    #[arg(long)]
    from: PathBuf,
    /// Train on other data than the checkpoint's own run did
    #[arg(long)]
    other_data: bool,
    /// Where sequences begin: zero, noise:std=0.1, fitted_noise, state_passing:p_zero=0.1,
    /// truncated_bptt, a mixture as 0.5*state_passing + 0.5*zero, or a JSON file (docs/training.md)
    #[arg(long, value_parser = initial_state, default_value = "state_passing")]
    initial_state: InitialStateConfig,
    /// Tokens in a training sequence; those of the checkpoint's run when absent
    #[arg(long)]
    length: Option<usize>,
    /// Sequences in a batch; those of the checkpoint's run when absent
    #[arg(long)]
    batch: Option<usize>,
    /// Batches whose gradients are summed for one step
    #[arg(long)]
    parts: Option<usize>,
    /// Run layers again in the backward instead of keeping them: less memory, the same bits
    #[arg(long)]
    recompute: bool,
    /// Optimiser steps
    #[arg(long, default_value_t = 300)]
    steps: u64,
    /// The highest learning rate; a published checkpoint needs it
    #[arg(long, conflicts_with = "rate_share")]
    rate: Option<f64>,
    /// The highest learning rate over that of the first training
    #[arg(long, default_value_t = 0.1)]
    rate_share: f64,
    /// Seed of all random choices
    #[arg(long, default_value_t = 2)]
    seed: u64,
}

impl PostTrain {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let post = PostTraining {
            initial_state: self.initial_state.clone(),
            steps: self.steps,
            rate: match self.rate {
                Some(rate) => Rate::Peak(rate),
                None => Rate::Share(self.rate_share),
            },
            seed: self.seed,
            train_length: self.length,
            batch_size: self.batch,
            parts: self.parts,
            recompute: self.recompute,
        };
        let folder = match self.from.is_dir() {
            true => self.from.as_path(),
            false => files::folder(&self.from),
        };
        let tokenizer = Tokenizer::of(folder)?;
        let given = self.place.given(tokenizer.path().is_some())?;
        let known = pretrained::data(&self.from)?;
        let origin = origin::after(known.as_ref(), given, self.other_data, &tokenizer)?;
        let (device, source) = (self.place.device()?, origin.open(&tokenizer)?.train);
        self.place.keep_tokenizer(folder)?;
        let stop = Stop::listen()?;
        let place = self.place.place("post-train", &stop, origin);
        let ended = runs::post_train(&self.from, &post, source.as_ref(), &place, device.as_ref())?;
        finish(context, &ended, &stop)
    }
}
