//! The gated feed-forward that stands after the block in a layer of many published models.

use super::Linear;
use super::layers::Draw;
use baton_data::rng::Rng;
use burn::Tensor;
use burn::module::Module;
use burn::tensor::Device;
use burn::tensor::activation::silu;

/// W_down (silu(W_gate x) * W_up x).
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[D]` to `[F]`.
    pub gate_proj: Linear,
    /// `[D]` to `[F]`.
    pub up_proj: Linear,
    /// `[F]` to `[D]`.
    pub down_proj: Linear,
}

impl Mlp {
    /// Of inner width `width` for a residual stream of `hidden`; its projections drawn from
    /// `inner`, the one that leads back from `out`.
    pub(super) fn new(
        [hidden, width]: [usize; 2],
        [inner, out]: [Draw; 2],
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        Mlp {
            gate_proj: Linear::drawn([hidden, width], inner, rng, device),
            up_proj: Linear::drawn([hidden, width], inner, rng, device),
            down_proj: Linear::drawn([width, hidden], out, rng, device),
        }
    }

    /// [B, T, D] to [B, T, D].
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = silu(self.gate_proj.forward(x.clone()));
        self.down_proj.forward(gate * self.up_proj.forward(x))
    }
}
