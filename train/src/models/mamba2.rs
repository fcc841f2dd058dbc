//! The Mamba-2 block as published (Dao and Gu, arXiv 2405.21060, figure 6, left).
//!
//! One projection gives, in this order, the gate z, x, b, c and the time step dt; x, b and c pass
//! a causal convolution of width 4 and SiLU; the recurrence runs by heads; the gate is applied
//! before a norm that takes its mean by group; a projection leads back.

use super::layers::{parts, softplus_inverse};
use super::{Compiled, Conv1d, Linear, Passage, RmsNorm, layers::parameter};
use crate::Error;
use crate::op::{causal_conv_packed, gated_rms_norm, split};
use baton_config::Mamba2Config;
use baton_data::rng::Rng;
use baton_macros::recurrence;
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::Device;

recurrence! {
    /// State-space duality, as the built-in of this name says it.
    recurrence mamba2 {
        dims   { N, P }
        inputs { x: [P], b: [N] per group, c: [N] per group, dt: [] }
        params { a_log: [], d: [], dt_bias: [] }
        state  { S: [N, P] }

        let delta = softplus(dt + dt_bias);
        S = exp(-exp(a_log) * delta) * S + outer(b, delta * x);
        output y: [P] = dot(c, S) + d * x;
    }
}

/// A Mamba-2 block.
#[derive(Module, Debug)]
pub struct Mamba2 {
    /// `[D]` to z [H P], x [H P], b [G N], c [G N], dt `[H]`.
    pub in_proj: Linear,
    /// Over x, b and c.
    pub conv1d: Conv1d,
    /// log(-A), `[H]`.
    pub A_log: Param<Tensor<1>>,
    /// Skip connection, `[H]`.
    pub D: Param<Tensor<1>>,
    /// Added to dt before its softplus, `[H]`.
    pub dt_bias: Param<Tensor<1>>,
    /// After the gate.
    pub norm: RmsNorm,
    /// [H P] to `[D]`.
    pub out_proj: Linear,
    #[module(skip)]
    sizes: Sizes,
    #[module(skip)]
    limit: [Option<f64>; 2],
    #[module(skip)]
    ssd: Compiled<mamba2::Definition>,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    heads: usize,
    head_dim: usize,
    groups: usize,
    state: usize,
}

impl Mamba2 {
    /// A block for a residual stream of `hidden` in a stack of `layers`, with fresh weights.
    pub fn new(
        config: &Mamba2Config,
        [hidden, layers]: [usize; 2],
        eps: f64,
        target: &dyn baton_runtime::Device,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, Error> {
        let sizes = Sizes {
            heads: config.num_heads(hidden),
            head_dim: config.head_dim,
            groups: config.n_groups,
            state: config.state_size,
        };
        let inner = config.intermediate(hidden);
        let conv = inner + 2 * sizes.groups * sizes.state;
        let shrink = match config.rescale_prenorm_residual {
            true => 1.0 / (layers as f64).sqrt(),
            false => 1.0,
        };
        let [slow, fast] = config.a_init_range;
        let [short, long] = config.time_step_range.map(f64::ln);
        Ok(Mamba2 {
            in_proj: Linear::new(hidden, inner + conv + sizes.heads, 1.0, rng, device)
                .with_bias(config.use_bias, device),
            conv1d: Conv1d::new(
                [conv, config.conv_kernel],
                config.use_conv_bias,
                rng,
                device,
            ),
            A_log: parameter([sizes.heads], device, || rng.between(slow, fast).ln()),
            D: parameter([sizes.heads], device, || 1.0),
            dt_bias: parameter([sizes.heads], device, || {
                softplus_inverse(rng.between(short, long).exp().max(config.time_step_floor))
            }),
            norm: RmsNorm::new(inner, eps, device),
            out_proj: Linear::new(inner, hidden, shrink, rng, device)
                .with_bias(config.use_bias, device),
            sizes,
            limit: config.time_step_limit,
            ssd: Compiled::new(
                target,
                mamba2::Sizes {
                    N: sizes.state,
                    P: sizes.head_dim,
                },
            )?,
        })
    }

    /// [B, T, D] to [B, T, D], from states to states.
    pub fn forward(&self, u: Tensor<3>, passage: &mut Passage<'_>) -> Result<Tensor<3>, Error> {
        let Sizes {
            heads,
            head_dim,
            groups,
            state: n,
        } = self.sizes;
        let inner = heads * head_dim;
        let columns = split(
            self.in_proj.forward(u),
            &[&[inner], &[inner + 2 * groups * n], &[heads]],
        )?;
        let [z, xbc, dt] = parts(columns);
        let (xbc, conv) = causal_conv_packed(
            xbc.tensor()?,
            self.conv1d.taps(),
            self.conv1d.bias(),
            true,
            passage.conv()?,
            passage.packing(),
        )?;
        passage.leave_conv(conv)?;
        let [x, b, c] = parts(split(
            xbc,
            &[&[heads, head_dim], &[groups, n], &[groups, n]],
        )?);
        let (dt, dt_bias) = self.limited(dt.tensor()?);
        let (outputs, recurrence) = self.ssd.apply_packed(
            mamba2::Inputs {
                x: x.tensor()?,
                b: b.tensor()?,
                c: c.tensor()?,
                dt,
            },
            mamba2::Params {
                a_log: self.A_log.val(),
                d: self.D.val(),
                dt_bias,
            },
            passage.recurrence()?,
            passage.packing(),
        )?;
        passage.leave_recurrence(recurrence)?;
        let y = gated_rms_norm(
            outputs.y,
            z.tensor()?,
            self.norm.weight.val(),
            inner / groups,
            self.norm.eps(),
        )?;
        Ok(self.out_proj.forward(y))
    }

    /// dt [B, T, H] and its bias, such that the softplus of their sum keeps to the limit.
    ///
    /// Softplus grows, so a bound on its value is a bound on its argument, and the recurrence
    /// needs no second text.
    fn limited(&self, dt: Tensor<3>) -> (Tensor<3>, Tensor<1>) {
        let bias = self.dt_bias.val();
        if self.limit == [None, None] {
            return (dt, bias);
        }
        let heads = self.sizes.heads;
        let sum = dt + bias.reshape([1, 1, heads]);
        let [low, high] = self.limit.map(|bound| bound.map(softplus_inverse));
        let sum = match low {
            Some(low) if low.is_finite() => sum.clamp_min(low),
            _ => sum,
        };
        let sum = match high {
            Some(high) => sum.clamp_max(high),
            None => sum,
        };
        let device = sum.device().without_autodiff();
        (sum, Tensor::zeros([heads], &device))
    }
}
