//! Attention with a causal window, whose keys and values are carried like states.
//!
//! The states are keys and values [B, Hk, W, d] of the last W positions, before any turning, and for each a
//! mark [B, 1, W] whether it is there: a position is where its mark is above one half, so that states of
//! zero, and noise, mean something. Distances are all that slopes and turns know, so the window needs no
//! place in the text.

use super::super::{LayerState, Linear};
use crate::Error;
use crate::op::Value;
use crate::op::attention::{Sight, View, attend_near};
use baton_config::{AttentionConfig, Positions};
use baton_data::rng::Rng;
use burn::Tensor;
use burn::module::Module;
use burn::tensor::{Device, TensorData};
use std::sync::Arc;

/// Attention with a window.
#[derive(Module, Debug)]
pub struct WindowAttention {
    /// `[D]` to queries [Hq d].
    pub q_proj: Linear,
    /// `[D]` to keys [Hk d].
    pub k_proj: Linear,
    /// `[D]` to values [Hk d].
    pub v_proj: Linear,
    /// [Hq d] to `[D]`.
    pub o_proj: Linear,
    #[module(skip)]
    config: AttentionConfig,
}

/// ALiBi's slopes.
fn slopes(heads: usize) -> Arc<[f32]> {
    let slope = |i: usize| (-8.0 * (i + 1) as f64 / heads as f64).exp2() as f32;
    (0..heads).map(slope).collect()
}

/// Turns pairs of x [B, T, H, d], the first half with the second, by the place from `first` on over 10000^(2 i / d).
pub(super) fn turn(x: Tensor<4>, first: usize) -> Tensor<4> {
    let [batch, time, heads, width] = x.dims();
    let half = width / 2;
    let angle =
        |t: usize, i: usize| (first + t) as f64 * 1e4f64.powf(-2.0 * i as f64 / width as f64);
    let device = x.device().without_autodiff();
    let table = |of: fn(f64) -> f64| -> Tensor<4> {
        let all = (0..time).flat_map(|t| (0..half).map(move |i| of(angle(t, i)) as f32));
        let data = TensorData::new(all.collect::<Vec<f32>>(), [1, time, 1, half]);
        Tensor::from_data(data, &device)
    };
    let (cosine, sine) = (table(f64::cos), table(f64::sin));
    let part = |from, to| x.clone().slice([0..batch, 0..time, 0..heads, from..to]);
    let (a, b) = (part(0, half), part(half, width));
    let first = a.clone() * cosine.clone() - b.clone() * sine.clone();
    Tensor::cat(vec![first, b * cosine + a * sine], 3)
}

impl WindowAttention {
    /// For a stream of `hidden`, with fresh weights.
    pub(super) fn new(
        config: &AttentionConfig,
        hidden: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let keys = hidden / config.heads * config.kv_heads;
        let mut linear = |from, to| Linear::new(from, to, 1.0, rng, device);
        WindowAttention {
            q_proj: linear(hidden, hidden),
            k_proj: linear(hidden, keys),
            v_proj: linear(hidden, keys),
            o_proj: linear(hidden, hidden),
            config: config.clone(),
        }
    }

    /// [B, T, D] and the window before it to [B, T, D] and the window after it.
    pub fn forward(
        &self,
        x: Tensor<3>,
        state: Option<LayerState>,
    ) -> Result<(Tensor<3>, LayerState), Error> {
        let AttentionConfig {
            heads,
            kv_heads,
            window,
            positions,
        } = self.config;
        let [batch, time, width] = x.dims();
        let each = width / heads;
        let split = |x: Tensor<3>, heads| x.reshape([batch, time, heads, each]);
        let mut q = split(self.q_proj.forward(x.clone()), heads);
        let mut k = split(self.k_proj.forward(x.clone()), kv_heads);
        let mut v = split(self.v_proj.forward(x), kv_heads);
        let mut marks = Vec::new();
        let mut before = 0;
        if let Some(state) = state {
            let [keys, values, there] = <[Value; 3]>::try_from(state.recurrence).map_err(|given| {
                Error::Tensor(format!(
                    "{} states given to attention with a window, expected keys, values and marks",
                    given.len()
                ))
            })?;
            marks = there.to_host().data;
            if marks.iter().any(|mark| *mark > 0.5) {
                before = window;
                let first = |x: Value| Ok::<_, Error>(x.tensor::<4>()?.swap_dims(1, 2));
                k = Tensor::cat(vec![first(keys)?, k], 1);
                v = Tensor::cat(vec![first(values)?, v], 1);
            }
        }
        let carried = self.carried(&k, &v, &marks, before)?;
        if positions == Positions::Rotary {
            q = turn(q, before);
            k = turn(k, 0);
        }
        let view = View {
            sight: Sight::Left(window),
            there: marks[..batch * before]
                .iter()
                .map(|mark| *mark > 0.5)
                .collect(),
            slopes: (positions == Positions::Alibi).then(|| slopes(heads)),
        };
        let y = attend_near(q, k, v, view)?;
        Ok((
            self.o_proj.forward(y.reshape([batch, time, width])),
            carried,
        ))
    }

    /// The last W of keys and values [B, U + T, Hk, d], zeros where there are fewer.
    fn carried(
        &self,
        k: &Tensor<4>,
        v: &Tensor<4>,
        marks: &[f32],
        before: usize,
    ) -> Result<LayerState, Error> {
        let window = self.config.window;
        let [batch, places, heads, each] = k.dims();
        let (kept, device) = (places.min(window), k.device());
        let last = |x: &Tensor<4>| {
            let x = x
                .clone()
                .slice([0..batch, places - kept..places, 0..heads, 0..each]);
            let x = match kept < window {
                true => {
                    let none = Tensor::zeros([batch, window - kept, heads, each], &device);
                    Tensor::cat(vec![none, x], 1)
                }
                false => x,
            };
            Value::new(x.swap_dims(1, 2))
        };
        let mut there = Vec::with_capacity(batch * window);
        for b in 0..batch {
            let own = marks.get(b * before..(b + 1) * before).unwrap_or(&[]);
            let all = own
                .iter()
                .copied()
                .chain(std::iter::repeat_n(1.0, places - before));
            let all: Vec<f32> = all.collect();
            there.extend(std::iter::repeat_n(0.0, window - kept));
            there.extend(&all[places - kept..]);
        }
        let there = baton_runtime::Tensor {
            shape: vec![batch, 1, window],
            data: there,
        };
        Ok(LayerState {
            recurrence: vec![
                last(k)?,
                last(v)?,
                Value::from_host(there).on(&device.without_autodiff()),
            ],
            conv: None,
            memory: None,
        })
    }
}
