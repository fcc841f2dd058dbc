//! A run from where it stands to the end of its schedule: metrics, checkpoints, progress.
//!
//! Steps that are not taken cost the run their data and nothing else, as long as they are few. So many in a
//! row mean that it has diverged: it ends with an error, and the checkpoint on the disk is the last one that
//! was written after a step that was taken. A run that is asked to stop does so after its step, with a
//! checkpoint, and so does one whose held-out text was long not better predicted.

use super::show::Show;
use super::{BEST, HeldOut, Loss, RunOptions, StepReport, Trainer};
use crate::Error;
use crate::metrics::Metrics;
use crate::ranks;
use baton_weights::checkpoint::{Best, CHECKPOINT, Progress};
use burn::module::Module;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Steps in a row that may be left out before a run ends with an error.
pub const MOST_SKIPPED: u64 = 10;

impl Trainer<'_> {
    /// Steps until the schedule ends or it is asked to stop, with progress, metrics and checkpoints;
    /// `each` sees every step. Returns the last step's loss.
    pub fn run(
        &mut self,
        options: &RunOptions,
        each: &mut dyn FnMut(&StepReport),
    ) -> Result<Option<f32>, Error> {
        let (first, steps) = (self.progress.step, self.config.schedule.steps);
        let mut metrics = match &options.folder {
            Some(folder) => Some(Metrics::open(folder, first, options.beside)?),
            None => None,
        };
        // One that goes on from its best state has no other checkpoint yet.
        if let Some(path) = options
            .folder
            .as_ref()
            .map(|folder| folder.join(CHECKPOINT))
            && first > 0
            && !path.exists()
        {
            self.checkpoint()?.write(&path)?;
        }
        let show = Show::new(options.title.as_deref(), steps, &self.progress);
        let group = self.group.clone();
        let asked = || {
            let stop = options.stop.as_ref();
            ranks::any(
                &*group,
                stop.is_some_and(|stop| stop.load(Ordering::Relaxed)),
            )
        };
        let mut saved = Instant::now();
        // The steps of the checkpoint that is there.
        let mut kept = Some(first).filter(|&step| step > 0);
        let (mut last, mut skipped, mut due) = (None, 0, false);
        if self.progress.step < steps {
            self.fit(&asked)?;
        }
        let mut stop = asked();
        let held_out = options.held_out.as_ref();
        let changed = self.changed_at();
        let over = |progress: &Progress| {
            let Progress { step, best, .. } = *progress;
            held_out.is_some_and(|held_out| held_out.is_over(step, best, changed))
        };
        while self.progress.step < steps && !stop && !over(&self.progress) {
            let mut report = self.step()?;
            let looked = self.look(held_out)?;
            report.held_out = looked.map(|(loss, _)| loss);
            last = Some(report.loss);
            show.step(&report);
            if let Some(metrics) = &mut metrics {
                metrics.write(&report).map_err(|why| unwritten(why, kept))?;
            }
            each(&report);
            if let (Some(folder), Some((_, true))) = (&options.folder, looked) {
                let written = self.checkpoint()?.write(&folder.join(BEST));
                written.map_err(|why| unwritten(why.into(), kept))?;
            }
            let step = self.progress.step;
            skipped = if report.skipped { skipped + 1 } else { 0 };
            if skipped == MOST_SKIPPED || skipped == steps - first {
                show.end(false);
                return Err(diverged(&report, skipped, kept));
            }
            stop = asked();
            let every = options.checkpoint_every;
            let minutes = saved.elapsed().as_secs_f64() / 60.0;
            let by_time = options.checkpoint_minutes.is_some_and(|due| minutes >= due);
            due |= by_time || every > 0 && step.is_multiple_of(every);
            // After a step that was left out, a checkpoint waits for one that is taken.
            if let Some(folder) = &options.folder
                && (due && skipped == 0 || step == steps || stop || over(&self.progress))
            {
                if let Some(metrics) = &metrics {
                    metrics.sync().map_err(|why| unwritten(why, kept))?;
                }
                let written = self.checkpoint()?.write(&folder.join(CHECKPOINT));
                written.map_err(|why| unwritten(why.into(), kept))?;
                (saved, due, kept) = (Instant::now(), false, Some(step));
            }
        }
        show.end(self.progress.step == steps);
        Ok(last)
    }

    /// Looks at held-out text if it is time, and whether it was never better predicted.
    fn look(&mut self, at: Option<&HeldOut>) -> Result<Option<(Loss, bool)>, Error> {
        let (step, steps) = (self.progress.step, self.config.schedule.steps);
        let Some(held_out) = at.filter(|held_out| held_out.is_due(step, steps)) else {
            return Ok(None);
        };
        let (model, length) = (self.model().valid(), self.config.train_length);
        let loss = held_out.measure(&model, length, &*self.group)?;
        let better = loss.within.is_finite()
            && self
                .progress
                .best
                .is_none_or(|best| loss.within < best.loss);
        if better {
            self.progress.best = Some(Best {
                step,
                loss: loss.within,
                measure: Some(held_out.hash(length)?),
            });
        }
        Ok(Some((loss, better)))
    }
}

/// A file that could not be written, and what there is to go on from.
fn unwritten(why: Error, kept: Option<u64>) -> Error {
    let left = match kept {
        Some(step) => {
            format!("the checkpoint of step {step} is whole: the same command goes on from it")
        }
        None => "there is no checkpoint yet: the same command begins anew".to_string(),
    };
    match why {
        Error::File { path, reason } => {
            let reason = format!("{reason}; {left}");
            Error::File { path, reason }
        }
        why => why,
    }
}

fn diverged(last: &StepReport, skipped: u64, kept: Option<u64>) -> Error {
    let left = match kept {
        Some(step) => format!("the last checkpoint, of step {step}, is from before them"),
        None => "there is no checkpoint yet".to_string(),
    };
    Error::Config(format!(
        "{skipped} steps in a row were not finite, the last of them step {} with loss {}, gradients of norm \
         {} and rate {}: training diverged, expected finite numbers. None of them was taken, and {left}; a lower \
         rate, a longer warm-up or a smaller clip may help",
        last.step, last.loss, last.norm, last.rate
    ))
}
