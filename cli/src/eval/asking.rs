//! What all tasks share: lengths and trials, and one run over every cell.

use super::given::Given;
use super::reading::Reading;
use super::table::tables;
use crate::context::Context;
use crate::failure::Failure;
use crate::numbers;
use baton_data::documents;
use baton_tasks::grid::run_where_possible;
use baton_tasks::measures::Measurement;
use baton_tasks::{Loss, Material, Plan, TaskConfig, tokens};
use baton_train::eval::{Reader, Subject};
use baton_train::ranks::answers;
use baton_weights::origin::Origin;
use serde_json::json;
use std::path::PathBuf;

/// What every task is given.
#[derive(clap::Args)]
pub struct Asking {
    #[command(flatten)]
    reading: Reading,
    /// Lengths, as tokens (500), as k or m of them (64k, 1m: times 1024) or as times the training
    /// length (64x)
    #[arg(long, value_delimiter = ',', default_value = "1x,4x,16x,64x")]
    lengths: Vec<String>,
    /// Trials in a cell
    #[arg(long, default_value = "20", value_parser = numbers::count())]
    trials: usize,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A text to hide answers in; the task's own noise when absent
    #[arg(long)]
    haystack: Option<PathBuf>,
}

/// A checkpoint that is asked.
pub struct Asked {
    given: Given,
    subject: Subject,
    material: Material,
}

impl Asked {
    /// Tokens in the model's vocabulary.
    pub fn vocabulary(&self) -> usize {
        Reader::vocabulary(&self.subject.model)
    }

    /// Whether the model reads text.
    pub fn reads_text(&self) -> bool {
        self.vocabulary() >= self.material.codec.vocabulary()
    }

    /// The task that the run was trained on, as questions ask it, where it is one of `names`.
    pub fn own_task(&self, names: &[&str]) -> Result<Option<TaskConfig>, Failure> {
        let known = self.subject.data.as_ref();
        let Some(Origin::Task { task, .. }) = known.and_then(|known| known.origin.as_ref()) else {
            return Ok(None);
        };
        let own: TaskConfig = task.parse()?;
        Ok(names.contains(&own.name()).then_some(TaskConfig {
            loss: Loss::Answer,
            ..own
        }))
    }
}

impl Asking {
    /// Opens the checkpoint and reads the haystack.
    pub fn open(&self, context: &Context) -> Result<Asked, Failure> {
        let mut given = self.reading.given();
        given.read.extend(self.haystack.clone());
        let text = match &self.haystack {
            None => None,
            Some(path) => {
                let all = documents(path, None)?.into_iter();
                let all = all.map(|document| document.bytes).collect::<Vec<_>>();
                Some(String::from_utf8_lossy(&all.concat()).into())
            }
        };
        let subject = given.subject(context)?;
        Ok(Asked {
            material: Material::new(subject.tokenizer.clone(), text),
            subject,
            given,
        })
    }

    /// Runs `tasks` at `depths` and writes what `measure` found.
    pub fn run(
        &self,
        context: &Context,
        measure: &str,
        asked: Asked,
        tasks: &[TaskConfig],
        depths: &[f64],
    ) -> Result<(), Failure> {
        let Asked {
            given,
            subject,
            material,
        } = asked;
        let plan = Plan {
            lengths: lengths(&self.lengths, subject.checkpoint.train_length)?,
            depths: depths.to_vec(),
            trials: self.trials,
            batch: self.reading.batch,
            seed: self.seed,
        };
        plan.check()?;
        let group = context.ranks()?;
        let mut samples = self.reading.samples(context, &given)?;
        let built = tasks.iter().map(|task| task.build(&material));
        let built = built.collect::<Result<Vec<_>, _>>()?;
        let mut reader = Reader::new(&subject.model, self.reading.segment, None);
        let work = built.iter().map(|task| plan.tokens(task.as_ref()));
        let work = work.fold(0, usize::saturating_add);
        let bar = given.bar(context, measure, work)?;
        let mut grids = Vec::new();
        for task in &built {
            let codec = material.codec.as_ref();
            grids.push(answers(&*group, &mut reader, |model, pass| {
                run_where_possible(
                    task.as_ref(),
                    &plan,
                    codec,
                    model,
                    &mut |_, tokens| bar.inc(if pass.reads { tokens as u64 } else { 0 }),
                    &mut |sample| {
                        if pass.counts {
                            samples.trial(&sample, codec);
                        }
                    },
                )
            })?);
        }
        bar.finish_and_clear();
        let mut cells = grids.iter().flat_map(|grid| &grid.cells);
        if cells.all(|cell| cell.refused.is_some()) {
            let first = grids.iter().flat_map(|grid| &grid.cells);
            let why = first.filter_map(|cell| cell.refused.clone()).next();
            return Err(Failure::new(why.unwrap_or_default()));
        }
        samples.write()?;
        let haystack = self.haystack.as_ref().and_then(|path| path.file_name());
        let options = json!({
            "tasks": tasks.iter().map(TaskConfig::to_string).collect::<Vec<_>>(),
            "lengths": plan.lengths,
            "depths": plan.depths,
            "trials": plan.trials,
            "seed": plan.seed,
            "batch": plan.batch,
            "segment": self.reading.segment,
        });
        let measurement = Measurement::new(
            measure,
            &subject.checkpoint,
            haystack.map(|name| name.to_string_lossy().into_owned()),
            &options,
            &json!({ "grids": grids }),
            context.started.elapsed().as_secs_f64(),
        )?;
        let asked = tasks.iter().map(|task| format!("{task:#}"));
        let asked = asked.collect::<Vec<_>>().join(", ");
        let shown = format!("asked: {asked}\n{}", tables(&grids));
        given.finish(context, measurement, shown)
    }
}

/// Lengths as they are given.
pub fn lengths(given: &[String], train_length: Option<usize>) -> Result<Vec<usize>, Failure> {
    let one = |text: &String| {
        let found = tokens(text, train_length);
        found.map_err(|why| Failure::new(format!("--lengths: {why}")))
    };
    given.iter().map(one).collect()
}

/// The task of `line`, which must be of one of `names`.
pub fn one_of(line: &str, names: &[&str]) -> Result<TaskConfig, Failure> {
    let name = line.split(':').next().unwrap_or_default();
    match names.contains(&name) {
        true => Ok(line.parse()?),
        false => Err(Failure::new(format!(
            "task `{name}` given, expected {}",
            names.join(" or ")
        ))),
    }
}
