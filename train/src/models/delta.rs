//! The blocks of the gated delta rule as published: Gated DeltaNet (Yang, Kautz and Hatamizadeh, arXiv
//! 2412.06464, figure 1) and Kimi Delta Attention (Kimi Team, arXiv 2510.26692).
//!
//! One projection gives queries, keys and values, which pass a causal convolution and SiLU, and what
//! the gates are made from. Queries and keys are divided by their length. Gated DeltaNet has a decay
//! for each head and step, KDA one for each key, of low rank, as its output's gate is. The output of
//! each head is normalised, then gated.

use super::layers::{Draw, parameter, parts, softplus, softplus_inverse};
use super::{Compiled, Conv1d, Linear, Passage, RmsNorm};
use crate::Error;
use crate::op::{causal_conv_packed, l2_norm, split};
use baton_config::DeltaConfig;
use baton_data::rng::Rng;
use baton_macros::recurrence;
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::Device;
use burn::tensor::activation::{sigmoid, silu};

recurrence! {
    /// The gated delta rule, as the built-in of this name says it.
    recurrence gated_delta_net {
        dims   { K, V }
        inputs { q: [K], k: [K], v: [V], beta: [], g: [] }
        state  { S: [K, V] }

        S = exp(g) * S;
        S = S + outer(k, beta * (v - dot(k, S)));
        output o: [V] = dot(rsqrt(K) * q, S);
    }
}

recurrence! {
    /// The delta rule with a decay for each key, as the built-in of this name says it.
    recurrence kda {
        dims   { K, V }
        inputs { q: [K], k: [K], v: [V], beta: [], g: [K] }
        state  { S: [K, V] }

        S = rows(exp(g)) * S;
        S = S + outer(k, beta * (v - dot(k, S)));
        output o: [V] = dot(rsqrt(K) * q, S);
    }
}

/// Time steps are drawn from this range, evenly in their logarithm.
const TIME_STEP: [f64; 2] = [1e-3, 1e-1];

/// A block of the gated delta rule.
#[derive(Module, Debug)]
pub struct Delta {
    /// `[D]` to q, k, v, then the output's gate, beta and the decay; of KDA's gate and decay their low rank.
    pub in_proj: Linear,
    /// Over q, k and v.
    pub conv1d: Conv1d,
    /// KDA: low rank to the decay of each key.
    pub f_up: Option<Linear>,
    /// KDA: low rank to the output's gate.
    pub g_up: Option<Linear>,
    /// Log of how much a time step decays, for each head.
    pub A_log: Param<Tensor<1>>,
    /// Added to the time step before its softplus, for each head or key.
    pub dt_bias: Param<Tensor<1>>,
    /// Over each head's values.
    pub norm: RmsNorm,
    /// Values to `[D]`.
    pub out_proj: Linear,
    #[module(skip)]
    config: DeltaConfig,
    #[module(skip)]
    rule: Rule,
}

/// The recurrence.
#[derive(Clone, Debug)]
enum Rule {
    Head(Compiled<gated_delta_net::Definition>),
    Key(Compiled<kda::Definition>),
}

impl Delta {
    /// A block for a residual stream of `hidden`, with fresh weights; with `keyed` KDA.
    pub fn new(
        config: &DeltaConfig,
        keyed: bool,
        hidden: usize,
        eps: f64,
        target: &dyn baton_runtime::Device,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, Error> {
        let (keys, values, heads) = (config.keys(), config.values(), config.value_heads());
        let [k, v] = [config.head_dim, config.value_dim];
        let draw = Draw::Gaussian(config.initializer_range);
        let gates: usize = config.gates(keyed).iter().sum();
        let columns = 2 * keys + values + gates;
        let from: [f64; 2] = if keyed { [1.0, 16.0] } else { [0.0, 16.0] };
        let steps = if keyed { heads * k } else { heads };
        let [short, long] = TIME_STEP.map(f64::ln);
        let up = |to, rng: &mut Rng| keyed.then(|| Linear::drawn([v, to], draw, rng, device));
        Ok(Delta {
            in_proj: Linear::drawn([hidden, columns], draw, rng, device),
            conv1d: Conv1d::drawn([2 * keys + values, config.conv_kernel], draw, rng, device),
            f_up: up(keys, rng),
            g_up: up(values, rng).map(|up| up.with_bias(true, device)),
            A_log: parameter([heads], device, || {
                rng.between(from[0], from[1]).max(f64::MIN_POSITIVE).ln()
            }),
            dt_bias: parameter([steps], device, || {
                softplus_inverse(rng.between(short, long).exp().max(1e-4))
            }),
            norm: RmsNorm::new(v, eps, device),
            out_proj: Linear::drawn([values, hidden], draw, rng, device),
            config: config.clone(),
            rule: match keyed {
                true => Rule::Key(Compiled::new(target, kda::Sizes { K: k, V: v })?),
                false => Rule::Head(Compiled::new(
                    target,
                    gated_delta_net::Sizes { K: k, V: v },
                )?),
            },
        })
    }

    /// [B, T, D] to [B, T, D], from states to states.
    pub fn forward(&self, x: Tensor<3>, passage: &mut Passage<'_>) -> Result<Tensor<3>, Error> {
        let config = &self.config;
        let (h, heads) = (config.num_heads, config.value_heads());
        let [k, v] = [config.head_dim, config.value_dim];
        let [batch, time, _] = x.dims();
        let conved = 2 * h * k + heads * v;
        let [gate, beta, step] = config.gates(self.f_up.is_some());
        let columns = split(
            self.in_proj.forward(x),
            &[&[conved], &[gate], &[beta], &[step]],
        )?;
        let [qkv, gate, beta, step] = parts(columns);
        let (qkv, conv) = causal_conv_packed(
            qkv.tensor()?,
            self.conv1d.taps(),
            self.conv1d.bias(),
            true,
            passage.conv()?,
            passage.packing(),
        )?;
        passage.leave_conv(conv)?;
        let [q, key, value] = parts(split(qkv, &[&[h, k], &[h, k], &[heads, v]])?);
        let q = shared(l2_norm(q.tensor()?)?, heads);
        let key = shared(l2_norm(key.tensor()?)?, heads);
        let packing = passage.packing();
        let beta = sigmoid(beta.tensor::<3>()?);
        let beta = match config.allow_neg_eigval {
            true => beta * 2.0,
            false => beta,
        };
        let (value, gate, step) = (value.tensor()?, gate.tensor()?, step.tensor()?);
        let (o, recurrence) = match &self.rule {
            Rule::Head(rule) => {
                let g = softplus(step + self.dt_bias.val().reshape([1, 1, heads]));
                let g = g * -self.A_log.val().exp().reshape([1, 1, heads]);
                let inputs = gated_delta_net::Inputs {
                    q,
                    k: key,
                    v: value,
                    beta,
                    g,
                };
                let none = gated_delta_net::Params::default();
                let (outputs, states) =
                    rule.apply_packed(inputs, none, passage.recurrence()?, packing)?;
                (outputs.o, states)
            }
            Rule::Key(rule) => {
                let up = self.f_up.as_ref().expect("`new` gives KDA its projections");
                let step = up.forward(step).reshape([batch, time, h, k]);
                let step = step + self.dt_bias.val().reshape([1, 1, heads, k]);
                let g = softplus(step) * -self.A_log.val().exp().reshape([1, 1, heads, 1]);
                let inputs = kda::Inputs {
                    q,
                    k: key,
                    v: value,
                    beta,
                    g,
                };
                let none = kda::Params::default();
                let (outputs, states) =
                    rule.apply_packed(inputs, none, passage.recurrence()?, packing)?;
                (outputs.o, states)
            }
        };
        passage.leave_recurrence(recurrence)?;
        let gate = match &self.g_up {
            Some(up) => up.forward(gate),
            None => gate,
        };
        let gate = match config.sigmoid_gate {
            true => sigmoid(gate),
            false => silu(gate),
        };
        let y = self.norm.forward(o)?.reshape([batch, time, heads * v]) * gate;
        Ok(self.out_proj.forward(y))
    }
}

/// Heads of keys [B, T, G, K] as heads of values [B, T, H, K]: consecutive ones share.
fn shared(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, time, groups, k] = x.dims();
    if groups == heads {
        return x;
    }
    let each = heads / groups;
    x.reshape([batch, time, groups, 1, k])
        .expand([batch, time, groups, each, k])
        .reshape([batch, time, heads, k])
}
