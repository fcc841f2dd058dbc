//! Everything that decides what a run computes, as one value: stored with every checkpoint, and compared when a
//! run goes on.

use crate::Error;
use crate::initial_state::InitialStateConfig;
use crate::model::{HybridConfig, ModelConfig};
use crate::optimizer::AdamWConfig;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

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
        let reach = match self.model.hybrid().and_then(HybridConfig::reach) {
            Some(reach) if self.train_length < reach => Err(Error::Config(format!(
                "train_length {} given, expected at least {reach}: in shorter sequences no position attends to a chunk, and \
                 what chooses and reads chunks is not trained",
                self.train_length
            ))),
            _ => Ok(()),
        };
        let initial_state = self.initial_state.check(self.model.num_hidden_layers);
        let parts = [
            ("batch_size", sizes),
            ("segments", segments),
            ("train_length", reach),
            ("schedule", self.schedule.check()),
            ("optimizer", self.optimizer.check()),
            ("model", self.model.check()),
            ("initial_state", initial_state),
        ];
        let wrong = |(part, found): (_, Result<(), Error>)| Some((part, found.err()?));
        parts.into_iter().filter_map(wrong).collect()
    }
}
