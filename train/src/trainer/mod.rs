//! The training loop: data, initial states, model, optimiser, checkpoints, progress.
//!
//! Everything random is a function of seed and step, every sum has a fixed order ([`step`](Trainer::step)), and a checkpoint
//! holds the rest: a run killed at any moment and resumed goes on with the same bits.

use crate::Error;
use crate::initial_state::{self, InitialState};
use crate::models::{self, LanguageModel};
use crate::optimizer::AdamW;
use crate::ranks::{self, Alone, Clocked, Group, Units, Work};
use baton_config::{TrainConfig, changed, difference};
use baton_data::{Order, Sampling, Source};
use baton_runtime::{Device, Tensor};
use baton_weights::checkpoint::{Change, Checkpoint, Progress, fingerprint};
use baton_weights::origin::Origin;
use burn::module::Module;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

mod held_out;
mod report;
mod run;
mod show;
mod step;

pub use held_out::{BEST, HeldOut, Loss};
pub use report::StepReport;
pub use run::MOST_SKIPPED;

/// What of the metrics is written beside `metrics.jsonl`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// The table `metrics.csv`.
    pub csv: bool,
    /// A file of events for TensorBoard.
    pub tensorboard: bool,
}

/// Where a run keeps its files, and what it shows.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Folder of `checkpoint.safetensors` and `metrics.jsonl`; nothing is kept when absent.
    pub folder: Option<PathBuf>,
    /// Steps between checkpoints; 0 writes one at the end only.
    pub checkpoint_every: u64,
    /// Minutes after which one is due however many steps were done.
    pub checkpoint_minutes: Option<f64>,
    /// What its progress is called; none is shown when absent.
    pub title: Option<String>,
    /// Set by whoever wants it to end after its step, with a checkpoint.
    pub stop: Option<Arc<AtomicBool>>,
    /// What is looked at on the way.
    pub held_out: Option<HeldOut>,
    /// What the metrics are written to.
    pub beside: Beside,
}

/// A run.
pub struct Trainer<'a> {
    config: TrainConfig,
    source: &'a dyn Source,
    model: Option<LanguageModel>,
    optimizer: AdamW,
    policy: Box<dyn InitialState>,
    sampling: Sampling,
    sizes: Vec<Vec<Vec<usize>>>,
    progress: Progress,
    /// How many batches the policy has seen of those that it wants to see before the first step.
    fitted: u64,
    /// Where the data is, for its checkpoints.
    pub(crate) origin: Option<Origin>,
    /// The processes that compute it together, and how long each of them worked.
    group: Rc<Clocked>,
    work: Work,
    /// How the configuration was changed on the way.
    changes: Vec<Change>,
    /// The last of these, until a step reports it.
    changed: Option<Change>,
}

impl<'a> Trainer<'a> {
    /// A run from fresh weights on the sequences of `source`.
    pub fn new(
        config: TrainConfig,
        device: &dyn Device,
        source: &'a dyn Source,
    ) -> Result<Self, Error> {
        if let Some((_, problem)) = config.problems().into_iter().next() {
            return Err(problem.into());
        }
        let model = LanguageModel::new(&config.model, device, config.seed)?;
        if config.model.vocab_size < source.vocab_size() {
            return Err(Error::Config(format!(
                "vocab_size {} given, expected at least {} for {}",
                config.model.vocab_size,
                source.vocab_size(),
                source.name()
            )));
        }
        let layers = config.model.num_hidden_layers;
        let policy = initial_state::build(&config.initial_state, layers)?;
        if policy.order() == Order::Contiguous && !source.is_contiguous() {
            return Err(Error::Config(format!(
                "the initial state `{}` given, which reads sequences in order, expected one that \
                 does not: {} has no order",
                policy.name(),
                source.name()
            )));
        }
        Ok(Trainer {
            sampling: Sampling {
                seed: config.seed,
                batch: config.parts * config.batch_size,
                length: config.train_length,
                order: policy.order(),
            },
            optimizer: AdamW::new(config.optimizer.clone()),
            sizes: config.model.state_sizes(),
            model: Some(model),
            policy,
            source,
            progress: Progress::default(),
            fitted: 0,
            origin: None,
            group: Rc::new(Clocked::new(Rc::new(Alone))),
            work: Work::default(),
            changes: Vec::new(),
            changed: None,
            config,
        })
    }

    /// The same run, its parts shared out over ranks, each of which has made it alike: what it computes has the bits
    /// of one process. Refuses ranks that would compute another run, and parts that cannot be shared evenly.
    pub fn together(mut self, group: Rc<dyn Group>) -> Result<Self, Error> {
        if group.size() == 1 {
            return Ok(self);
        }
        Units::new(&*group, self.config.parts, self.config.segments)?;
        let weights = fingerprint(&self.weights());
        let own = serde_json::json!({
            "program": ranks::program(),
            "instructions": instructions(),
            "run": serde_json::from_str::<Value>(&self.identity()?).unwrap_or_default(),
            "step": self.progress.step,
            "weights": weights,
        });
        ranks::alike(&*group, &own.to_string(), difference)?;
        self.group = Rc::new(Clocked::new(group));
        Ok(self)
    }

    /// A run from the weights of another, whose tokens and seconds count on; new optimiser, step 0.
    pub fn continue_from(
        config: TrainConfig,
        device: &dyn Device,
        source: &'a dyn Source,
        weights: BTreeMap<String, Tensor>,
        before: &Progress,
    ) -> Result<Self, Error> {
        let mut run = Trainer::new(config, device, source)?;
        run.replace_weights(weights)?;
        run.progress.tokens = before.tokens;
        run.progress.seconds = before.seconds;
        Ok(run)
    }

    /// The run that a checkpoint stopped; refuses a checkpoint of another configuration.
    pub fn resume(
        config: TrainConfig,
        device: &dyn Device,
        source: &'a dyn Source,
        path: &Path,
    ) -> Result<Self, Error> {
        let checkpoint = Checkpoint::read(path)?;
        let mut run = Trainer::new(config, device, source)?;
        if let Some(difference) = difference(&checkpoint.config, &run.identity()?) {
            let anew = "another --folder begins anew";
            // A change of the model or the data would be another run.
            let fixed = ["`config.model", "`data`"];
            let remedy = match fixed.iter().any(|part| difference.contains(part)) {
                true => anew.to_string(),
                false => format!("`baton train --change` goes on by another, {anew}"),
            };
            return Err(Error::file(
                path,
                format!("made by another configuration: {difference}; {remedy}"),
            ));
        }
        run.restore(&checkpoint)?;
        run.take_up(checkpoint)?;
        Ok(run)
    }

    /// The run that a checkpoint stopped, by `config` from there on, which is recorded; the model and the data
    /// stay. Where sequences are other ones now, states that were carried are not theirs, and the policy begins anew.
    pub fn change(
        config: TrainConfig,
        device: &dyn Device,
        source: &'a dyn Source,
        path: &Path,
    ) -> Result<Self, Error> {
        let checkpoint = Checkpoint::read(path)?;
        let (stored, _) = checkpoint.made_by(path)?;
        let (steps, done) = (config.schedule.steps, checkpoint.progress.step);
        if steps < done {
            return Err(Error::Config(format!(
                "{steps} steps in all given for a run that has done {done}, expected at least as many"
            )));
        }
        let mut run = Trainer::new(config.clone(), device, source)?;
        let same = TrainConfig {
            model: config.model.clone(),
            ..stored.clone()
        };
        run.config = same;
        if let Some(difference) = difference(&checkpoint.config, &run.identity()?) {
            return Err(Error::file(
                path,
                format!(
                    "made by another model or of other data, which cannot change: {difference}"
                ),
            ));
        }
        let of = |config: &TrainConfig| {
            let sequences = config.parts * config.batch_size;
            (config.initial_state.clone(), sequences, config.train_length)
        };
        if of(&stored) == of(&config) {
            run.restore(&checkpoint)?;
        }
        let step = checkpoint.progress.step;
        run.take_up(checkpoint)?;
        if stored.train_length != config.train_length {
            // Losses within another length are not compared with the best one so far.
            run.progress.best = None;
        }
        run.changed = changed(&stored, &config).map(|keys| Change { step, keys });
        run.changes.extend(run.changed.clone());
        run.config = config;
        Ok(run)
    }

    /// Gives the policy what it carried.
    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        self.policy.restore(checkpoint.carried.clone())?;
        if checkpoint.progress.step > 0 {
            self.fitted = self.policy.fit_batches() as u64;
        }
        Ok(())
    }

    /// Goes on from a checkpoint in all but the policy.
    fn take_up(&mut self, checkpoint: Checkpoint) -> Result<(), Error> {
        self.replace_weights(checkpoint.weights)?;
        self.optimizer.moments = checkpoint.moments;
        self.progress = checkpoint.progress;
        self.origin = checkpoint.origin;
        self.changes = checkpoint.changes;
        Ok(())
    }

    fn replace_weights(&mut self, weights: BTreeMap<String, Tensor>) -> Result<(), Error> {
        self.model = Some(models::load(self.take_model(), weights)?);
        Ok(())
    }

    fn take_model(&mut self) -> LanguageModel {
        self.model.take().expect("a step that fails ends the run")
    }

    /// The model as it is.
    pub fn model(&self) -> &LanguageModel {
        self.model.as_ref().expect("a step that fails ends the run")
    }

    /// Everything that decides what it computes.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// What it reads, in words: its name, where it is, and what tells it from others.
    pub fn data(&self) -> String {
        let (name, fingerprint) = (self.source.name(), self.source.fingerprint());
        match &self.origin {
            Some(Origin::Text { path, .. } | Origin::Shards { path, .. }) => {
                format!("{name} ({}): {fingerprint}", path.display())
            }
            // A task's fingerprint is its line.
            _ if fingerprint.starts_with("task ") => format!("the {fingerprint}"),
            _ => format!("{name}: {fingerprint}"),
        }
    }

    /// What is run, for a person: one thing to a line.
    pub fn describe(&self) -> Vec<[String; 2]> {
        let TrainConfig {
            model,
            schedule,
            parts,
            batch_size,
            train_length,
            ..
        } = &self.config;
        let accumulated = match parts {
            1 => String::new(),
            parts => format!("{parts} x "),
        };
        let of = |name: &str, what: String| [name.to_string(), what];
        let mut all = vec![
            of(
                "model",
                format!(
                    "{}, {} layers of width {}, {} parameters",
                    model.block.name(),
                    model.num_hidden_layers,
                    model.hidden_size,
                    self.model().num_params()
                ),
            ),
            of("data", self.data()),
            of(
                "steps",
                format!(
                    "{} of {accumulated}{batch_size} sequences of {train_length} tokens, from step {}",
                    schedule.steps, self.progress.step
                ),
            ),
            of("rate", format!("{schedule}; seed {}", self.config.seed)),
            of("optimiser", self.config.optimizer.to_string()),
        ];
        let state = serde_json::to_string(&self.config.initial_state);
        all.push(of("initial state", state.unwrap_or_default()));
        all.extend(
            self.changes
                .iter()
                .map(|change| of("changed", change.to_string())),
        );
        all
    }

    /// How far the run has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Weights by name.
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        let all = models::parameters(self.model()).into_iter();
        all.map(|p| (p.name, p.value)).collect()
    }

    /// The configuration and the data, as one line of text.
    fn identity(&self) -> Result<String, Error> {
        let config = serde_json::to_value(&self.config);
        let identity = config.map(|config| {
            serde_json::json!({ "config": config, "data": self.source.fingerprint() }).to_string()
        });
        identity.map_err(|e| Error::Config(e.to_string()))
    }

    /// Everything that the run needs to go on.
    pub fn checkpoint(&self) -> Result<Checkpoint, Error> {
        Ok(Checkpoint {
            config: self.identity()?,
            progress: self.progress.clone(),
            weights: self.weights(),
            moments: self.optimizer.moments.clone(),
            carried: self.policy.carried(),
            origin: self.origin.clone(),
            changes: self.changes.clone(),
        })
    }
}

/// Vector instructions that decide how kernels round.
fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        return "AVX-512";
    } else if std::arch::is_x86_feature_detected!("avx2") {
        return "AVX2";
    }
    std::env::consts::ARCH
}

#[cfg(test)]
mod exchanged;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod together;
