//! The mLSTM block of xLSTM as published with its 7B model (Beck et al., arXiv 2503.13427, figure 2).
//!
//! One projection gives queries, keys, values and the output's gate; another one, with a bias and a
//! soft cap, the logs of the input gate and what the forget gate's log-sigmoid is taken of. Each head's
//! output is normalised with its mean removed, then gated by a logistic function.

use super::layers::{Draw, grouped_layer_norm, parameter, parts, soft_cap};
use super::{Compiled, Linear, Passage};
use crate::Error;
use crate::op::split;
use baton_config::MlstmConfig;
use baton_data::rng::Rng;
use baton_macros::recurrence;
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::Device;
use burn::tensor::activation::sigmoid;

recurrence! {
    /// The stabilised mLSTM, as the built-in of this name says it.
    recurrence mlstm {
        dims   { K, V }
        inputs { q: [K], k: [K], v: [V], i: [], f: [] }
        state  { S: [K, V], n: [K], m: [] }

        let entering = -softplus(-f) + m;
        m = max(entering, i);
        let keep = exp(entering - m);
        S = keep * S + outer(k, exp(i - m) * v);
        n = keep * n + exp(i - m) * k;
        let query = rsqrt(K) * q;
        output o: [V] = dot(query, S) / (max(abs(dot(query, n)), exp(-m)) + 1e-6);
    }
}

/// What projections are drawn from, and what those that lead back to the residual stream are.
pub(super) fn draws(hidden: usize, layers: usize) -> [Draw; 2] {
    let small = (2.0 / (5.0 * hidden as f64)).sqrt();
    let back = 2.0 / layers.max(1) as f64 / (hidden as f64).sqrt();
    [small, back].map(Draw::Gaussian)
}

/// An mLSTM block.
#[derive(Module, Debug)]
pub struct Mlstm {
    /// `[D]` to q [H K], k [H K], v [H V], gate [H V].
    pub in_proj: Linear,
    /// `[D]` to i `[H]`, f `[H]`.
    pub gates: Linear,
    /// Over each head's values, [H V].
    pub norm: Weight,
    /// [H V] to `[D]`.
    pub out_proj: Linear,
    #[module(skip)]
    config: MlstmConfig,
    #[module(skip)]
    eps: f64,
    #[module(skip)]
    cell: Compiled<mlstm::Definition>,
}

/// A weight of a norm.
#[derive(Module, Debug)]
pub struct Weight {
    /// For each channel.
    pub weight: Param<Tensor<1>>,
}

impl Mlstm {
    /// A block for a residual stream of `hidden` in a stack of `layers`, with fresh weights.
    pub fn new(
        config: &MlstmConfig,
        [hidden, layers]: [usize; 2],
        eps: f64,
        target: &dyn baton_runtime::Device,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, Error> {
        let MlstmConfig {
            num_heads: h,
            key_dim: k,
            value_dim: v,
            ..
        } = *config;
        let (keys, values) = (h * k, h * v);
        let [small, back] = draws(hidden, layers);
        // The output's gate begins open by half whatever it reads.
        let closed = (2 * keys + values) * hidden;
        let mut at = 0..;
        let in_proj = Linear {
            weight: parameter([2 * (keys + values), hidden], device, || {
                match at.next().is_some_and(|at| at < closed) {
                    true => small.number(hidden, rng),
                    false => 0.0,
                }
            }),
            bias: None,
        };
        let mut gates = Linear::drawn([hidden, 2 * h], Draw::Gaussian(0.0), rng, device);
        let mut head = 0..;
        let spread = 3.0 / (h.max(2) - 1) as f64;
        gates.bias = Some(parameter([2 * h], device, || match head.next() {
            Some(head) if head >= h => 3.0 + spread * (head - h) as f64,
            _ => -10.0,
        }));
        Ok(Mlstm {
            in_proj,
            gates,
            norm: Weight {
                weight: parameter([values], device, || 1.0),
            },
            out_proj: Linear::drawn([values, hidden], back, rng, device),
            config: config.clone(),
            eps,
            cell: Compiled::new(target, mlstm::Sizes { K: k, V: v })?,
        })
    }

    /// [B, T, D] to [B, T, D], from states to states.
    pub fn forward(&self, x: Tensor<3>, passage: &mut Passage<'_>) -> Result<Tensor<3>, Error> {
        let MlstmConfig {
            num_heads: h,
            key_dim: k,
            value_dim: v,
            gate_soft_cap,
        } = self.config;
        let gates = soft_cap(self.gates.forward(x.clone()), gate_soft_cap);
        let [i, f] = parts(split(gates, &[&[h], &[h]])?);
        let columns: [&[usize]; 4] = [&[h, k], &[h, k], &[h, v], &[h * v]];
        let [q, key, value, gate] = parts(split(self.in_proj.forward(x), &columns)?);
        let (outputs, recurrence) = self.cell.apply_packed(
            mlstm::Inputs {
                q: q.tensor()?,
                k: key.tensor()?,
                v: value.tensor()?,
                i: i.tensor()?,
                f: f.tensor()?,
            },
            mlstm::Params::default(),
            passage.recurrence()?,
            passage.packing(),
        )?;
        passage.leave_recurrence(recurrence)?;
        let o = grouped_layer_norm(outputs.o, self.norm.weight.val(), self.eps)?;
        let y = o * sigmoid(gate.tensor::<3>()?);
        Ok(self.out_proj.forward(y))
    }
}
