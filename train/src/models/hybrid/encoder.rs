//! What sees a chunk in both directions: a layer of attention and feed-forward with rotary positions inside the chunk.

use super::super::layers::Draw;
use super::super::{Linear, Mlp, RmsNorm};
use super::attention::turn;
use crate::Error;
use crate::op::attention::{Sight, View, attend_near};
use baton_config::ChunkingConfig;
use baton_data::rng::Rng;
use burn::Tensor;
use burn::module::Module;
use burn::tensor::Device;

/// A layer of the encoder.
#[derive(Module, Debug)]
pub struct EncoderLayer {
    /// Before the attention.
    pub norm: RmsNorm,
    /// `[D]` to queries.
    pub q_proj: Linear,
    /// `[D]` to keys.
    pub k_proj: Linear,
    /// `[D]` to values.
    pub v_proj: Linear,
    /// Back to `[D]`.
    pub o_proj: Linear,
    /// Before the feed-forward.
    pub mlp_norm: RmsNorm,
    /// The feed-forward.
    pub mlp: Mlp,
    #[module(skip)]
    heads: usize,
}

impl EncoderLayer {
    pub(super) fn new(
        config: &ChunkingConfig,
        hidden: usize,
        eps: f64,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let mut linear = || Linear::new(hidden, hidden, 1.0, rng, device);
        EncoderLayer {
            norm: RmsNorm::new(hidden, eps, device),
            q_proj: linear(),
            k_proj: linear(),
            v_proj: linear(),
            o_proj: linear(),
            mlp_norm: RmsNorm::new(hidden, eps, device),
            mlp: Mlp::new([hidden, config.mlp], [Draw::Uniform; 2], rng, device),
            heads: config.heads,
        }
    }

    /// [N, S, D] to [N, S, D], each of N by itself.
    pub fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>, Error> {
        let [count, span, width] = x.dims();
        let h = self.norm.forward(x.clone())?;
        let split = |x: Tensor<3>| x.reshape([count, span, self.heads, width / self.heads]);
        let q = turn(split(self.q_proj.forward(h.clone())), 0);
        let k = turn(split(self.k_proj.forward(h.clone())), 0);
        let v = split(self.v_proj.forward(h));
        let view = View {
            sight: Sight::All,
            there: Vec::new(),
            slopes: None,
        };
        let y = attend_near(q, k, v, view)?.reshape([count, span, width]);
        let x = x + self.o_proj.forward(y);
        let h = self.mlp_norm.forward(x.clone())?;
        Ok(x + self.mlp.forward(h))
    }
}
