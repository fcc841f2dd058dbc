//! One block for the linear-attention family (Yang et al., arXiv 2312.06635, for its shape).
//!
//! The built-in recurrence that the block is made for says what it needs, by the names of its
//! ports, and that is all in which the members differ:
//!
//! - `q` or `r`, `k` and `v` or `i` come from one projection, with a gate; one without `k`
//!   (HGRN2) has no key columns;
//! - `g`, a log decay: the log-sigmoid of a projection, over 16 so that decays begin near 1; of low
//!   rank where each key decays by itself, direct where a head does;
//! - `w`, the log decay of RWKV-6: -exp of the low-rank projection, its bias from -6 to -1 over a
//!   head's keys;
//! - `log_decay`, fixed for each head as in RetNet: ln(1 - 2^(-5 - h));
//! - `u`, RWKV-6's weight of the current token, trained.
//!
//! The output of each head is normalised, then gated by SiLU. Positions are not rotated into
//! queries and keys (RetNet) and tokens not mixed with the one before (RWKV-6): either would be one
//! more state to carry, and neither is part of the recurrence.

use super::{LayerState, Linear, LinearAttentionConfig, RmsNorm, layers::parameter};
use crate::Error;
use crate::op::{Given, Packing, Value, apply_values, split};
use crate::rng::Rng;
use baton_ir::recurrence::{Port, Recurrence};
use baton_runtime::{Kernel, Options};
use burn::Tensor;
use burn::module::{Module, Param};
use burn::tensor::Device;
use burn::tensor::activation::{log_sigmoid, silu};
use std::fmt;
use std::sync::Arc;

/// A block of the family.
#[derive(Module, Debug)]
pub struct LinearAttention {
    /// [D] to q [H K], k [H K] if there is one, v [H V], gate [H V].
    pub in_proj: Linear,
    /// [D] to the low rank that the decay of each key comes from.
    pub gk_down: Option<Linear>,
    /// Low rank to [H K], or [D] to [H].
    pub gk_up: Option<Linear>,
    /// [H K] or [H].
    pub gk_bias: Option<Param<Tensor<1>>>,
    /// The weight of the current token, [H, K].
    pub u: Option<Param<Tensor<2>>>,
    /// Over each head's values.
    pub norm: RmsNorm,
    /// [H V] to [D].
    pub out_proj: Linear,
    #[module(skip)]
    config: LinearAttentionConfig,
    #[module(skip)]
    attention: Attention,
}

/// The recurrence and its kernel.
#[derive(Clone)]
struct Attention {
    recurrence: Arc<Recurrence>,
    kernel: Arc<dyn Kernel>,
}

impl fmt::Debug for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attention({})", self.recurrence.name)
    }
}

impl Attention {
    /// The built-in recurrence `name` on `target`; one with a port that the block cannot fill is
    /// refused.
    fn new(
        name: &str,
        sizes: [usize; 2],
        target: &dyn baton_runtime::Device,
    ) -> Result<Self, Error> {
        let unfit = |what: &str| {
            Error::Config(format!(
                "recurrence `{name}` given, expected one of the linear-attention family: {what}"
            ))
        };
        let text = baton_ir::builtin::text(name).ok_or_else(|| unfit("it is not built in"))?;
        let recurrence = baton_ir::text::parse(text).map_err(|_| unfit("it does not parse"))?;
        let known = |ports: &[Port], names: &[&str]| {
            let mut ports = ports.iter();
            match ports.find(|port| !names.contains(&port.name.as_str())) {
                Some(port) => Err(unfit(&format!("nothing is known of `{}`", port.name))),
                None => Ok(()),
            }
        };
        known(&recurrence.inputs, &["q", "r", "k", "v", "i", "g", "w"])?;
        known(&recurrence.params, &["log_decay", "u"])?;
        Ok(Attention {
            kernel: target.load(&recurrence, &sizes, &Options::default())?,
            recurrence: Arc::new(recurrence),
        })
    }

    fn input(&self, name: &str) -> Option<&Port> {
        self.recurrence.inputs.iter().find(|port| port.name == name)
    }

    /// The port of a log decay that comes from the data.
    fn decay(&self) -> Option<&Port> {
        self.input("g").or_else(|| self.input("w"))
    }

    fn has_param(&self, name: &str) -> bool {
        self.recurrence.params.iter().any(|port| port.name == name)
    }
}

impl LinearAttention {
    /// A block of the built-in recurrence `name` for a residual stream of `hidden`, with fresh
    /// weights.
    pub fn new(
        name: &str,
        config: &LinearAttentionConfig,
        hidden: usize,
        eps: f64,
        target: &dyn baton_runtime::Device,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self, Error> {
        let LinearAttentionConfig {
            num_heads,
            key_dim,
            value_dim,
            gate_rank,
            ..
        } = *config;
        let attention = Attention::new(name, [key_dim, value_dim], target)?;
        let (keys, values) = (num_heads * key_dim, num_heads * value_dim);
        let key_columns = attention.input("k").map_or(0, |_| keys);
        let columns = keys + key_columns + 2 * values;
        let in_proj = Linear::new(hidden, columns, 1.0, rng, device);
        let (mut gk_down, mut gk_up, mut gk_bias) = (None, None, None);
        if let Some(port) = attention.decay() {
            let (mut from, mut to) = (hidden, num_heads);
            if !port.shape.is_empty() {
                (from, to) = (gate_rank, keys);
                gk_down = Some(Linear::new(hidden, from, 1.0, rng, device));
            }
            gk_up = Some(Linear::new(from, to, 1.0, rng, device));
            let spread = 5.0 / (key_dim.max(2) - 1) as f64;
            let mut channels = 0..to;
            gk_bias = Some(parameter([to], device, || {
                let key = channels.next().map_or(0, |channel| channel % key_dim);
                match port.name.as_str() {
                    "w" => key as f64 * spread - 6.0,
                    _ => 0.0,
                }
            }));
        }
        let bonus = attention.has_param("u");
        Ok(LinearAttention {
            in_proj,
            gk_down,
            gk_up,
            gk_bias,
            u: bonus.then(|| parameter([num_heads, key_dim], device, || 0.5)),
            norm: RmsNorm::new(value_dim, eps, device),
            out_proj: Linear::new(values, hidden, 1.0, rng, device),
            config: config.clone(),
            attention,
        })
    }

    /// [B, T, D] and the state before it to [B, T, D] and the state after it; with `packing` one
    /// row of its sequences, each with its own state.
    pub fn forward(
        &self,
        x: Tensor<3>,
        state: Option<LayerState>,
        packing: Option<&Packing>,
    ) -> Result<(Tensor<3>, LayerState), Error> {
        let LinearAttentionConfig {
            num_heads: h,
            key_dim: k,
            value_dim: v,
            ..
        } = self.config;
        let [batch, time, _] = x.dims();
        let (device, decay) = (x.device(), self.decay(x.clone())?);
        let (key, value, gate): ([_; 2], [_; 2], _) = ([h, k], [h, v], [h * v]);
        let mut columns: Vec<&[usize]> = vec![&key, &key, &value, &gate];
        let keyed = self.attention.input("k").is_some();
        if !keyed {
            columns.remove(1);
        }
        let mut parts = split(self.in_proj.forward(x), &columns)?.into_iter();
        let query = parts.next();
        let key = if keyed { parts.next() } else { None };
        let (value, gate) = (parts.next(), parts.next());
        let Recurrence {
            inputs,
            params,
            states,
            ..
        } = &*self.attention.recurrence;
        let inputs = inputs.iter().map(|port| match port.name.as_str() {
            "q" | "r" => query.clone(),
            "k" => key.clone(),
            "v" | "i" => value.clone(),
            _ => decay.clone(),
        });
        let bonus = self.u.as_ref().map(|u| Value::new(u.val())).transpose()?;
        let params = params.iter().map(|port| match port.name.as_str() {
            "u" => bonus.clone(),
            _ => Some(fixed_decay(h).on(&device)),
        });
        let whole = "a block has a value for every port that `new` found known";
        let given = Given {
            inputs: inputs.collect::<Option<_>>().expect(whole),
            params: params.collect::<Option<_>>().expect(whole),
            states: state.map(|state| state.recurrence),
            cu_seqlens: packing.map(Packing::offsets),
        };
        let mut run = apply_values(&self.attention.kernel, states.len(), given)?;
        let o: Tensor<4> = run.outputs.swap_remove(0).tensor()?;
        let o = self.norm.forward(o)?.reshape([batch, time, h * v]);
        let o = o * silu(gate.expect(whole).tensor::<3>()?);
        let state = LayerState {
            recurrence: run.states,
            conv: None,
        };
        Ok((self.out_proj.forward(o), state))
    }

    /// The log decay of [B, T, D]: [B, T, H] or [B, T, H, K], if it comes from the data.
    fn decay(&self, x: Tensor<3>) -> Result<Option<Value>, Error> {
        let (Some(port), Some(up), Some(bias)) =
            (self.attention.decay(), &self.gk_up, &self.gk_bias)
        else {
            return Ok(None);
        };
        let [batch, time, _] = x.dims();
        let x = match &self.gk_down {
            Some(down) => down.forward(x),
            None => x,
        };
        let bias = bias.val();
        let [channels] = bias.dims();
        let raw = up.forward(x) + bias.reshape([1, 1, channels]);
        let decay = match port.name.as_str() {
            "w" => -raw.exp(),
            _ => log_sigmoid(raw) / self.config.gate_normalizer,
        };
        let LinearAttentionConfig {
            num_heads, key_dim, ..
        } = self.config;
        Ok(Some(match port.shape.is_empty() {
            true => Value::new(decay)?,
            false => Value::new(decay.reshape([batch, time, num_heads, key_dim]))?,
        }))
    }
}

/// RetNet's log decays of `heads` heads.
fn fixed_decay(heads: usize) -> Value {
    let decay = |head: usize| (-(-5.0 - head as f64).exp2()).ln_1p() as f32;
    Value::from_host(baton_runtime::Tensor {
        shape: vec![heads],
        data: (0..heads).map(decay).collect(),
    })
}

#[cfg(test)]
mod tests {
    use crate::data::Text;
    use crate::models::{BlockConfig, HostStates, LanguageModel, LayerState};
    use crate::models::{LinearAttentionConfig, ModelConfig, parameters};
    use crate::op::Value;
    use crate::small::base_config;
    use crate::trainer::{RunOptions, Trainer};
    use baton_runtime::device::interpreter::Interpreter;

    const FAMILY: [fn(LinearAttentionConfig) -> BlockConfig; 6] = [
        BlockConfig::LinearAttention,
        BlockConfig::Retnet,
        BlockConfig::SimpleGla,
        BlockConfig::Gla,
        BlockConfig::Hgrn2,
        BlockConfig::Rwkv6,
    ];

    fn config(block: fn(LinearAttentionConfig) -> BlockConfig) -> ModelConfig {
        ModelConfig {
            hidden_size: 16,
            num_hidden_layers: 2,
            block: block(LinearAttentionConfig {
                num_heads: 2,
                key_dim: 4,
                value_dim: 8,
                gate_rank: 4,
                gate_normalizer: 16.0,
            }),
            ..base_config(1, 1).model
        }
    }

    #[test]
    fn every_member_learns_and_all_its_weights_move() {
        let text = b"a state that is carried is a state that is known. ".repeat(20);
        let text = Text::cut("known", text, 0.1);
        for block in FAMILY {
            let mut run = base_config(1, 20);
            (run.train_length, run.batch_size) = (16, 4);
            run.schedule.peak = 1e-2;
            run.schedule.warmup = 2;
            run.model = config(block);
            let name = run.model.block.name();
            let mut run = Trainer::new(run, &Interpreter, &text).unwrap();
            let before = run.weights();
            let first = run.step().unwrap().loss;
            let last = run.run(&RunOptions::default(), &mut |_| {});
            let last = last.unwrap().unwrap();
            assert!(
                first > 5.0 && last < first - 1.5,
                "{name}: {first} to {last}"
            );
            for (weight, value) in run.weights() {
                assert_ne!(before[&weight], value, "{name}: {weight}");
            }
        }
    }

    /// Segments run twice over, so that Burn's products have as many rows as for the whole: for other
    /// numbers of rows they add in another order.
    #[test]
    fn segments_with_their_states_are_the_whole_of_every_member() {
        let ids: Vec<u32> = (0..24).map(|i| i * i * 7 % 256).collect();
        let [batch, time, cut] = [2, 12, 6];
        for block in FAMILY {
            let config = config(block);
            let name = config.block.name();
            let model = LanguageModel::new(&config, &Interpreter, 1).unwrap();
            let part = |from: usize, to: usize| -> Vec<u32> {
                let rows = ids.chunks(time).chain(ids.chunks(time));
                rows.flat_map(|row| row[from..to].to_vec()).collect()
            };
            let host = |states: &[LayerState]| -> HostStates {
                states.iter().map(LayerState::to_host).collect()
            };
            let (whole, last) = model.forward(&ids, [batch, time], None).unwrap();
            let half = [2 * batch, cut];
            let (_, between) = model.forward(&part(0, cut), half, None).unwrap();
            let (second, end) = model
                .forward(&part(cut, time), half, Some(between))
                .unwrap();
            let tail = whole.slice([0..batch, cut..time]);
            let [got, want] = [second, tail].map(|t| Value::new(t).unwrap().to_host().data);
            for got in got.chunks(want.len()) {
                assert!(apart(got, &want) < 1e-6, "{name}");
            }
            for (got, want) in host(&end).iter().zip(&host(&last)) {
                let (got, want) = (&got.recurrence[0], &want.recurrence[0]);
                assert_eq!(want.shape, [batch, 2, 4, 8]);
                for got in got.data.chunks(want.data.len()) {
                    assert!(apart(got, &want.data) < 1e-6, "{name}");
                }
            }
        }
    }

    /// The largest difference over the largest value.
    fn apart(got: &[f32], want: &[f32]) -> f32 {
        let far = got.iter().zip(want).map(|(a, b)| (a - b).abs());
        far.fold(0.0, f32::max) / want.iter().fold(0.0, |most, x| x.abs().max(most))
    }

    /// Checkpoints of the time when gated linear attention was a block of its own.
    #[test]
    fn weights_are_called_as_they_were() {
        let model = LanguageModel::new(&config(BlockConfig::Gla), &Interpreter, 1).unwrap();
        let names: Vec<String> = parameters(&model).into_iter().map(|p| p.name).collect();
        let layer: Vec<&str> = names
            .iter()
            .filter_map(|name| name.strip_prefix("backbone.layers.1.mixer."))
            .collect();
        assert_eq!(
            layer,
            [
                "in_proj.weight",
                "gk_down.weight",
                "gk_up.weight",
                "gk_bias",
                "norm.weight",
                "out_proj.weight"
            ]
        );
    }
}
