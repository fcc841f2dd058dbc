//! Which block a model stacks, in full and as files say it.

use super::delta::DeltaConfig;
use super::hybrid::{self, Hybrid, Layer};
use super::mamba1::Mamba1Config;
use super::mamba2::Mamba2Config;
use super::mlstm::MlstmConfig;
use super::rwkv7::Rwkv7Config;
use crate::Error;
use crate::recurrence::{BlockText, OlderBlock, RecurrenceConfig};
use serde::{Deserialize, Serialize};

/// Layers of different kinds, their blocks in full.
pub type HybridConfig = Hybrid<BlockConfig>;
/// One of them.
pub type LayerConfig = Layer<BlockConfig>;

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

/// All forms of a block that files have or had.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum SaidBlock {
    Mamba1(Mamba1Config),
    Mamba2(Mamba2Config),
    GatedDeltaNet(DeltaConfig),
    Kda(DeltaConfig),
    Mlstm(MlstmConfig),
    Rwkv7(Rwkv7Config),
    Recurrence(BlockText),
    Hybrid(Hybrid<SaidBlock>),
    LinearAttention(OlderBlock),
    Retnet(OlderBlock),
    SimpleGla(OlderBlock),
    Gla(OlderBlock),
    Hgrn2(OlderBlock),
    Rwkv6(OlderBlock),
}

impl SaidBlock {
    /// With what it leaves out, for a residual stream of `hidden`.
    pub fn settle(self, hidden: usize) -> Result<BlockConfig, Error> {
        let text = match self {
            SaidBlock::Mamba1(block) => return Ok(BlockConfig::Mamba1(block)),
            SaidBlock::Mamba2(block) => return Ok(BlockConfig::Mamba2(block)),
            SaidBlock::GatedDeltaNet(block) => return Ok(BlockConfig::GatedDeltaNet(block)),
            SaidBlock::Kda(block) => return Ok(BlockConfig::Kda(block)),
            SaidBlock::Mlstm(block) => return Ok(BlockConfig::Mlstm(block)),
            SaidBlock::Rwkv7(block) => return Ok(BlockConfig::Rwkv7(block)),
            SaidBlock::Hybrid(block) => {
                let settled = block.each(|block| block.settle(hidden))?;
                return Ok(BlockConfig::Hybrid(settled));
            }
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
    pub(super) fn states(&self, hidden: usize) -> Vec<Vec<usize>> {
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
    pub(super) fn about_weights(&self, hidden: usize) -> f64 {
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
    pub(super) fn check(&self, hidden: usize) -> Result<(), Error> {
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

impl hybrid::Block for BlockConfig {
    fn name(&self) -> &str {
        BlockConfig::name(self)
    }

    fn states(&self, hidden: usize) -> Vec<Vec<usize>> {
        BlockConfig::states(self, hidden)
    }

    fn about_weights(&self, hidden: usize) -> f64 {
        BlockConfig::about_weights(self, hidden)
    }

    fn check(&self, hidden: usize) -> Result<(), Error> {
        BlockConfig::check(self, hidden)
    }

    fn stands_alone(&self) -> bool {
        !matches!(self, BlockConfig::Rwkv7(_) | BlockConfig::Hybrid(_))
    }
}
