//! The RWKV-7 block as published (Peng et al., arXiv 2503.14456, section 4), in the form of
//! flash-linear-attention, with the feed-forward that belongs to it.
//!
//! Both read the step before, in shares for each channel: one more state of each. Decay, rate, gate and
//! how much of the first layer's values is mixed in come from projections of low rank. The key that is
//! removed is divided by its length, the key that is written is scaled by the rate. Each head's output
//! is normalised, the current token added by a weight of its own, then gated.

use super::layers::{Draw, grouped_layer_norm, parameter};
use super::{Compiled, Linear, Passage};
use crate::Error;
use crate::op::{Packing, l2_norm, token_shift};
use baton_config::Rwkv7Config;
use baton_data::rng::Rng;
use baton_macros::recurrence;
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::Device;
use burn::tensor::activation::{relu, sigmoid};

recurrence! {
    /// The time mixing, as the built-in of this name says it.
    recurrence rwkv7 {
        dims   { K, V }
        inputs { r: [K], w: [K], k: [K], v: [V], a: [K], b: [K] }
        state  { S: [K, V] }

        S = rows(exp(w)) * S + outer(b, dot(a, S)) + outer(k, v);
        output o: [V] = dot(r, S);
    }
}

/// An RWKV-7 block.
#[derive(Module, Debug)]
pub struct Rwkv7 {
    /// Share of the step before in what the receptance reads, [1, 1, D].
    pub x_r: Param<Tensor<3>>,
    /// The same for the decay.
    pub x_w: Param<Tensor<3>>,
    /// The same for the key.
    pub x_k: Param<Tensor<3>>,
    /// The same for the value.
    pub x_v: Param<Tensor<3>>,
    /// The same for the rate.
    pub x_a: Param<Tensor<3>>,
    /// The same for the gate.
    pub x_g: Param<Tensor<3>>,
    /// Scales the key that is removed, `[D]`.
    pub k_k: Param<Tensor<1>>,
    /// How far the rate scales the key that is written, `[D]`.
    pub k_a: Param<Tensor<1>>,
    /// Weight of the current token, [H, K].
    pub r_k: Param<Tensor<2>>,
    /// Receptance.
    pub r_proj: Linear,
    /// Key.
    pub k_proj: Linear,
    /// Value.
    pub v_proj: Linear,
    /// Decay.
    pub w_lora: LowRank,
    /// How much of the first layer's values; the first layer has none.
    pub v_lora: Option<LowRank>,
    /// Rate.
    pub a_lora: LowRank,
    /// Gate.
    pub g_lora: LowRank,
    /// Over each head's output.
    pub g_norm: Affine,
    /// Back to the stream.
    pub o_proj: Linear,
    #[module(skip)]
    config: Rwkv7Config,
    #[module(skip)]
    eps: f64,
    #[module(skip)]
    mixing: Compiled<rwkv7::Definition>,
}

/// W_up f(W_down x) + b.
#[derive(Module, Debug)]
pub struct LowRank {
    /// To the low rank.
    pub down: Linear,
    /// Back, with a bias but for the gate.
    pub up: Linear,
}

/// Weight and bias of a norm.
#[derive(Module, Debug)]
pub struct Affine {
    /// For each channel.
    pub weight: Param<Tensor<1>>,
    /// For each channel.
    pub bias: Param<Tensor<1>>,
}

/// The feed-forward of RWKV-7.
#[derive(Module, Debug)]
pub struct ChannelMix {
    /// Share of the step before, `[D]`.
    pub x_k: Param<Tensor<1>>,
    /// `[D]` to `[F]`.
    pub key: Linear,
    /// `[F]` to `[D]`.
    pub value: Linear,
}

impl LowRank {
    /// Down from zeros, up from a tenth of an orthogonal matrix, with `bias` for each channel.
    fn new(
        [hidden, rank]: [usize; 2],
        bias: Option<&dyn Fn(usize) -> f64>,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let draw = Draw::Orthogonal(0.1 * (rank as f64 / hidden as f64).sqrt().max(1.0));
        let mut up = Linear::drawn([rank, hidden], draw, rng, device);
        let mut channels = 0..;
        up.bias =
            bias.map(|bias| parameter([hidden], device, || channels.next().map_or(0.0, bias)));
        LowRank {
            down: Linear::drawn([hidden, rank], Draw::Gaussian(0.0), rng, device),
            up,
        }
    }

    fn forward(&self, x: Tensor<3>, f: impl Fn(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        self.up.forward(f(self.down.forward(x)))
    }
}

impl Rwkv7 {
    /// The block of layer `layer` of `layers` for a residual stream of `hidden`, with fresh weights.
    pub fn new(
        config: &Rwkv7Config,
        [hidden, layer, layers]: [usize; 3],
        eps: f64,
        target: &dyn baton_runtime::Device,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, Error> {
        let k = config.head_dim;
        let heads = config.num_heads(hidden);
        // From 0 to 1 over the layers, and from 1 to almost 0.
        let depth = layer as f64 / (layers.max(2) - 1) as f64;
        let left = 1.0 - layer as f64 / layers as f64;
        let place = |i: usize| i as f64 / (hidden.max(2) - 1) as f64;
        let linear = |i: usize| place(i) - 0.5;
        let zigzag = |i: usize| {
            let half = (k.max(2) - 1) as f64 / 2.0;
            let z = ((i % k) as f64 - half) / half;
            z * z.abs()
        };
        let share = |power: f64| {
            let mut channels = 0..;
            parameter([1, 1, hidden], device, || {
                let channel = channels.next().unwrap_or(0) as f64 / hidden as f64;
                1.0 - channel.powf(power * left)
            })
        };
        let mut channels = 0..hidden;
        let k_k = parameter([hidden], device, || {
            0.71 - 0.1 * channels.next().map_or(0.0, linear)
        });
        let decay = |i: usize| {
            let slow = -6.0 + 6.0 * place(i).powf(1.0 + depth.powf(0.3));
            slow + 0.5 + 2.5 * zigzag(i)
        };
        let rate = |i: usize| -0.19 + 0.3 * zigzag(i) + 0.4 * linear(i);
        let value = |i: usize| 0.73 - 0.4 * linear(i);
        let mut low = |rank, bias: Option<&dyn Fn(usize) -> f64>| {
            LowRank::new([hidden, rank], bias, rng, device)
        };
        let w_lora = low(config.decay_rank, Some(&decay));
        let v_lora = (layer > 0).then(|| low(config.value_rank, Some(&value)));
        let a_lora = low(config.rate_rank, Some(&rate));
        let g_lora = low(config.gate_rank, None);
        let mut square = |draw| Linear::drawn([hidden, hidden], draw, rng, device);
        let grown = ((layer + 1) as f64 / layers as f64).powf(0.7);
        Ok(Rwkv7 {
            x_r: share(0.2),
            x_w: share(0.9),
            x_k: share(0.7),
            x_v: share(0.7),
            x_a: share(0.9),
            x_g: share(0.2),
            k_k,
            k_a: parameter([hidden], device, || 1.02),
            r_k: parameter([heads, k], device, || -0.04),
            r_proj: square(Draw::Orthogonal(1.0)),
            k_proj: square(Draw::Orthogonal(0.1)),
            v_proj: square(Draw::Orthogonal(1.0)),
            w_lora,
            v_lora,
            a_lora,
            g_lora,
            g_norm: Affine {
                weight: parameter([hidden], device, || grown),
                bias: parameter([hidden], device, || 0.0),
            },
            o_proj: square(Draw::Gaussian(0.0)),
            config: config.clone(),
            eps,
            mixing: Compiled::new(target, rwkv7::Sizes { K: k, V: k })?,
        })
    }

    /// [B, T, D] and the state before it to [B, T, D] and the state after it, with the values of the
    /// first layer, which that layer takes no notice of and returns.
    pub fn forward(
        &self,
        x: Tensor<3>,
        first: Option<Tensor<3>>,
        passage: &mut Passage<'_>,
    ) -> Result<(Tensor<3>, Tensor<3>), Error> {
        let [batch, time, hidden] = x.dims();
        let k_ = self.config.head_dim;
        let heads = hidden / k_;
        let (earlier, last) = token_shift(x.clone(), passage.conv()?, passage.packing())?;
        passage.leave_conv(last)?;
        let difference = earlier - x.clone();
        let mixed = |share: &Param<Tensor<3>>| x.clone() + difference.clone() * share.val();
        let row = |weight: &Param<Tensor<1>>| weight.val().reshape([1, 1, hidden]);
        let by_head = |x: Tensor<3>| x.reshape([batch, time, heads, k_]);

        let r = by_head(self.r_proj.forward(mixed(&self.x_r)));
        let w = self.w_lora.forward(mixed(&self.x_w), Tensor::tanh);
        let w = sigmoid(w) * -(-0.5f64).exp();
        let key = self.k_proj.forward(mixed(&self.x_k));
        let x_v = mixed(&self.x_v);
        let v = self.v_proj.forward(x_v.clone());
        let (v, first) = match (&self.v_lora, first) {
            (Some(lora), Some(first)) => {
                let share = sigmoid(lora.forward(x_v, |x| x));
                (v.clone() + (first.clone() - v) * share, first)
            }
            _ => (v.clone(), v),
        };
        let a = sigmoid(self.a_lora.forward(mixed(&self.x_a), |x| x));
        let gate = self.g_lora.forward(mixed(&self.x_g), sigmoid);
        let removed = self.unit(by_head(key.clone() * row(&self.k_k)))?;
        let key = by_head(key * ((a.clone() - 1.0) * row(&self.k_a) + 1.0));
        let v = by_head(v);
        let (outputs, recurrence) = self.mixing.apply_packed(
            rwkv7::Inputs {
                r: r.clone(),
                w: by_head(w),
                k: key.clone(),
                v: v.clone(),
                a: -removed.clone(),
                b: removed * by_head(a),
            },
            rwkv7::Params::default(),
            passage.recurrence()?,
            passage.packing(),
        )?;
        passage.leave_recurrence(recurrence)?;
        let Affine { weight, bias } = &self.g_norm;
        let eps = k_ as f64 * self.eps;
        let o = grouped_layer_norm(outputs.o, weight.val(), eps)? + row(bias);
        let r_k = self.r_k.val().reshape([1, 1, heads, k_]);
        let current = (r * key * r_k).sum_dim(3) * v;
        let y = (o + current.reshape([batch, time, hidden])) * gate;
        Ok((self.o_proj.forward(y), first))
    }

    /// Vectors of length one.
    fn unit(&self, x: Tensor<4>) -> Result<Tensor<4>, Error> {
        if self.config.fuse_norm {
            return l2_norm(x);
        }
        let length = x.clone().powi_scalar(2).sum_dim(3).clamp_min(1e-24).sqrt();
        Ok(x / length)
    }
}

impl ChannelMix {
    /// Of inner width `width`, for layer `layer` of `layers`.
    pub fn new(
        [hidden, width]: [usize; 2],
        [layer, layers]: [usize; 2],
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let left = 1.0 - layer as f64 / layers as f64;
        let mut channels = 0..;
        ChannelMix {
            x_k: parameter([hidden], device, || {
                let channel = channels.next().unwrap_or(0) as f64 / hidden as f64;
                1.0 - channel.powf(left.powi(4))
            }),
            key: Linear::drawn([hidden, width], Draw::Orthogonal(1.0), rng, device),
            value: Linear::drawn([width, hidden], Draw::Gaussian(0.0), rng, device),
        }
    }

    /// [B, T, D] and the step before it to [B, T, D] and the last step.
    pub fn forward(
        &self,
        x: Tensor<3>,
        shift: Option<Tensor<3>>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, Tensor<3>), Error> {
        let [_, _, hidden] = x.dims();
        let (earlier, last) = token_shift(x.clone(), shift, packing)?;
        let share = self.x_k.val().reshape([1, 1, hidden]);
        let mixed = x.clone() + (earlier - x) * share;
        let inner = relu(self.key.forward(mixed));
        Ok((self.value.forward(inner.clone() * inner), last))
    }
}
