//! A gated-linear-attention block (Yang et al., arXiv 2312.06635).
//!
//! Each key channel decays by its own data-dependent rate, the log-sigmoid of a low-rank
//! projection over 16, so that decays begin near 1; the output of each head is normalised, then
//! gated by SiLU of a projection of the input.

use super::{Compiled, GlaConfig, LayerState, Linear, RmsNorm, layers::parameter};
use crate::Error;
use crate::op::{Packing, Value, split};
use crate::rng::Rng;
use baton_macros::recurrence;
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::Device;
use burn::tensor::activation::{log_sigmoid, silu};

recurrence!(file = "../ir/recurrences/gla.rec");

/// A gated-linear-attention block.
#[derive(Module, Debug)]
pub struct Gla {
    /// [D] to q [H K], k [H K], v [H V], gate [H V].
    pub in_proj: Linear,
    /// [D] to the low rank that the decay comes from.
    pub gk_down: Linear,
    /// Low rank to [H K].
    pub gk_up: Linear,
    /// [H K].
    pub gk_bias: Param<Tensor<1>>,
    /// Over each head's values.
    pub norm: RmsNorm,
    /// [H V] to [D].
    pub out_proj: Linear,
    #[module(skip)]
    config: GlaConfig,
    #[module(skip)]
    attention: Compiled<gla::Definition>,
}

impl Gla {
    /// A block for a residual stream of `hidden`, with fresh weights.
    pub fn new(
        config: &GlaConfig,
        hidden: usize,
        eps: f64,
        target: &dyn baton_runtime::Device,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, Error> {
        let keys = config.num_heads * config.key_dim;
        let values = config.num_heads * config.value_dim;
        Ok(Gla {
            in_proj: Linear::new(hidden, 2 * (keys + values), 1.0, rng, device),
            gk_down: Linear::new(hidden, config.gate_rank, 1.0, rng, device),
            gk_up: Linear::new(config.gate_rank, keys, 1.0, rng, device),
            gk_bias: parameter([keys], device, || 0.0),
            norm: RmsNorm::new(config.value_dim, eps, device),
            out_proj: Linear::new(values, hidden, 1.0, rng, device),
            config: config.clone(),
            attention: Compiled::new(
                target,
                gla::Sizes {
                    K: config.key_dim,
                    V: config.value_dim,
                },
            )?,
        })
    }

    /// [B, T, D] and the state before it to [B, T, D] and the state after it; with `packing` one
    /// row of its sequences, each with its own state.
    pub fn forward(
        &self,
        u: Tensor<3>,
        state: Option<LayerState>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, LayerState), Error> {
        let GlaConfig {
            num_heads: h,
            key_dim: k,
            value_dim: v,
            gate_normalizer,
            ..
        } = self.config;
        let [batch, time, _] = u.dims();
        let bias = self.gk_bias.val().reshape([1, 1, h * k]);
        let decay = self.gk_up.forward(self.gk_down.forward(u.clone())) + bias;
        let decay = log_sigmoid(decay) / gate_normalizer;
        let parts = split(
            self.in_proj.forward(u),
            &[&[h, k], &[h, k], &[h, v], &[h * v]],
        )?;
        let [q, key, value, gate] =
            <[Value; 4]>::try_from(parts).expect("split gives as many parts as were asked for");
        let gate = gate.tensor::<3>()?;
        let (outputs, recurrence) = self.attention.apply_packed(
            gla::Inputs {
                q: q.tensor()?,
                k: key.tensor()?,
                v: value.tensor()?,
                g: decay.reshape([batch, time, h, k]),
            },
            gla::Params::default(),
            state.map(|s| s.recurrence),
            packing,
        )?;
        let o = self.norm.forward(outputs.o)?;
        let o = o.reshape([batch, time, h * v]) * silu(gate);
        let state = LayerState {
            recurrence,
            conv: None,
        };
        Ok((self.out_proj.forward(o), state))
    }
}
