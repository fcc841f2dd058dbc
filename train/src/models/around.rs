//! What the weights around the blocks are drawn from, as the blocks' authors publish it.

use super::layers::{Draw, LayerNorm, Norm, RmsNorm};
use super::mlstm;
use baton_config::{BlockConfig, ModelConfig};
use burn::tensor::Device;

/// Draws of the weights that are not a block's.
pub(super) struct Around {
    /// The embedding.
    pub embedding: Draw,
    /// What leads into the feed-forward.
    pub inner: Draw,
    /// What leads back from it.
    pub back: Draw,
    /// The head, where it is not the embedding.
    pub head: Draw,
    /// Whether norms of the stream have a bias; absent is a norm by the root mean square.
    pub centred: Option<bool>,
}

impl Around {
    pub fn of(config: &ModelConfig) -> Self {
        let all = |embedding, draw| Around {
            embedding,
            inner: draw,
            back: draw,
            head: draw,
            centred: None,
        };
        let (vocab, hidden) = (config.vocab_size as f64, config.hidden_size as f64);
        match &config.block {
            BlockConfig::GatedDeltaNet(block) | BlockConfig::Kda(block) => {
                let draw = Draw::Gaussian(block.initializer_range);
                all(draw, draw)
            }
            BlockConfig::Mlstm(_) => {
                let layers = config.num_hidden_layers;
                let [small, back] = mlstm::draws(config.hidden_size, layers);
                Around {
                    back,
                    ..all(small, small)
                }
            }
            BlockConfig::Rwkv7(block) => Around {
                head: Draw::Orthogonal(0.5 * (vocab / hidden).sqrt().max(1.0)),
                centred: Some(block.norm_bias),
                ..all(Draw::Within(1e-4), Draw::Uniform)
            },
            _ => all(Draw::Gaussian(0.02), Draw::Uniform),
        }
    }

    /// A norm of the stream.
    pub fn norm(&self, width: usize, eps: f64, device: &Device) -> Norm {
        match self.centred {
            None => Norm::Rms(RmsNorm::new(width, eps, device)),
            Some(biased) => Norm::Layer(LayerNorm::new(width, eps, biased, device)),
        }
    }
}
