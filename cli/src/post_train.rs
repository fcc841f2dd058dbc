//! `baton post-train`: a few more steps from a checkpoint, beginning at other states.

use crate::context::Context;
use crate::failure::Failure;
use crate::options::Options;
use crate::place::{Run, vocabulary};
use crate::train::{finish, print};
use baton_config::InitialStateConfig;
use baton_config::{self as config, Beginning, Said};
use baton_data::files;
use baton_data::tokenizer::Tokenizer;
use baton_train::runs::{self, PostTraining, Rate, says_nothing, stand_in};
use baton_weights::origin::{self, Other};
use baton_weights::pretrained;
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
    /// The highest learning rate over that of the first training; 0.1 when absent. A published checkpoint needs
    /// --rate
    #[arg(long, conflicts_with = "rate")]
    rate_share: Option<f64>,
    #[command(flatten)]
    options: Options,
}

/// Steps and seed where nothing is said.
const STEPS: u64 = 300;
const SEED: u64 = 2;

impl PostTrain {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let stop = self.place.stop()?;
        let stored = pretrained::read(&self.from)?;
        let first = stored.run.as_ref().map(|(config, _)| config.clone());
        let mut said = self.options.said(Vec::new())?;
        if let (Some(share), Some(first)) = (self.rate_share, &first) {
            let peak = first.schedule.peak * share;
            said.push(Said::key("--rate-share", "schedule.peak", peak.into()));
        }
        let mut post = PostTraining::new(InitialStateConfig::state_passing(), STEPS, SEED);
        if first.is_none() {
            post.rate = Rate::Peak(0.0);
        }
        let base = post.config(&first.clone().unwrap_or_else(|| stand_in(&stored)));
        let laid = config::lay(&Beginning::After(base), said)?;
        if first.is_none() {
            let length = stored.train_length.is_some();
            let missing = [
                ("schedule.peak", false, "the peak learning rate (--rate)"),
                (
                    "train_length",
                    length,
                    "the length of a sequence (--length)",
                ),
                ("batch_size", false, "the size of a batch (--batch)"),
            ];
            let missing = missing
                .iter()
                .filter(|(key, known, _)| !known && !laid.says(key));
            let mut missing: Vec<&str> = missing.map(|(.., what)| *what).collect();
            if !missing.is_empty() {
                if self.place.given(false)?.is_none() {
                    missing.insert(0, "its data (--text or --data)");
                }
                return Err(says_nothing(&missing).into());
            }
        }
        let mut config = laid.config.clone();
        if self.options.prints() {
            return print(context, &self.options, &config, "");
        }
        self.place.settle(&mut config, |key| laid.says(key));
        let folder = match self.from.is_dir() {
            true => self.from.as_path(),
            false => files::folder(&self.from),
        };
        let tokenizer = Tokenizer::of(folder)?;
        context.output.notes_of(&tokenizer, config.model.vocab_size);
        let given = self.place.given(tokenizer.path().is_some())?;
        let other = match self.other_data {
            true => Other::Taken,
            false => Other::Refused("--other-data trains on another"),
        };
        let origin = origin::after(stored.data.as_ref(), given, other, &tokenizer)?;
        let origin = self.place.reading(origin)?;
        let group = context.ranks()?;
        let (device, opened, mut kept) = self.place.open(&*group, &origin, &tokenizer)?;
        kept.push(vocabulary(Some(folder))?);
        let group = self.place.linked(group, device.as_ref())?;
        let place = self
            .place
            .place("post-train", &stop, origin, opened.held_out, kept, group)?;
        let source = opened.train.as_ref();
        let ended = runs::train_stored(stored, &config, source, &place, device.as_ref())?;
        finish(context, &ended, &stop)
    }
}
