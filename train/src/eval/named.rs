//! States under the names that published files give them.
//!
//! A recurrence's state is called and lies there as its text declares it, [B, H, dims..]; but Mamba's
//! and Mamba-2's are `ssm`, the latter's last two dims are exchanged, and mLSTM's matrix is `C`. The inputs that
//! a convolution remembers are [B, C, W], the last W with the current one included, where a model here carries the W - 1 that the next step needs: so the state before the
//! last token gives the oldest. Several convolutions of a layer are one state here, side by side.

use crate::Error;
use crate::models::{HostState, HostStates};
use baton_config::{BlockConfig, LayerConfig, ModelConfig};
use baton_runtime::Tensor;
use std::collections::BTreeMap;

/// Tensors by their published names.
pub type Named = BTreeMap<String, Tensor>;

/// What the states of a layer are called.
struct Names {
    /// Of the recurrence, in order.
    recurrence: Vec<String>,
    /// Whether the last two dims of each are exchanged.
    transposed: bool,
    /// The parts of the convolution's state, in order.
    inputs: Vec<Inputs>,
}

/// Inputs that a convolution remembers.
struct Inputs {
    name: &'static str,
    channels: usize,
    /// Taps of the convolution; absent where it is the step before that RWKV-7 reads, [B, C]. Of one tap
    /// the last input is carried too.
    taps: Option<usize>,
}

impl Inputs {
    /// [B, W - 1, C] after the last token, and the same before it, as it lies in files.
    fn shown(&self, after: &Tensor, before: Option<Tensor>) -> Tensor {
        match self.taps {
            Some(2..) => window(after, before.as_ref()),
            taps => Tensor {
                shape: [after.shape[0], self.channels]
                    .into_iter()
                    .chain(taps)
                    .collect(),
                data: after.data.clone(),
            },
        }
    }

    /// [B, W - 1, C] from what lies in files.
    fn carried(&self, shown: Tensor) -> Tensor {
        match self.taps {
            Some(2..) => carried(&shown),
            _ => Tensor {
                shape: vec![shown.shape[0], 1, self.channels],
                data: shown.data,
            },
        }
    }
}

impl Names {
    /// Of one layer.
    fn of(config: &ModelConfig, layer: usize) -> Self {
        let block = match config.hybrid().map(|hybrid| &hybrid.layers[layer]) {
            None => &config.block,
            Some(LayerConfig::Recurrent { block, .. }) => block,
            Some(LayerConfig::Attention { .. } | LayerConfig::Grouped { .. }) => {
                let window = ["window_keys", "window_values", "window_there"];
                return Names {
                    recurrence: window.map(str::to_string).into(),
                    transposed: false,
                    inputs: vec![],
                };
            }
            Some(_) => {
                return Names {
                    recurrence: vec![],
                    transposed: false,
                    inputs: vec![],
                };
            }
        };
        let inputs = |name, channels, taps| Inputs {
            name,
            channels,
            taps: Some(taps),
        };
        let named = |all: &[&str]| all.iter().map(|name| name.to_string()).collect();
        let transposed = matches!(block, BlockConfig::Mamba2(_));
        let (recurrence, inputs) = match block {
            BlockConfig::Mamba1(block) => {
                let channels = block.intermediate(config.hidden_size);
                (
                    named(&["ssm"]),
                    vec![inputs("conv", channels, block.conv_kernel)],
                )
            }
            BlockConfig::Mamba2(block) => {
                let inner = block.intermediate(config.hidden_size);
                let channels = inner + 2 * block.n_groups * block.state_size;
                (
                    named(&["ssm"]),
                    vec![inputs("conv", channels, block.conv_kernel)],
                )
            }
            BlockConfig::GatedDeltaNet(block) | BlockConfig::Kda(block) => {
                let (keys, taps) = (block.keys(), block.conv_kernel);
                let of = [
                    ("conv_q", keys),
                    ("conv_k", keys),
                    ("conv_v", block.values()),
                ];
                let of = of.map(|(name, channels)| inputs(name, channels, taps));
                (named(&["S"]), of.into())
            }
            BlockConfig::Mlstm(_) => (named(&["C", "n", "m"]), vec![]),
            BlockConfig::Rwkv7(_) => {
                let shifts = ["shift", "ffn_shift"].map(|name| Inputs {
                    name,
                    channels: config.hidden_size,
                    taps: None,
                });
                let count = 1 + config.intermediate_size.iter().count();
                (named(&["S"]), shifts.into_iter().take(count).collect())
            }
            BlockConfig::Recurrence(block) => {
                let states = block.recurrence().states.iter();
                let states = states.map(|state| state.name.clone()).collect();
                let conv = block.conv_size().into_iter();
                let conv = conv.map(|[channels, taps]| inputs("conv", channels, taps));
                (states, conv.collect())
            }
            BlockConfig::Hybrid(_) => (vec![], vec![]),
        };
        Names {
            recurrence,
            transposed,
            inputs,
        }
    }

    /// A state of the recurrence as it lies in files, or back.
    fn turned(&self, state: &Tensor) -> Tensor {
        match self.transposed {
            true => transposed(state),
            false => state.clone(),
        }
    }

    /// All names, as an error lists them.
    fn listed(&self) -> String {
        let inputs = self.inputs.iter().map(|inputs| inputs.name);
        let all = self.recurrence.iter().map(String::as_str).chain(inputs);
        let all: Vec<String> = all.map(|name| format!("{name}.<layer>")).collect();
        all.join(" and ")
    }
}

/// Elements that a layer carries of a sequence's last inputs.
pub(crate) fn remembered(config: &ModelConfig, layer: usize) -> usize {
    let inputs = Names::of(config, layer).inputs.into_iter();
    let kept = |taps: Option<usize>| taps.map_or(1, |taps| taps.saturating_sub(1).max(1));
    inputs
        .map(|inputs| inputs.channels * kept(inputs.taps))
        .sum()
}

/// The states of all layers under their published names; `before` are those before the last token.
pub fn published(config: &ModelConfig, after: &HostStates, before: Option<&HostStates>) -> Named {
    let mut named = Named::new();
    for (layer, state) in after.iter().enumerate() {
        let HostState {
            recurrence, conv, ..
        } = state;
        let names = Names::of(config, layer);
        for (name, state) in names.recurrence.iter().zip(recurrence) {
            named.insert(format!("{name}.{layer}"), names.turned(state));
        }
        let Some(conv) = conv else { continue };
        let oldest = before.and_then(|before| before[layer].conv.as_ref());
        let mut at = 0;
        for inputs in &names.inputs {
            let part = |state: &Tensor| channels(state, at, inputs.channels);
            let shown = inputs.shown(&part(conv), oldest.map(part));
            named.insert(format!("{}.{layer}", inputs.name), shown);
            at += inputs.channels;
        }
    }
    named
}

/// States from their published names, for `batch` sequences. Those of the recurrence must all be
/// there; inputs that are not are zero.
pub fn initial(config: &ModelConfig, batch: usize, mut given: Named) -> Result<HostStates, Error> {
    let fits = |name: &str, tensor: &Tensor, expected: &[usize]| match tensor.shape == expected {
        true => Ok(()),
        false => Err(Error::Tensor(format!(
            "tensor `{name}` has shape {:?}, expected {expected:?}",
            tensor.shape
        ))),
    };
    let mut states = HostStates::new();
    for (layer, sizes) in config.state_sizes().into_iter().enumerate() {
        let names = Names::of(config, layer);
        let mut recurrence = Vec::new();
        for (name, size) in names.recurrence.iter().zip(sizes) {
            let name = format!("{name}.{layer}");
            let state = given.remove(&name);
            let state =
                state.ok_or_else(|| Error::Tensor(format!("tensor `{name}` is missing")))?;
            let mut expected = [&[batch], &size[..]].concat();
            if names.transposed {
                let last = expected.len() - 1;
                expected.swap(last - 1, last);
            }
            fits(&name, &state, &expected)?;
            recurrence.push(names.turned(&state));
        }
        let mut parts = Vec::new();
        let mut any = false;
        for inputs in &names.inputs {
            let name = format!("{}.{layer}", inputs.name);
            let mut sizes = vec![batch, inputs.channels];
            sizes.extend(inputs.taps);
            let state = given.remove(&name);
            any |= state.is_some();
            let state = state.unwrap_or_else(|| Tensor::full(&sizes, 0.0));
            fits(&name, &state, &sizes)?;
            parts.push(inputs.carried(state));
        }
        let conv = any.then(|| beside(&parts));
        states.push(HostState {
            recurrence,
            conv,
            memory: None,
        });
    }
    match given.keys().next() {
        None => Ok(states),
        Some(name) => Err(Error::Tensor(format!(
            "tensor `{name}` is no state of the model, expected {} of {} layers",
            Names::of(config, 0).listed(),
            config.num_hidden_layers
        ))),
    }
}

/// `count` channels of [B, W - 1, C] from `at` on.
fn channels(state: &Tensor, at: usize, count: usize) -> Tensor {
    let [batch, kept, all] = [state.shape[0], state.shape[1], state.shape[2]];
    let rows = state.data.chunks_exact(all.max(1));
    Tensor {
        shape: vec![batch, kept, count],
        data: rows.flat_map(|row| row[at..at + count].to_vec()).collect(),
    }
}

/// States [B, W - 1, C] of one width as one, channels side by side.
fn beside(parts: &[Tensor]) -> Tensor {
    let [batch, kept] = [parts[0].shape[0], parts[0].shape[1]];
    let channels = parts.iter().map(|part| part.shape[2]).sum();
    let row = |row: usize| {
        let of = move |part: &Tensor| {
            let width = part.shape[2];
            part.data[row * width..(row + 1) * width].to_vec()
        };
        parts.iter().flat_map(of)
    };
    Tensor {
        shape: vec![batch, kept, channels],
        data: (0..batch * kept).flat_map(row).collect(),
    }
}

/// The last two dims exchanged.
fn transposed(state: &Tensor) -> Tensor {
    let rank = state.shape.len();
    let (rows, columns) = (state.shape[rank - 2], state.shape[rank - 1]);
    let mut shape = state.shape.clone();
    shape.swap(rank - 2, rank - 1);
    let matrices = state.data.chunks_exact((rows * columns).max(1));
    let data = matrices
        .flat_map(|m| (0..rows * columns).map(move |i| m[i % rows * columns + i / rows]))
        .collect();
    Tensor { shape, data }
}

/// [B, W - 1, C] after the last token, and the same before it, to [B, C, W].
fn window(after: &Tensor, before: Option<&Tensor>) -> Tensor {
    let [batch, kept, channels] = [after.shape[0], after.shape[1], after.shape[2]];
    let mut window = Tensor::full(&[batch, channels, kept + 1], 0.0);
    for (i, x) in window.data.iter_mut().enumerate() {
        let (b, c, w) = (
            i / (channels * (kept + 1)),
            i / (kept + 1) % channels,
            i % (kept + 1),
        );
        let at = |step: usize| (b * kept + step) * channels + c;
        *x = match (w, before) {
            (0, Some(before)) if kept > 0 => before.data[at(0)],
            (0, _) => 0.0,
            _ => after.data[at(w - 1)],
        };
    }
    window
}

/// [B, C, W] to the last W - 1 as [B, W - 1, C].
fn carried(window: &Tensor) -> Tensor {
    let [batch, channels, width] = [window.shape[0], window.shape[1], window.shape[2]];
    let kept = width - 1;
    let at = |i: usize| {
        let (b, w, c) = (i / (kept * channels), i / channels % kept, i % channels);
        window.data[(b * channels + c) * width + w + 1]
    };
    Tensor {
        shape: vec![batch, kept, channels],
        data: (0..batch * kept * channels).map(at).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_carried_and_shows_the_oldest_input() {
        let window_of = |data: Vec<f32>| Tensor {
            shape: vec![1, 2, 3],
            data,
        };
        let first = window_of(vec![1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
        let before = carried(&first);
        assert_eq!(before.shape, [1, 2, 2]);
        assert_eq!(before.data, [2.0, 20.0, 3.0, 30.0]);
        let after = Tensor {
            shape: vec![1, 2, 2],
            data: vec![3.0, 30.0, 4.0, 40.0],
        };
        let last = window(&after, Some(&before));
        assert_eq!(last, window_of(vec![2.0, 3.0, 4.0, 20.0, 30.0, 40.0]));
        let fresh = window(&after, None);
        assert_eq!(fresh, window_of(vec![0.0, 3.0, 4.0, 0.0, 30.0, 40.0]));
    }
}
