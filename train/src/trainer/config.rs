//! Everything that decides what a run computes, as one value: stored with every checkpoint, and compared when a
//! run goes on.

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::config::{Difference, differences, whole};
use crate::initial_state::InitialStateConfig;
use crate::models::ModelConfig;
use crate::optimizer::AdamWConfig;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The most tokens that a step may read.
const MOST_TOKENS: f64 = (1u64 << 32) as f64;

/// Everything that decides what a run computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// The model.
    pub model: ModelConfig,
    /// Tokens in a training sequence.
    pub train_length: usize,
    /// Sequences that are run at once.
    pub batch_size: usize,
    /// Runs whose gradients are summed for one step: a step reads `parts * batch_size` sequences.
    pub parts: usize,
    /// Segments in time that each sequence is cut into, whose gradients are summed one after another; states pass from each to
    /// the next, and gradients back. The sequence's whole gradient, layer by layer as with `recompute`; several ranks
    /// may share its segments.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub segments: usize,
    /// Gradient checkpointing: layers are run again in the backward instead of being kept. The
    /// same bits in less memory and more time.
    #[serde(default)]
    pub recompute: bool,
    /// The learning rate and the number of steps.
    pub schedule: Schedule,
    /// The optimiser.
    pub optimizer: AdamWConfig,
    /// Where sequences begin.
    pub initial_state: InitialStateConfig,
    /// Of all random choices.
    pub seed: u64,
}

fn one() -> usize {
    1
}

fn is_one(count: &usize) -> bool {
    *count == 1
}

impl TrainConfig {
    /// The configuration that a checkpoint, read from `path`, was made by, and the fingerprint of its data.
    pub fn of(checkpoint: &Checkpoint, path: &Path) -> Result<(Self, Option<String>), Error> {
        #[derive(Deserialize)]
        struct Identity {
            config: TrainConfig,
            #[serde(default)]
            data: Option<String>,
        }
        let identity = serde_json::from_str::<Identity>(&checkpoint.config);
        let identity = identity
            .map_err(|e| Error::file(path, format!("its configuration cannot be read: {e}")))?;
        Ok((identity.config, identity.data))
    }

    /// All that is wrong with it, by the key of the part; a part says one thing.
    pub fn problems(&self) -> Vec<(&'static str, Error)> {
        let sizes = [self.batch_size, self.parts, self.train_length];
        let tokens = sizes.iter().map(|&size| size as f64).product::<f64>();
        let sizes = match (1.0..=MOST_TOKENS).contains(&tokens) {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "batch_size {}, parts {}, train_length {} given, expected at least 1 each and at \
                 most {MOST_TOKENS} tokens in a step",
                self.batch_size, self.parts, self.train_length
            ))),
        };
        let segments = match self.segments > 0 && self.train_length.is_multiple_of(self.segments) {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "segments {} given, expected a number that divides train_length {}",
                self.segments, self.train_length
            ))),
        };
        let initial_state = self.initial_state.build(self.model.num_hidden_layers);
        let parts = [
            ("batch_size", sizes),
            ("segments", segments),
            ("schedule", self.schedule.check()),
            ("optimizer", self.optimizer.check()),
            ("model", self.model.check()),
            ("initial_state", initial_state.map(|_| ())),
        ];
        let wrong = |(part, found): (_, Result<(), Error>)| Some((part, found.err()?));
        parts.into_iter().filter_map(wrong).collect()
    }
}

/// The first place where two configurations differ, in words; of texts the first line.
pub(super) fn difference(stored: &str, now: &str) -> Option<String> {
    fn walk(path: &str, a: &Value, b: &Value) -> Option<String> {
        if let (Some(x), Some(y)) = (a.as_object(), b.as_object()) {
            let keys = x.keys().chain(y.keys().filter(|k| !x.contains_key(*k)));
            return keys.into_iter().find_map(|key| {
                let path = format!("{path}.{key}");
                walk(path.trim_start_matches('.'), &a[key], &b[key])
            });
        }
        let lines = |text: &Value| -> Vec<String> {
            let lines = text.as_str().unwrap_or_default().lines();
            lines.map(|line| line.trim().into()).collect()
        };
        let (x, y) = (lines(a), lines(b));
        let place = (0..x.len().max(y.len())).find(|&i| x.get(i) != y.get(i));
        match place {
            Some(i) if x.len() > 1 && y.len() > 1 => {
                let [x, y] = [&x, &y].map(|lines| lines.get(i).map_or("nothing", String::as_str));
                let line = i + 1;
                Some(format!(
                    "line {line} of `{path}` was `{x}` there and is `{y}` now"
                ))
            }
            _ => (a != b).then(|| format!("`{path}` was {a} there and is {b} now")),
        }
    }
    let parsed = [stored, now].map(serde_json::from_str::<Value>);
    match parsed {
        [Ok(stored), Ok(now)] => walk("", &in_todays_form(stored), &now),
        _ => (stored != now).then(|| format!("{stored} there, {now} now")),
    }
}

/// What is another one in a changed configuration: what was and what is, by key.
pub(super) fn changed(
    stored: &TrainConfig,
    now: &TrainConfig,
) -> Option<BTreeMap<String, [Value; 2]>> {
    let all = differences(&whole(stored), &whole(now)).into_iter();
    let all: BTreeMap<_, _> = all
        .map(|Difference { path, was, is }| (path, [was, is]))
        .collect();
    (!all.is_empty()).then_some(all)
}

/// A stored configuration whose block was a kind of its own, as one of a text.
fn in_todays_form(mut stored: Value) -> Value {
    if let Some(model) = stored.pointer_mut("/config/model")
        && !["mamba2", "recurrence"]
            .iter()
            .any(|kind| model["block"]["type"] == *kind)
        && let Ok(today) = serde_json::from_value::<ModelConfig>(model.clone())
    {
        *model = serde_json::json!(today);
    }
    stored
}
