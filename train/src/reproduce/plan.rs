//! What an experiment is: a JSON file.

use crate::Error;
use crate::eval::remembrance::Spacing;
use baton_config as config;
use baton_config::InitialStateConfig;
use baton_data::{files, plain};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// An experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Runs from fresh weights.
    pub bases: Vec<Base>,
    /// Runs from the weights of the bases.
    #[serde(default)]
    pub post_trainings: Vec<Post>,
    /// What is measured, by the name of its file.
    pub evaluations: BTreeMap<String, Evaluation>,
}

/// A model from fresh weights, once for each seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// What post-trainings call it.
    pub name: String,
    /// What it is compared within; its own name when absent.
    #[serde(default)]
    pub family: Option<String>,
    /// What it is called there.
    #[serde(default = "base")]
    pub arm: String,
    /// Where its configuration differs from the demonstration's: any part of what
    /// `baton train --config` takes.
    #[serde(default = "nothing")]
    pub config: Value,
    /// One run for each.
    pub seeds: Vec<u64>,
    /// A task to train on instead of the text.
    #[serde(default)]
    pub task: Option<String>,
    /// Whether the task hides answers in the text that is trained on instead of its own noise.
    #[serde(default)]
    pub haystack: bool,
    /// Names of its evaluations; all when absent.
    #[serde(default)]
    pub evaluate: Option<Vec<String>>,
}

/// A post-training of bases, once for each number of steps and each seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Post {
    /// What it is called.
    pub name: String,
    /// Where sequences begin; a line says it too.
    #[serde(deserialize_with = "initial_state")]
    pub initial_state: InitialStateConfig,
    /// One run for each.
    pub steps: Vec<u64>,
    /// Its peak rate over the base's.
    #[serde(default = "tenth")]
    pub rate_share: f64,
    /// Names of the bases; all when absent.
    #[serde(default)]
    pub bases: Option<Vec<String>>,
    /// One run for each on top of those of the base; added to a thousand times the base's seed.
    #[serde(default = "one")]
    pub seeds: Vec<u64>,
    /// Where its configuration differs from the base's in anything else.
    #[serde(default = "nothing")]
    pub config: Value,
    /// A task to train on instead of the text.
    #[serde(default)]
    pub task: Option<String>,
    /// Whether the task hides answers in the text that is trained on instead of its own noise.
    #[serde(default)]
    pub haystack: bool,
    /// Names of its evaluations; all when absent.
    #[serde(default)]
    pub evaluate: Option<Vec<String>>,
}

/// A number of tokens, or of training lengths: `4096`, `"4k"`, `"256x"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Length {
    /// Tokens.
    Tokens(usize),
    /// As [`baton_tasks::tokens`] reads it.
    Said(String),
}

/// One measure and its options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "measure", rename_all = "snake_case", deny_unknown_fields)]
pub enum Evaluation {
    /// Perplexity by position.
    Perplexity {
        /// Of each sequence.
        length: Length,
        /// How many.
        sequences: usize,
        /// Buckets to each doubling of the position.
        #[serde(default = "one_bucket")]
        per_octave: usize,
    },
    /// States over time.
    States {
        /// Of each sequence.
        length: Length,
        /// How many.
        sequences: usize,
        /// About as many times.
        #[serde(default = "points")]
        times: usize,
    },
    /// Effective remembrance.
    Remembrance {
        /// Of each sequence.
        length: Length,
        /// How many.
        sequences: usize,
        /// About as many cuts.
        #[serde(default = "points")]
        cuts: usize,
        /// Where.
        #[serde(default = "ends")]
        spacing: Spacing,
    },
    /// A task over lengths and depths.
    Task {
        /// Which, as `baton train --task` takes it.
        task: String,
        /// Of its trials.
        lengths: Vec<Length>,
        /// Where answers are hidden; anywhere when empty.
        #[serde(default)]
        depths: Vec<f64>,
        /// In each cell.
        trials: usize,
        /// Whether answers are hidden in the held-out text instead of the task's own noise.
        #[serde(default)]
        haystack: bool,
    },
}

impl Plan {
    /// Reads a plan; paths of texts are from its folder on.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = files::text(path)?;
        let plan = serde_json::from_str(&text);
        let mut plan: Plan =
            plan.map_err(|e| Error::file(path, format!("no plan: {}", plain::json(&e))))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let bases = plan.bases.iter_mut().map(|base| &mut base.config);
        let posts = plan.post_trainings.iter_mut().map(|post| &mut post.config);
        bases
            .chain(posts)
            .try_for_each(|said| config::in_full(said, folder))?;
        Ok(plan)
    }

    /// The evaluations of these names; of all when absent.
    pub fn named(&self, names: &Option<Vec<String>>) -> Result<Vec<(String, Evaluation)>, Error> {
        let all = || self.evaluations.keys().cloned().collect();
        let names: Vec<String> = names.clone().unwrap_or_else(all);
        let one = |name: String| match self.evaluations.get(&name) {
            Some(evaluation) => Ok((name, evaluation.clone())),
            None => Err(Error::Config(format!(
                "evaluation `{name}` given, expected one of {:?}",
                self.evaluations.keys().collect::<Vec<_>>()
            ))),
        };
        names.into_iter().map(one).collect()
    }
}

impl Length {
    /// In tokens.
    pub fn tokens(&self, train_length: usize) -> Result<usize, Error> {
        match self {
            Length::Tokens(tokens) => Ok(*tokens),
            Length::Said(text) => Ok(baton_tasks::tokens(text, Some(train_length))?),
        }
    }
}

fn initial_state<'de, D: Deserializer<'de>>(from: D) -> Result<InitialStateConfig, D::Error> {
    let said = Value::deserialize(from)?;
    InitialStateConfig::said(&said).map_err(D::Error::custom)
}

fn base() -> String {
    "base".into()
}

fn nothing() -> Value {
    Value::Object(Default::default())
}

fn tenth() -> f64 {
    0.1
}

fn one() -> Vec<u64> {
    vec![1]
}

fn one_bucket() -> usize {
    1
}

/// As `baton eval` has it.
fn points() -> usize {
    25
}

fn ends() -> Spacing {
    Spacing::Ends
}
