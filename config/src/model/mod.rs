//! The shape of a model and how its weights begin. Stored with every checkpoint, and compared.

mod block;
mod checks;
mod delta;
mod hybrid;
mod mamba1;
mod mamba2;
mod mlstm;
mod rwkv7;

pub use block::{BlockConfig, HybridConfig, LayerConfig};
pub use delta::DeltaConfig;
pub use hybrid::{
    AttentionConfig, ChunkingConfig, Landmark, Per, Positions, RetrievalConfig, Weighing,
};
pub use mamba1::Mamba1Config;
pub use mamba2::Mamba2Config;
pub use mlstm::MlstmConfig;
pub use rwkv7::Rwkv7Config;

use crate::Error;
use block::SaidBlock;
use checks::{is_yes, not_zero, positive, yes};
use serde::{Deserialize, Serialize};

/// The most weights that a model may have: 17 GB of them in f32.
const MOST_WEIGHTS: f64 = (1u64 << 32) as f64;

/// A language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Said")]
pub struct ModelConfig {
    /// Tokens in the vocabulary; 256 for bytes.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Epsilon of every norm.
    pub layer_norm_epsilon: f64,
    /// Whether the logits use the embedding's weights.
    #[serde(skip_serializing_if = "is_yes")]
    pub tie_word_embeddings: bool,
    /// Inner width of the feed-forward after each block, which is gated by SiLU but for RWKV-7, whose own
    /// reads the step before; absent is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<usize>,
    /// What logits are kept within, as c tanh(x / c); absent is without a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_logit_soft_cap: Option<f64>,
    /// Which block, and its shape.
    pub block: BlockConfig,
}

/// A model as a file says it: the block may leave out what follows from the rest.
#[derive(Deserialize)]
struct Said {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    layer_norm_epsilon: f64,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default)]
    intermediate_size: Option<usize>,
    #[serde(default)]
    output_logit_soft_cap: Option<f64>,
    block: SaidBlock,
}

impl TryFrom<Said> for ModelConfig {
    type Error = Error;

    fn try_from(said: Said) -> Result<Self, Error> {
        Ok(ModelConfig {
            vocab_size: said.vocab_size,
            hidden_size: said.hidden_size,
            num_hidden_layers: said.num_hidden_layers,
            layer_norm_epsilon: said.layer_norm_epsilon,
            tie_word_embeddings: said.tie_word_embeddings,
            intermediate_size: said.intermediate_size,
            output_logit_soft_cap: said.output_logit_soft_cap,
            block: said.block.settle(said.hidden_size)?,
        })
    }
}

impl ModelConfig {
    /// Sizes of every recurrence state without the batch, `[layer][state]`.
    pub fn state_sizes(&self) -> Vec<Vec<Vec<usize>>> {
        match &self.block {
            BlockConfig::Hybrid(block) => block.states(self.hidden_size),
            block => vec![block.states(self.hidden_size); self.num_hidden_layers],
        }
    }

    /// The layers of a hybrid.
    pub fn hybrid(&self) -> Option<&HybridConfig> {
        match &self.block {
            BlockConfig::Hybrid(block) => Some(block),
            _ => None,
        }
    }

    /// About as many weights as the model has, without biases and norms: to refuse a size before
    /// memory is asked for.
    pub fn about_weights(&self) -> f64 {
        let [vocab, hidden, layers] =
            [self.vocab_size, self.hidden_size, self.num_hidden_layers].map(|n| n as f64);
        let block = self.block.about_weights(self.hidden_size);
        // RWKV-7's has no gate.
        let matrices = match self.block {
            BlockConfig::Rwkv7(_) => 2.0,
            _ => 3.0,
        };
        let mlp = matrices * hidden * self.intermediate_size.unwrap_or(0) as f64;
        let heads = if self.tie_word_embeddings { 1.0 } else { 2.0 };
        let layers = match self.hybrid() {
            Some(_) => block,
            None => layers * (block + mlp),
        };
        heads * vocab * hidden + layers
    }

    /// Refuses sizes that do not fit together, or that no memory has.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        let weights = self.about_weights();
        if weights > MOST_WEIGHTS {
            return wrong(format!(
                "a model of about {weights:.1e} weights given, expected at most {MOST_WEIGHTS:.1e}"
            ));
        }
        let eps = self.layer_norm_epsilon;
        if !(0.0..1.0).contains(&eps) {
            return wrong(format!(
                "layer_norm_epsilon {eps} given, expected at least 0 and less than 1"
            ));
        }
        if self.vocab_size == 0 || self.hidden_size == 0 {
            return wrong("vocab_size and hidden_size given as 0, expected at least 1".into());
        }
        if let Some(cap) = self.output_logit_soft_cap {
            positive("output_logit_soft_cap", cap)?;
        }
        not_zero(&[
            ("num_hidden_layers", self.num_hidden_layers),
            ("intermediate_size", self.intermediate_size.unwrap_or(1)),
        ])?;
        match (self.hybrid(), self.intermediate_size) {
            (Some(_), Some(width)) => wrong(format!(
                "intermediate_size {width} given for a hybrid, expected `mlp` in its layers"
            )),
            (Some(hybrid), None) => hybrid.check(self.hidden_size, self.num_hidden_layers),
            (None, _) => self.block.check(self.hidden_size),
        }
    }
}
