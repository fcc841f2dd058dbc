//! The shape of a model and how its weights begin. Stored with every checkpoint, and compared.

mod delta;
mod hybrid;
mod mamba1;
mod mamba2;
mod mlstm;
mod rwkv7;

pub use delta::DeltaConfig;
pub use hybrid::{
    AttentionConfig, ChunkingConfig, HybridConfig, Landmark, LayerConfig, Per, Positions,
    RetrievalConfig, Weighing,
};
pub use mamba1::Mamba1Config;
pub use mamba2::Mamba2Config;
pub use mlstm::MlstmConfig;
pub use rwkv7::Rwkv7Config;

use super::recurrence::{BlockText, OlderBlock, RecurrenceConfig};
use crate::Error;
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

/// Which block a model stacks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BlockConfig {
    /// Mamba, the first, as published.
    Mamba1(Mamba1Config),
    /// Mamba-2, as published.
    Mamba2(Mamba2Config),
    /// Gated DeltaNet: the delta rule with a decay for each head, as published.
    GatedDeltaNet(DeltaConfig),
    /// Kimi Delta Attention: the delta rule with a decay for each key, as published.
    Kda(DeltaConfig),
    /// mLSTM, of xLSTM, as published.
    Mlstm(MlstmConfig),
    /// RWKV-7, as published.
    Rwkv7(Rwkv7Config),
    /// That of the text of a recurrence.
    Recurrence(RecurrenceConfig),
    /// Layers of different kinds.
    Hybrid(HybridConfig),
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

/// All forms of a block that files have or had.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SaidBlock {
    Mamba1(Mamba1Config),
    Mamba2(Mamba2Config),
    GatedDeltaNet(DeltaConfig),
    Kda(DeltaConfig),
    Mlstm(MlstmConfig),
    Rwkv7(Rwkv7Config),
    Recurrence(BlockText),
    Hybrid(HybridConfig<SaidBlock>),
    LinearAttention(OlderBlock),
    Retnet(OlderBlock),
    SimpleGla(OlderBlock),
    Gla(OlderBlock),
    Hgrn2(OlderBlock),
    Rwkv6(OlderBlock),
}

impl SaidBlock {
    /// With what it leaves out, for a residual stream of `hidden`.
    fn settle(self, hidden: usize) -> Result<BlockConfig, Error> {
        let text = match self {
            SaidBlock::Mamba1(block) => return Ok(BlockConfig::Mamba1(block)),
            SaidBlock::Mamba2(block) => return Ok(BlockConfig::Mamba2(block)),
            SaidBlock::GatedDeltaNet(block) => return Ok(BlockConfig::GatedDeltaNet(block)),
            SaidBlock::Kda(block) => return Ok(BlockConfig::Kda(block)),
            SaidBlock::Mlstm(block) => return Ok(BlockConfig::Mlstm(block)),
            SaidBlock::Rwkv7(block) => return Ok(BlockConfig::Rwkv7(block)),
            SaidBlock::Hybrid(block) => return Ok(BlockConfig::Hybrid(block.settle(hidden)?)),
            SaidBlock::Recurrence(block) => block,
            SaidBlock::LinearAttention(block) => block.of("linear_attention"),
            SaidBlock::Retnet(block) => block.of("retnet"),
            SaidBlock::SimpleGla(block) => block.of("simple_gla"),
            SaidBlock::Gla(block) => block.of("gla"),
            SaidBlock::Hgrn2(block) => block.of("hgrn2"),
            SaidBlock::Rwkv6(block) => block.of("rwkv6"),
        };
        Ok(BlockConfig::Recurrence(text.settle(hidden)?))
    }
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

// What a configuration does not say is as it was before it could be said, and is not written, so
// that a run of an older program is resumed.

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

fn is_no(flag: &bool) -> bool {
    !flag
}

/// Refuses a range that nothing can be drawn from.
fn ordered(name: &str, [low, high]: [f64; 2]) -> Result<(), Error> {
    match 0.0 < low && low <= high && high.is_finite() {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "{name} {low} to {high} given, expected 0 < low <= high"
        ))),
    }
}

/// Refuses a size of zero by its name.
fn not_zero(sizes: &[(&str, usize)]) -> Result<(), Error> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        None => Ok(()),
        Some((name, _)) => Err(Error::Config(format!(
            "{name} 0 given, expected at least 1"
        ))),
    }
}

/// Refuses what nothing can be kept within.
fn positive(name: &str, cap: f64) -> Result<(), Error> {
    match cap > 0.0 && cap.is_finite() {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "{name} {cap} given, expected a positive number"
        ))),
    }
}

impl BlockConfig {
    /// What the recurrence is called.
    pub fn name(&self) -> &str {
        match self {
            BlockConfig::Mamba1(_) => "mamba1",
            BlockConfig::Mamba2(_) => "mamba2",
            BlockConfig::Recurrence(block) => &block.recurrence().name,
            BlockConfig::GatedDeltaNet(_) => "gated_delta_net",
            BlockConfig::Kda(_) => "kda",
            BlockConfig::Mlstm(_) => "mlstm",
            BlockConfig::Rwkv7(_) => "rwkv7",
            BlockConfig::Hybrid(_) => "hybrid",
        }
    }

    /// Sizes of each state of a layer without the batch, for a stream of `hidden`; a hybrid's layers
    /// differ, and it says its own.
    fn states(&self, hidden: usize) -> Vec<Vec<usize>> {
        match self {
            BlockConfig::Mamba1(block) => block.states(hidden),
            BlockConfig::GatedDeltaNet(block) | BlockConfig::Kda(block) => block.states(),
            BlockConfig::Mlstm(block) => block.states(),
            BlockConfig::Rwkv7(block) => block.states(hidden),
            BlockConfig::Mamba2(block) => block.states(hidden),
            BlockConfig::Recurrence(block) => block.state_sizes(),
            BlockConfig::Hybrid(_) => Vec::new(),
        }
    }

    /// About as many weights as a layer's block has, or all layers of a hybrid.
    fn about_weights(&self, hidden: usize) -> f64 {
        match self {
            BlockConfig::Mamba1(block) => block.about_weights(hidden),
            BlockConfig::GatedDeltaNet(block) | BlockConfig::Kda(block) => {
                block.about_weights(hidden)
            }
            BlockConfig::Mlstm(block) => block.about_weights(hidden),
            BlockConfig::Rwkv7(block) => block.about_weights(hidden),
            BlockConfig::Mamba2(block) => block.about_weights(hidden),
            BlockConfig::Recurrence(block) => block.about_weights(hidden as f64),
            BlockConfig::Hybrid(block) => block.about_weights(hidden),
        }
    }

    /// Refuses sizes that do not fit together.
    fn check(&self, hidden: usize) -> Result<(), Error> {
        match self {
            BlockConfig::Mamba1(block) => block.check(hidden),
            BlockConfig::Mamba2(block) => block.check(hidden),
            BlockConfig::GatedDeltaNet(block) => block.check(false),
            BlockConfig::Kda(block) => block.check(true),
            BlockConfig::Mlstm(block) => block.check(),
            BlockConfig::Rwkv7(block) => block.check(hidden),
            // Checked where it was settled, and with the number of layers.
            BlockConfig::Recurrence(_) | BlockConfig::Hybrid(_) => Ok(()),
        }
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
        let mlp = 3.0 * hidden * self.intermediate_size.unwrap_or(0) as f64;
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
        not_zero(&[("intermediate_size", self.intermediate_size.unwrap_or(1))])?;
        match (self.hybrid(), self.intermediate_size) {
            (Some(_), Some(width)) => wrong(format!(
                "intermediate_size {width} given for a hybrid, expected `mlp` in its layers"
            )),
            (Some(hybrid), None) => hybrid.check(self.hidden_size, self.num_hidden_layers),
            (None, _) => self.block.check(self.hidden_size),
        }
    }
}
