//! A plan unfolded: one job for each run, in the order in which they are done.

use super::plan::{Base, Evaluation, Plan, Post};
use crate::Error;
use baton_config::{self as config, Beginning, Said};
use baton_config::{Schedule, TrainConfig};
use baton_tasks::measures::{Label, RUN};
use baton_weights::checkpoint::Progress;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// What `run.json` holds, written when the training is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// Which run.
    pub label: Label,
    /// How it was trained.
    pub config: TrainConfig,
    /// The task that it was trained on; absent: the text.
    pub task: Option<String>,
    /// Whether the task hid answers in the text.
    #[serde(default)]
    pub haystack: bool,
    /// The text, in words.
    pub text: String,
    /// A fingerprint of the text; older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// How far.
    pub progress: Progress,
    /// A fingerprint of its weights; older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// That of the weights that it began from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl RunFile {
    /// Reads that of a run's folder.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(RUN);
        let text = fs::read(&path).map_err(|e| Error::file(&path, e))?;
        serde_json::from_slice(&text).map_err(|e| Error::file(&path, e))
    }
}

/// One run and its measures.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its folder below that of the experiment.
    pub folder: String,
    /// Which it is.
    pub label: Label,
    /// How it is trained.
    pub config: TrainConfig,
    /// The folder of the run whose weights it begins from.
    pub from: Option<String>,
    /// A task to train on instead of the text.
    pub task: Option<String>,
    /// Whether the task hides answers in the text.
    pub haystack: bool,
    /// What is measured, by name.
    pub evaluations: Vec<(String, Evaluation)>,
}

impl Plan {
    /// All jobs: the first seed of every base with its post-trainings, then the second.
    pub fn jobs(&self) -> Result<Vec<Job>, Error> {
        for name in self
            .post_trainings
            .iter()
            .flat_map(|p| p.bases.iter().flatten())
        {
            if !self.bases.iter().any(|base| base.name == *name) {
                return Err(Error::Config(format!(
                    "a post-training of `{name}` given, expected the name of a base"
                )));
            }
        }
        let bases = self.bases.iter().map(|base| (&base.name, &base.seeds));
        let posts = self
            .post_trainings
            .iter()
            .map(|post| (&post.name, &post.seeds));
        for (name, seeds) in bases.chain(posts) {
            if name.is_empty() || seeds.is_empty() {
                return Err(Error::Config(format!(
                    "`{name}` with {} seeds given, expected a name and a run's seed at least",
                    seeds.len()
                )));
            }
        }
        let mut jobs: Vec<Job> = Vec::new();
        let replicates = self.bases.iter().map(|base| base.seeds.len()).max();
        for replicate in 0..replicates.unwrap_or(0) {
            for (order, base) in self.bases.iter().enumerate() {
                let Some(&seed) = base.seeds.get(replicate) else {
                    continue;
                };
                let job = self.base(base, seed, order)?;
                let mut order = self.bases.len();
                let mut posts = Vec::new();
                for post in &self.post_trainings {
                    for &steps in &post.steps {
                        order += 1;
                        if post.bases.as_ref().is_none_or(|b| b.contains(&base.name)) {
                            for &post_seed in &post.seeds {
                                posts.push(self.post(
                                    post,
                                    &job,
                                    steps,
                                    [seed, post_seed],
                                    order,
                                )?);
                            }
                        }
                    }
                }
                jobs.push(job);
                jobs.extend(posts);
            }
        }
        for (i, job) in jobs.iter().enumerate() {
            if jobs[..i].iter().any(|other| other.folder == job.folder) {
                return Err(Error::Config(format!(
                    "two runs in folder `{}` given, expected other names or seeds",
                    job.folder
                )));
            }
        }
        Ok(jobs)
    }

    fn base(&self, base: &Base, seed: u64, order: usize) -> Result<Job, Error> {
        let label = Label {
            family: base.family.clone().unwrap_or_else(|| base.name.clone()),
            arm: base.arm.clone(),
            seed: seed.to_string(),
            order,
        };
        Ok(Job {
            folder: label.folder(),
            config: laid(&Beginning::Fresh, Some(seed), &base.config, &base.name)?,
            label,
            from: None,
            task: base.task.clone(),
            haystack: base.haystack,
            evaluations: self.named(&base.evaluate)?,
        })
    }

    fn post(
        &self,
        post: &Post,
        base: &Job,
        steps: u64,
        [seed, post_seed]: [u64; 2],
        order: usize,
    ) -> Result<Job, Error> {
        let config = TrainConfig {
            schedule: Schedule {
                shape: base.config.schedule.shape,
                decay: None,
                peak: base.config.schedule.peak * post.rate_share,
                warmup: steps / 10,
                steps,
                floor: base.config.schedule.floor,
            },
            initial_state: post.initial_state.clone(),
            seed: 1000 * seed + post_seed,
            ..base.config.clone()
        };
        let label = Label {
            family: base.label.family.clone(),
            arm: format!("{}, {steps} steps", post.name),
            seed: match post.seeds.len() {
                1 => seed.to_string(),
                _ => format!("{seed}.{post_seed}"),
            },
            order,
        };
        Ok(Job {
            folder: label.folder(),
            config: laid(&Beginning::Same(config), None, &post.config, &post.name)?,
            label,
            from: Some(base.folder.clone()),
            haystack: match post.task {
                Some(_) => post.haystack,
                None => base.haystack,
            },
            task: post.task.clone().or_else(|| base.task.clone()),
            evaluations: self.named(&post.evaluate)?,
        })
    }
}

/// What a plan says of `name`, laid over `beginning`.
fn laid(
    beginning: &Beginning,
    seed: Option<u64>,
    patch: &Value,
    name: &str,
) -> Result<TrainConfig, Error> {
    let by = format!("the configuration of `{name}`");
    let seed = seed.map(|seed| Said::key(&by, "seed", seed.into()));
    let parts = seed.into_iter().chain([Said::part(&by, patch.clone())]);
    let laid = config::lay(beginning, parts.collect()).map_err(Error::from);
    // What is wrong with the whole is no key's fault, and says nothing of where it was said.
    laid.map(|laid| laid.config)
        .map_err(|why| match why.to_string() {
            said if said.contains(&by) => why,
            said => Error::Config(format!("{by}: {said}")),
        })
}
