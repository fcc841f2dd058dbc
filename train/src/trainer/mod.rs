//! The training loop: data, initial states, model, optimiser, checkpoints, progress.
//!
//! One step reads one batch, runs it in `parts`, sums their gradients, updates once, and only then
//! hands the final states to the initial-state policy. Everything random is a function of seed and
//! step, every sum has a fixed order, and a checkpoint holds the rest: a run killed at any moment
//! and resumed goes on with the same bits. A step that is not finite, in its loss, its gradients, the states
//! that it hands on or the weights that it would leave, is read and not taken.

use crate::Error;
use crate::initial_state::{self, InitialState, Moment, sequences};
use crate::models::segments::{self, Segment};
use crate::models::{self, HostStates, LanguageModel, LayerState, Parameter, Pass};
use crate::op::{Packing, weighted_cross_entropy};
use crate::optimizer::{AdamW, Stepped, global_norm};
use crate::ranks::{self, Alone, Clocked, Group, Neighbours, Sum, Units, Work};
use baton_config::{TrainConfig, changed, difference};
use baton_data::rng::{Purpose, Rng};
use baton_data::{Batch, Order, Sampling, Share, Source};
use baton_runtime::{Device, Tensor};
use baton_weights::checkpoint::{Change, Checkpoint, Progress, fingerprint};
use baton_weights::origin::Origin;
use burn::module::Module;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

mod held_out;
mod report;
mod run;
mod show;

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
    /// Whether the policy has seen what it wants to see before its first step.
    fitted: bool,
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
            fitted: false,
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
        run.policy.restore(checkpoint.carried.clone())?;
        run.fitted = checkpoint.progress.step > 0;
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
            run.policy.restore(checkpoint.carried.clone())?;
            run.fitted = checkpoint.progress.step > 0;
        }
        let step = checkpoint.progress.step;
        run.take_up(checkpoint)?;
        run.changed = changed(&stored, &config).map(|keys| Change { step, keys });
        run.changes.extend(run.changed.clone());
        run.config = config;
        Ok(run)
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

    /// One optimiser step.
    pub fn step(&mut self) -> Result<StepReport, Error> {
        let begun = Instant::now();
        self.group.waited();
        let step = self.progress.step;
        if !std::mem::replace(&mut self.fitted, true) {
            self.fit()?;
        }
        let (size, segments) = (self.config.batch_size, self.config.segments);
        let group = self.group.clone();
        let units = Units::new(&*group, self.config.parts, segments)?;
        let (parts, segment) = (units.parts(), self.config.train_length / segments);
        let columns = units.segments(parts.start);
        let columns = columns.start * segment..columns.end * segment;
        let (first, width, begins) = (parts.start * size, columns.len(), columns.start == 0);
        let (source, rows) = (self.source, first..parts.end * size);
        let Share { batch, total } = source.share(step, &self.sampling, rows, columns)?;
        let states = self.initial_states(step, &batch, width, begins.then_some(first));
        let mut sum = Sum::new(&*group);
        let mut finals = Vec::new();
        let mut losses = Vec::new();
        for part in parts {
            let rows = part * size..(part + 1) * size;
            let states = states.as_ref().map(|s| sequences::rows(s, rows.clone()));
            let batch = batch.rows(rows.start - first..rows.end - first, width);
            let own = units.segments(part);
            let place = step * self.config.parts as u64 + part as u64;
            let (all, after) = self.part(place, batch, total, states, own)?;
            for (loss, gradients) in all {
                losses.push(loss);
                sum.add(gradients);
            }
            finals.extend(after);
        }
        let sum = sum.finish();
        let worked = begun.elapsed().saturating_sub(group.waited());
        losses.push(worked.as_secs_f32());
        let told = losses.len();
        let all = ranks::numbers(&*group, losses);
        let all = all.chunks_exact(told).map(|all| all.split_at(told - 1));
        let (losses, seconds): (Vec<_>, Vec<_>) = all.unzip();
        let loss: f32 = losses.concat().into_iter().sum();
        let slow = self.work.slow(&seconds.concat());
        let rows = self.sampling.batch;
        let finals = ranks::states(&*group, sequences::join(finals), rows);
        let rate = self.config.schedule.rate(step);
        let finite = loss.is_finite() && sequences::are_finite(&finals);
        let (taken, norm) = match finite {
            true => self.update(sum, rate),
            false => (false, global_norm(&sum)),
        };
        match taken {
            true if self.policy.observes() => self.policy.observe(finals),
            true => {}
            false => self.progress.skipped += 1,
        }
        self.progress.step += 1;
        self.progress.tokens += (self.sampling.batch * self.sampling.length) as u64;
        self.progress.seconds += begun.elapsed().as_secs_f64();
        Ok(StepReport {
            step,
            loss,
            skipped: !taken,
            rate,
            norm,
            tokens: self.progress.tokens,
            seconds: self.progress.seconds,
            held_out: None,
            slow,
            changed: self.changed.take().map(|change| change.keys),
        })
    }

    /// Whether the weights were updated, and the norm of the gradients.
    fn update(&mut self, gradients: Vec<Parameter>, rate: f64) -> (bool, f64) {
        let before = self.progress.step - self.progress.skipped;
        let model = self.take_model();
        let Stepped { model, norm, taken } = self.optimizer.step(model, gradients, rate, before);
        self.model = Some(model);
        (taken, norm)
    }

    /// Shows the policy final states before the first step, if it asks for them: from zero, of
    /// batches that lie far past any run's.
    fn fit(&mut self) -> Result<(), Error> {
        const FIRST: u64 = 1 << 40;
        let model = self.model().valid();
        let (size, length) = (self.config.batch_size, self.config.train_length);
        let group = self.group.clone();
        for i in 0..self.policy.fit_batches() as u64 {
            let found = ranks::spread_states(&*group, self.config.parts, |part| {
                let rows = part * size..(part + 1) * size;
                let share = (self.source).share(FIRST + i, &self.sampling, rows, 0..length)?;
                let (shape, packing) = self.packing(&share.batch)?;
                let (_, after) =
                    model.hidden_packed(&share.batch.inputs, shape, None, packing.as_ref())?;
                Ok(after.iter().map(LayerState::to_host).collect())
            })?;
            self.policy.fit(&found);
        }
        Ok(())
    }

    /// The shape of a part, and the documents inside of its rows.
    fn packing(&self, batch: &Batch) -> Result<([usize; 2], Option<Packing>), Error> {
        let shape = [self.config.batch_size, self.config.train_length];
        Ok((shape, packing(shape, batch, true)?))
    }

    /// What the policy draws, with zero where a document begins at a row's first token. `batch` has columns of `width`,
    /// the rows from `first` on; absent: of them none is a row's first.
    fn initial_states(
        &self,
        step: u64,
        batch: &Batch,
        width: usize,
        first: Option<usize>,
    ) -> Option<HostStates> {
        let mut states = self.policy.draw(Moment {
            step,
            batch: self.sampling.batch,
            sizes: &self.sizes,
            rng: Rng::at(self.config.seed, Purpose::States, step),
        })?;
        let starts = batch.starts.iter().flatten();
        let begin = starts.filter(|&at| at.is_multiple_of(width));
        if let Some(first) = first {
            begin.for_each(|at| sequences::clear(&mut states, first + at / width));
        }
        Some(states)
    }

    /// For each of the segments `own` of the run's `place`-th part, which `batch` holds, the loss over `total` and the
    /// gradients; and the final states, if the policy wants them: empty where the last segment is another rank's.
    fn part(
        &self,
        place: u64,
        batch: Batch,
        total: f64,
        states: Option<HostStates>,
        own: Range<usize>,
    ) -> Result<(Vec<segments::Part>, Option<HostStates>), Error> {
        let (config, model) = (&self.config, self.model());
        let states = states.map(|s| s.into_iter().map(LayerState::from_host).collect());
        let loss = |targets, weights| {
            move |logits| weighted_cross_entropy(logits, targets, weights, total)
        };
        let (parts, finals) = match config.segments {
            1 => {
                let (shape, packing) = self.packing(&batch)?;
                let pass = Pass {
                    ids: &batch.inputs,
                    shape,
                    states,
                    packing: packing.as_ref(),
                    noise: model
                        .is_hybrid()
                        .then(|| Rng::at(config.seed, Purpose::Choices, place).bits()),
                };
                let passed =
                    pass.run(model, config.recompute, loss(batch.targets, batch.weights))?;
                (vec![(passed.loss, passed.gradients)], passed.finals)
            }
            count => {
                let (last, length) = (own.end == count, config.train_length / count);
                let (first, width) = (own.start, own.len() * length);
                let neighbours = Neighbours {
                    group: &*self.group,
                    before: own.start > 0,
                    after: !last,
                };
                let cut = own
                    .clone()
                    .map(|i| (i - first) * length)
                    .map(|at| batch.columns(at..at + length, width));
                let cut: Vec<Batch> = cut.collect();
                let shape = [config.batch_size, length];
                let packings = own
                    .zip(&cut)
                    .map(|(i, batch)| packing(shape, batch, i == 0));
                let packings = packings.collect::<Result<Vec<_>, Error>>()?;
                let all = cut.iter().zip(&packings).map(|(batch, packing)| {
                    let segment = Segment {
                        ids: &batch.inputs,
                        shape,
                        packing: packing.as_ref(),
                    };
                    (segment, loss(batch.targets.clone(), batch.weights.clone()))
                });
                let states = states.filter(|_| !neighbours.before);
                let (parts, mut finals) = segments::run(model, all.collect(), states, &neighbours)?;
                if !last {
                    finals.iter_mut().for_each(LayerState::clear);
                }
                (parts, finals)
            }
        };
        let finals = finals.iter().map(LayerState::to_host);
        let finals = self.policy.observes().then(|| finals.collect());
        Ok((parts, finals))
    }
}

/// The documents of rows that are not one each. Rows that begin with a document need no packing where their state is
/// zero without it, as at the beginning of a row.
fn packing(shape: [usize; 2], batch: &Batch, begins: bool) -> Result<Option<Packing>, Error> {
    let counts = |at: &usize| !begins || !at.is_multiple_of(shape[1]);
    let starts = (batch.starts.as_ref()).filter(|starts| starts.iter().any(counts));
    starts.map(|starts| Packing::new(shape, starts)).transpose()
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
