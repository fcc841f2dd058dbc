//! Whole runs as one call each: what the verbs `train`, `post-train` and `eval` do.
//!
//! A run lives in a folder. Begun again with the same configuration it resumes at its last
//! checkpoint; with another it is refused, and nothing is written. One trainer at a time works in
//! a folder.

use crate::Error;
use crate::eval::{Subject, perplexity, progress};
use crate::ranks::{Alone, Group};
use crate::trainer::{BEST, Beside, HeldOut, RunOptions, Trainer};
use baton_config::small::base_config;
use baton_config::{InitialStateConfig, Schedule, TrainConfig};
use baton_data::Source;
use baton_runtime::{Device, Tensor};
use baton_tasks::measures::ByPosition;
use baton_weights::checkpoint::{CHECKPOINT, LOCK, Progress};
use baton_weights::origin::Origin;
use baton_weights::pretrained::{self, Stored};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

mod kept;

pub use kept::Kept;

/// Where a run lives, and what it shows.
#[derive(Clone, Debug)]
pub struct Place {
    /// Folder of its checkpoint and metrics.
    pub folder: PathBuf,
    /// Steps between checkpoints; 0 writes one at the end only.
    pub checkpoint_every: u64,
    /// Minutes after which one is due however many steps were done.
    pub checkpoint_minutes: Option<f64>,
    /// What its progress is called; nothing is shown when absent.
    pub title: Option<String>,
    /// What it runs on, in words, for what is shown.
    pub device: String,
    /// Where its data is, for its checkpoints.
    pub origin: Option<Origin>,
    /// Set by whoever wants it to end after its step, with a checkpoint.
    pub stop: Option<Arc<AtomicBool>>,
    /// What is looked at on the way.
    pub held_out: Option<HeldOut>,
    /// What of the metrics is written beside `metrics.jsonl`.
    pub beside: Beside,
    /// What belongs to its checkpoint, written when it begins.
    pub kept: Vec<Kept>,
    /// The ranks that run it together; the first of them writes and speaks.
    pub group: Rc<dyn Group>,
}

impl Place {
    /// A folder with a checkpoint every 500 steps or ten minutes, in silence.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Place {
            folder: folder.into(),
            checkpoint_every: 500,
            checkpoint_minutes: Some(10.0),
            title: None,
            device: "cpu".into(),
            origin: None,
            stop: None,
            held_out: None,
            beside: Beside::default(),
            kept: Vec::new(),
            group: Rc::new(Alone),
        }
    }

    /// Where its files go, in words.
    fn files(&self) -> String {
        let every = match (self.checkpoint_every, self.checkpoint_minutes) {
            (0, None) => "at the end".to_string(),
            (0, Some(minutes)) => format!("every {minutes} min and at the end"),
            (steps, None) => format!("every {steps} steps and at the end"),
            (steps, Some(minutes)) => format!("every {steps} steps, {minutes} min and at the end"),
        };
        let best = match self.held_out {
            Some(_) => format!(", {BEST}"),
            None => String::new(),
        };
        let table = if self.beside.csv { ", metrics.csv" } else { "" };
        let events = if self.beside.tensorboard {
            ", events for TensorBoard"
        } else {
            ""
        };
        format!(
            "{}: {CHECKPOINT} {every}{best}, metrics.jsonl{table}{events}",
            self.folder.display()
        )
    }
}

/// What a run ended with.
#[derive(Clone, Debug, Serialize)]
pub struct Ended {
    /// The last step's mean nats per token; absent when no step was left to do.
    pub loss: Option<f32>,
    /// How far it has come.
    pub progress: Progress,
    /// What it read, in words.
    pub data: String,
    /// Its steps in all.
    pub steps: u64,
    /// Its checkpoint.
    #[serde(serialize_with = "shown")]
    pub checkpoint: PathBuf,
    /// Whether it ended as held-out text was long not better predicted.
    pub early: bool,
}

impl Ended {
    /// Whether it was asked to stop before its end.
    pub fn stopped(&self) -> bool {
        self.progress.step < self.steps && !self.early
    }
}

/// A path as it is shown: it need not be UTF-8, and JSON is.
fn shown<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}

/// The peak learning rate of a post-training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Over that of the first training; a tenth as published.
    Share(f64),
    /// Itself.
    Peak(f64),
}

/// A post-training: what differs from the run that it begins from.
#[derive(Clone, Debug)]
pub struct PostTraining {
    /// Where sequences begin.
    pub initial_state: InitialStateConfig,
    /// Its steps.
    pub steps: u64,
    /// Its peak rate.
    pub rate: Rate,
    /// Of all random choices.
    pub seed: u64,
    /// Tokens in a sequence; absent: those of the first training.
    pub train_length: Option<usize>,
    /// Sequences that are run at once; absent: those of the first training.
    pub batch_size: Option<usize>,
    /// Runs whose gradients are summed for one step; absent: those of the first training.
    pub parts: Option<usize>,
    /// Whether layers are run again in the backward.
    pub recompute: bool,
}

impl PostTraining {
    /// A tenth of the first training's rate, and everything else as it was.
    pub fn new(initial_state: InitialStateConfig, steps: u64, seed: u64) -> Self {
        PostTraining {
            initial_state,
            steps,
            rate: Rate::Share(0.1),
            seed,
            train_length: None,
            batch_size: None,
            parts: None,
            recompute: false,
        }
    }

    /// The configuration of a post-training of `base`.
    pub fn config(&self, base: &TrainConfig) -> TrainConfig {
        let peak = match self.rate {
            Rate::Share(share) => base.schedule.peak * share,
            Rate::Peak(peak) => peak,
        };
        TrainConfig {
            schedule: Schedule {
                peak,
                warmup: self.steps / 10,
                steps: self.steps,
                decay: None,
                ..base.schedule.clone()
            },
            initial_state: self.initial_state.clone(),
            seed: self.seed,
            train_length: self.train_length.unwrap_or(base.train_length),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            parts: self.parts.unwrap_or(base.parts),
            recompute: self.recompute,
            ..base.clone()
        }
    }

    /// What stands for the first training of a checkpoint that says nothing of it.
    fn unknown(&self, stored: &Stored) -> Result<TrainConfig, Error> {
        let length = self.train_length.or(stored.train_length);
        let all = [
            (matches!(self.rate, Rate::Peak(_)), "the peak learning rate"),
            (length.is_some(), "the length of a sequence"),
            (self.batch_size.is_some(), "the size of a batch"),
        ];
        let missing = all.iter().filter(|(known, _)| !known);
        let missing: Vec<&str> = missing.map(|(_, what)| *what).collect();
        match missing.is_empty() {
            true => Ok(stand_in(stored)),
            false => Err(says_nothing(&missing)),
        }
    }
}

/// The configuration of a first training that a checkpoint says nothing of: its model, and numbers that are none
/// where there is no default.
pub fn stand_in(stored: &Stored) -> TrainConfig {
    let mut config = base_config(0, 0);
    config.model = stored.config.clone();
    config.train_length = stored.train_length.unwrap_or(1);
    config.batch_size = 1;
    config.schedule.peak = 0.0;
    config
}

/// The error of a checkpoint that says nothing of its first training where so much is missing.
pub fn says_nothing(missing: &[&str]) -> Error {
    let all = match missing {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        all => all.concat(),
    };
    Error::Config(format!(
        "a checkpoint that says nothing of its first training given: expected {all} too"
    ))
}

/// Trains from fresh weights, or resumes.
pub fn train(
    config: &TrainConfig,
    source: &dyn Source,
    place: &Place,
    device: &dyn Device,
) -> Result<Ended, Error> {
    let _alone = Lock::take(place)?;
    go(begin(config, source, place, device, None)?, place, None)
}

/// Goes on with the run of a folder by `config` from where it stands, which its checkpoint and metrics record; refuses
/// another model and other data.
pub fn change(
    config: &TrainConfig,
    source: &dyn Source,
    place: &Place,
    device: &dyn Device,
) -> Result<Ended, Error> {
    let _alone = Lock::take(place)?;
    let stored = newest(&place.folder).unwrap_or_else(|| place.folder.join(CHECKPOINT));
    go(
        Trainer::change(config.clone(), device, source, &stored)?,
        place,
        None,
    )
}

/// Trains from the weights of a checkpoint of any layout, or resumes.
pub fn post_train(
    from: &Path,
    post: &PostTraining,
    source: &dyn Source,
    place: &Place,
    device: &dyn Device,
) -> Result<Ended, Error> {
    let stored = pretrained::read(from)?;
    let base = match &stored.run {
        Some((base, _)) => base.clone(),
        None => post.unknown(&stored)?,
    };
    train_stored(stored, &post.config(&base), source, place, device)
}

/// Trains from the weights of a checkpoint by a configuration of its own, or resumes.
pub fn train_from(
    from: &Path,
    config: &TrainConfig,
    source: &dyn Source,
    place: &Place,
    device: &dyn Device,
) -> Result<Ended, Error> {
    train_stored(pretrained::read(from)?, config, source, place, device)
}

/// As [`train_from`], from a checkpoint that was read.
pub fn train_stored(
    mut stored: Stored,
    config: &TrainConfig,
    source: &dyn Source,
    place: &Place,
    device: &dyn Device,
) -> Result<Ended, Error> {
    let _alone = Lock::take(place)?;
    let before = stored.run.take().map(|(_, progress)| progress);
    let weights = std::mem::take(&mut stored.weights);
    let weights = Some((weights, before.unwrap_or_default()));
    let trainer = begin(config, source, place, device, weights)?;
    go(trainer, place, Some(&stored))
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
    let result = perplexity::by_position(&subject.model, text, &options, None, &Alone, &mut each)?;
    bar.finish_and_clear();
    Ok(result)
}

fn begin<'a>(
    config: &TrainConfig,
    source: &'a dyn Source,
    place: &Place,
    device: &dyn Device,
    base: Option<(BTreeMap<String, Tensor>, Progress)>,
) -> Result<Trainer<'a>, Error> {
    if let Some(stored) = newest(&place.folder) {
        return Trainer::resume(config.clone(), device, source, &stored)
            .map_err(|why| beside_best(why, &place.folder));
    }
    match base {
        Some((weights, before)) => {
            Trainer::continue_from(config.clone(), device, source, weights, &before)
        }
        None => Trainer::new(config.clone(), device, source),
    }
}

/// What the run of a folder goes on from. The best state on the way is a whole checkpoint too: where no other was
/// written yet it is the one that there is, and a run that began anew would replace it.
pub fn newest(folder: &Path) -> Option<PathBuf> {
    let all = [CHECKPOINT, BEST].map(|name| folder.join(name));
    all.into_iter().find(|path| path.exists())
}

/// With what is left, where the checkpoint of a folder cannot be read.
fn beside_best(why: Error, folder: &Path) -> Error {
    match why {
        Error::File { path, reason }
            if path == folder.join(CHECKPOINT) && folder.join(BEST).exists() =>
        {
            let reason = format!(
                "{reason}; {BEST} beside it is the best checkpoint on the way: where this one is lost, remove it, and the same \
                 command goes on from that"
            );
            Error::File { path, reason }
        }
        why => why,
    }
}

/// Held by the one trainer that works in a folder; the system lets go of it when the process ends,
/// however it ends.
struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the folder for all ranks, and clears away what a killed writer left there.
    fn take(place: &Place) -> Result<Option<Self>, Error> {
        if place.group.rank() > 0 {
            return Ok(None);
        }
        let folder = &place.folder;
        fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
        let path = folder.join(LOCK);
        let file = File::create(&path).map_err(|e| Error::file(&path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::file(folder, "another trainer works in this folder"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::file(&path, e)),
        }
        for entry in fs::read_dir(folder).map_err(|e| Error::file(folder, e))? {
            let path = entry.map_err(|e| Error::file(folder, e))?.path();
            if is_part(&path) {
                fs::remove_file(&path).map_err(|e| Error::file(&path, e))?;
            }
        }
        Ok(Some(Lock(file)))
    }
}

/// Whether it is what `baton_data::files` leaves of a file when it is killed: one of the name NAME.PID.part.
fn is_part(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let whole = name.strip_suffix(".part");
    let number = whole.and_then(|whole| Some(whole.rsplit_once('.')?.1));
    let ours = number.is_some_and(|number| number.parse::<u32>().is_ok());
    ours && fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

/// Runs what nothing refuses any more; `from` is what its weights are from.
fn go(trainer: Trainer<'_>, place: &Place, from: Option<&Stored>) -> Result<Ended, Error> {
    let mut trainer = trainer.together(place.group.clone())?;
    if let Some(held_out) = &place.held_out {
        trainer.beats(&place.folder, held_out)?;
    }
    let first = place.group.rank() == 0;
    if first {
        let begins = newest(&place.folder).is_none();
        kept::keep(&place.folder, &place.kept)?;
        if begins {
            pretrained::clear(&place.folder, from)?;
        }
        if let Some(stored) = from {
            stored.keep(&place.folder)?;
        }
    }
    let title = place.title.clone().filter(|_| first);
    if place.origin.is_some() {
        trainer.origin = place.origin.clone();
    }
    if let Some(title) = &title {
        let mut told = trainer.describe();
        told.insert(1, ["device".to_string(), place.device.clone()]);
        if let Some(held_out) = &place.held_out {
            told.push(["held out".to_string(), held_out.to_string()]);
        }
        told.push(["files".to_string(), place.files()]);
        let lines = told
            .iter()
            .map(|[name, what]| format!("  {name:<14}{what}\n"));
        let block = format!("{title}\n{}", lines.collect::<String>());
        // Nobody who reads it is no reason to end a run.
        let _ = std::io::stderr().write_all(block.as_bytes());
    }
    let options = RunOptions {
        folder: first.then(|| place.folder.clone()),
        checkpoint_every: place.checkpoint_every,
        checkpoint_minutes: place.checkpoint_minutes,
        title,
        stop: place.stop.clone(),
        held_out: place.held_out.clone(),
        beside: place.beside,
    };
    let loss = trainer.run(&options, &mut |_| {})?;
    // What the first rank writes at the end is there when any is done.
    place.group.gather(&[]);
    let Progress { step, best, .. } = *trainer.progress();
    let (held_out, changed) = (options.held_out.as_ref(), trainer.changed_at());
    Ok(Ended {
        loss,
        early: held_out.is_some_and(|held_out| held_out.is_over(step, best, changed)),
        progress: trainer.progress().clone(),
        data: trainer.data(),
        steps: trainer.config().schedule.steps,
        checkpoint: place.folder.join(CHECKPOINT),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_rid_of_parts_of_files_and_of_nothing_else() {
        let folder = std::env::temp_dir().join(format!("baton-parts-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join(".hf.123.part")).unwrap();
        let others = ["123.part", "movie.part", "movie.x1.part"];
        let part = format!("{CHECKPOINT}.123.part");
        for name in others.into_iter().chain([part.as_str()]) {
            fs::write(folder.join(name), "half").unwrap();
        }
        let lock = Lock::take(&Place::new(&folder)).unwrap();
        let left = fs::read_dir(&folder).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<String> = left.filter(|name| name != LOCK).collect();
        left.sort();
        let expected = [&[".hf.123.part"], &others[..]].concat();
        assert_eq!(left, expected);
        drop(lock);
        fs::remove_dir_all(folder).unwrap();
    }
}
