//! One evaluation of a plan on one run: its options in full, and the measure itself.

use super::plan::{Evaluation, Length};
use crate::Error;
use crate::eval::{Checkpoint, Reader, SIDE_BY_SIDE, Subject};
use crate::eval::{perplexity, remembrance, starts, states};
use crate::ranks::{Group, answers};
use baton_data::Text;
use baton_tasks::measures::Measurement;
use baton_tasks::{self as tasks, Material, TaskConfig, grid};
use serde_json::{Value, json};
use std::time::Instant;

const SEGMENT: usize = 256;
const TRIALS_AT_ONCE: usize = 8;
const TASK_SEED: u64 = 1;

/// An evaluation with nothing left open.
pub enum Ready {
    /// Perplexity by position.
    Perplexity(perplexity::Options),
    /// States over time.
    States(states::Options),
    /// Effective remembrance.
    Remembrance(remembrance::Options),
    /// A task.
    Task(TaskConfig, tasks::Plan, bool),
}

impl Ready {
    /// `evaluation` of a run trained at `train_length`.
    pub fn new(evaluation: &Evaluation, train_length: usize) -> Result<Self, Error> {
        Ok(match evaluation {
            Evaluation::Perplexity {
                length,
                sequences,
                per_octave,
            } => Ready::Perplexity(perplexity::Options {
                train_length,
                length: length.tokens(train_length)?,
                sequences: *sequences,
                segment: SEGMENT,
                batch: SIDE_BY_SIDE,
                per_octave: *per_octave,
                initial_state: None,
            }),
            Evaluation::States {
                length,
                sequences,
                times,
            } => Ready::States(states::Options {
                train_length,
                length: length.tokens(train_length)?,
                sequences: *sequences,
                times: *times,
                segment: SEGMENT,
            }),
            Evaluation::Remembrance {
                length,
                sequences,
                cuts,
                spacing,
            } => Ready::Remembrance(remembrance::Options {
                length: length.tokens(train_length)?,
                sequences: *sequences,
                cuts: *cuts,
                spacing: *spacing,
            }),
            Evaluation::Task {
                task,
                lengths,
                depths,
                trials,
                haystack,
            } => {
                let tokens = |length: &Length| length.tokens(train_length);
                let plan = tasks::Plan {
                    lengths: lengths.iter().map(tokens).collect::<Result<_, _>>()?,
                    depths: depths.clone(),
                    trials: *trials,
                    batch: TRIALS_AT_ONCE,
                    seed: TASK_SEED,
                };
                plan.check()?;
                Ready::Task(task.parse()?, plan, *haystack)
            }
        })
    }

    /// Refuses what could not be measured on `text`, before anything is trained for it.
    pub fn check(&self, text: &Text) -> Result<(), Error> {
        let held_out = &text.held_out[..];
        match self {
            Ready::Perplexity(o) => o.starts(held_out).map(drop),
            Ready::States(o) => starts(held_out, o.length, o.sequences).map(drop),
            Ready::Remembrance(o) => {
                o.places()?;
                starts(held_out, o.length, o.sequences).map(drop)
            }
            Ready::Task(config, _, haystack) => {
                Ok(config.build(&material(held_out, *haystack)).map(drop)?)
            }
        }
    }

    /// Tokens that it will run.
    pub fn tokens(&self) -> usize {
        match self {
            Ready::Perplexity(o) => o.length * o.sequences,
            Ready::States(o) => o.length * o.sequences,
            Ready::Remembrance(o) => o.work(o.sequences),
            Ready::Task(_, plan, _) => {
                let cells = plan.depths.len().max(1) * plan.trials;
                plan.lengths.iter().map(|length| length * cells).sum()
            }
        }
    }

    /// What tells its result from another's.
    pub fn options(&self) -> Value {
        match self {
            Ready::Perplexity(o) => json!(o),
            Ready::States(o) => json!(o),
            Ready::Remembrance(o) => json!(o),
            Ready::Task(task, plan, haystack) => json!({
                "tasks": [task.to_string()],
                "lengths": plan.lengths,
                "depths": plan.depths,
                "trials": plan.trials,
                "seed": plan.seed,
                "batch": plan.batch,
                "segment": SEGMENT,
                "haystack": if *haystack { "held-out text" } else { "its own noise" },
            }),
        }
    }

    /// Measures `subject` with the ranks of `group`, all of which have what is found; `each` hears the tokens done.
    pub fn run(
        &self,
        subject: &Subject,
        text: &Text,
        group: &dyn Group,
        each: &mut dyn FnMut(usize),
    ) -> Result<Measurement<Checkpoint>, Error> {
        let (begun, model, held_out) = (Instant::now(), &subject.model, &text.held_out[..]);
        let (measure, result) = match self {
            Ready::Perplexity(o) => {
                let found = perplexity::by_position(model, held_out, o, None, group, each)?;
                ("perplexity".to_string(), json!(found))
            }
            Ready::States(o) => {
                let found = states::over_time(model, held_out, o, group, each)?;
                ("states".to_string(), json!(found))
            }
            Ready::Remembrance(o) => {
                let found = remembrance::remembrance(model, held_out, o, group, each)?;
                ("remembrance".to_string(), json!(found))
            }
            Ready::Task(config, plan, haystack) => {
                let material = material(held_out, *haystack);
                let task = config.build(&material)?;
                let mut reader = Reader::new(model, SEGMENT, None);
                let codec = material.codec.as_ref();
                let grid = answers(group, &mut reader, |model, pass| {
                    let mut each =
                        |_: tasks::Place, tokens| each(if pass.reads { tokens } else { 0 });
                    grid::run(task.as_ref(), plan, codec, model, &mut each)
                })?;
                let line = config.to_string();
                let name = line.split(':').next().unwrap_or_default();
                (name.to_string(), json!({ "grids": [grid] }))
            }
        };
        let seconds = begun.elapsed().as_secs_f64();
        let read = self.reads().then(|| text.name.clone());
        let options = self.options();
        let of = &subject.checkpoint;
        let found = Measurement::new(&measure, of, read, &options, &result, seconds)?;
        Ok(Measurement {
            data: self.reads().then(|| text.held_out_fingerprint()),
            ..found
        })
    }

    /// Whether it reads the held-out text.
    pub fn reads(&self) -> bool {
        !matches!(self, Ready::Task(_, _, false))
    }
}

/// What a task is made of.
fn material(held_out: &[u8], haystack: bool) -> Material {
    Material::bytes(haystack.then(|| String::from_utf8_lossy(held_out).into()))
}
