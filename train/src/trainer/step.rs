//! One step of training.
//!
//! It reads one batch, runs it in `parts`, sums their gradients, updates once, and only then hands the final states to the
//! initial-state policy. A step that is not finite, in its loss, its gradients, the states that it hands on or the weights
//! that it would leave, is read and not taken.

use super::{StepReport, Trainer};
use crate::Error;
use crate::initial_state::{Moment, sequences};
use crate::models::segments::{self, Segment};
use crate::models::{HostStates, LayerState, Parameter, Pass};
use crate::op::{Packing, weighted_cross_entropy};
use crate::optimizer::{Stepped, global_norm};
use crate::ranks::{self, Neighbours, Sum, Units};
use baton_data::rng::{Purpose, Rng};
use baton_data::{Batch, Order, Share};
use burn::module::Module;
use std::ops::Range;
use std::time::Instant;

impl Trainer<'_> {
    /// One optimiser step.
    pub fn step(&mut self) -> Result<StepReport, Error> {
        let begun = Instant::now();
        self.group.waited();
        let step = self.progress.step;
        self.fit(&|| false)?;
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
        // Who reads on goes on from what was read, also where nothing was learned from it.
        let read_on = || self.policy.order() == Order::Contiguous && sequences::are_finite(&finals);
        if self.policy.observes() && (taken || read_on()) {
            self.policy.observe(finals);
        }
        self.progress.skipped += u64::from(!taken);
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
    /// batches that lie far past any run's, segment by segment. Ends between two of them when `stop` says so, and goes on there.
    pub(super) fn fit(&mut self, stop: &dyn Fn() -> bool) -> Result<(), Error> {
        const FIRST: u64 = 1 << 40;
        let model = self.model().valid();
        let (size, length) = (self.config.batch_size, self.config.train_length);
        let (group, segment) = (self.group.clone(), length / self.config.segments);
        for i in self.fitted..self.policy.fit_batches() as u64 {
            if stop() {
                break;
            }
            let found = ranks::spread_states(&*group, self.config.parts, |part| {
                let rows = part * size..(part + 1) * size;
                let share = (self.source).share(FIRST + i, &self.sampling, rows, 0..length)?;
                let mut states = None;
                for at in (0..length).step_by(segment) {
                    let cut = share.batch.columns(at..at + segment, length);
                    let shape = [size, segment];
                    let packing = packing(shape, &cut, at == 0)?;
                    let ids = &cut.inputs;
                    let (_, after) = model.hidden_packed(ids, shape, states, packing.as_ref())?;
                    states = Some(after);
                }
                let after = states.iter().flatten();
                Ok(after.map(LayerState::to_host).collect())
            })?;
            self.policy.fit(&found);
            self.fitted += 1;
        }
        Ok(())
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
                let shape = [config.batch_size, config.train_length];
                let packing = packing(shape, &batch, true)?;
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
