//! Whole runs as one call each: what the verbs `train`, `post-train` and `eval` do.
//!
//! A run lives in a folder. Begun again with the same configuration it resumes at its last
//! checkpoint; with another it is refused, and nothing is overwritten.

use crate::Error;
use crate::checkpoint::{Checkpoint, Progress};
use crate::data::Source;
use crate::eval::perplexity::{self, ByPosition};
use crate::eval::{Subject, progress};
use crate::initial_state::InitialStateConfig;
use crate::schedule::Schedule;
use crate::trainer::{CHECKPOINT, RunOptions, TrainConfig, Trainer};
use baton_runtime::Device;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where a run lives, and what it shows.
#[derive(Clone, Debug)]
pub struct Place {
    /// Folder of its checkpoint and metrics.
    pub folder: PathBuf,
    /// Steps between checkpoints; 0 writes one at the end only.
    pub checkpoint_every: u64,
    /// What the progress bar is called; no bar when absent.
    pub title: Option<String>,
}

/// What a run ended with.
#[derive(Clone, Debug, Serialize)]
pub struct Ended {
    /// The last step's mean nats per token; absent when no step was left to do.
    pub loss: Option<f32>,
    /// How far it has come.
    pub progress: Progress,
    /// Its checkpoint.
    pub checkpoint: PathBuf,
}

/// A post-training: what differs from the run that it begins from.
#[derive(Clone, Debug)]
pub struct PostTraining {
    /// Where sequences begin.
    pub initial_state: InitialStateConfig,
    /// Its steps.
    pub steps: u64,
    /// Its peak rate over that of the first training; a tenth as published.
    pub rate_share: f64,
    /// Of all random choices.
    pub seed: u64,
    /// Tokens in a sequence; absent: those of the first training.
    pub train_length: Option<usize>,
    /// Sequences in a batch; absent: those of the first training.
    pub batch_size: Option<usize>,
}

impl PostTraining {
    /// The configuration of a post-training of `base`.
    pub fn config(&self, base: &TrainConfig) -> TrainConfig {
        TrainConfig {
            schedule: Schedule {
                peak: base.schedule.peak * self.rate_share,
                warmup: self.steps / 10,
                steps: self.steps,
                floor: base.schedule.floor,
            },
            initial_state: self.initial_state.clone(),
            seed: self.seed,
            train_length: self.train_length.unwrap_or(base.train_length),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            ..base.clone()
        }
    }
}

/// Trains from fresh weights, or resumes.
pub fn train(
    config: &TrainConfig,
    source: &dyn Source,
    place: &Place,
    device: &dyn Device,
) -> Result<Ended, Error> {
    go(begin(config, source, place, device, None)?, place)
}

/// Trains from the weights of a checkpoint of another run, or resumes.
pub fn post_train(
    from: &Path,
    post: &PostTraining,
    source: &dyn Source,
    place: &Place,
    device: &dyn Device,
) -> Result<Ended, Error> {
    let base = Checkpoint::read(from)?;
    let config = post.config(&TrainConfig::of(&base, from)?);
    go(begin(&config, source, place, device, Some(base))?, place)
}

/// Trains from the weights of a checkpoint by a configuration of its own, or resumes.
pub fn train_from(
    from: &Path,
    config: &TrainConfig,
    source: &dyn Source,
    place: &Place,
    device: &dyn Device,
) -> Result<Ended, Error> {
    let base = Checkpoint::read(from)?;
    go(begin(config, source, place, device, Some(base))?, place)
}

/// Perplexity by position of a checkpoint on `text`, `length` tokens of each of `sequences`.
pub fn evaluate(
    checkpoint: &Path,
    text: &[u8],
    length: usize,
    sequences: usize,
    title: Option<&str>,
    device: &dyn Device,
) -> Result<ByPosition, Error> {
    let subject = Subject::open(checkpoint, device)?;
    let train_length = subject.checkpoint.train_length.unwrap_or(length);
    let options = perplexity::Options::new(train_length, length, sequences);
    let bar = progress(title, length * sequences);
    let mut each = |tokens| bar.inc(tokens as u64);
    let result = perplexity::by_position(&subject.model, text, &options, None, &mut each)?;
    bar.finish_and_clear();
    Ok(result)
}

fn begin<'a>(
    config: &TrainConfig,
    source: &'a dyn Source,
    place: &Place,
    device: &dyn Device,
    base: Option<Checkpoint>,
) -> Result<Trainer<'a>, Error> {
    let stored = place.folder.join(CHECKPOINT);
    if stored.exists() {
        return Trainer::resume(config.clone(), device, source, &stored);
    }
    match base {
        Some(base) => {
            Trainer::continue_from(config.clone(), device, source, base.weights, &base.progress)
        }
        None => Trainer::new(config.clone(), device, source),
    }
}

fn go(mut trainer: Trainer<'_>, place: &Place) -> Result<Ended, Error> {
    let options = RunOptions {
        folder: Some(place.folder.clone()),
        checkpoint_every: place.checkpoint_every,
        title: place.title.clone(),
    };
    let loss = trainer.run(&options, &mut |_| {})?;
    Ok(Ended {
        loss,
        progress: trainer.progress().clone(),
        checkpoint: place.folder.join(CHECKPOINT),
    })
}
