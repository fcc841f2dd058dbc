//! Logits of given tokens from a given state, with the states after them, as published: what one
//! program's checkpoint is compared by with another's.
//!
//! Mamba-2's states are called `ssm.<layer>`, [B, H, P, N] where the kernels here have [B, H, N, P]; those
//! of a block of a text have the text's names and layout, `S.<layer>` [B, H, K, V]. `conv.<layer>`,
//! [B, C, W], are the last W inputs of the convolution, the current one included, where a model here
//! carries the W - 1 that the next step needs. So the last token is run by itself, and the state
//! before it gives the oldest input.

use crate::Error;
use crate::models::{BlockConfig, HostState, HostStates, LanguageModel, LayerState, ModelConfig};
use crate::op::Value;
use baton_runtime::Tensor;
use std::collections::BTreeMap;

/// Tokens that are run at once.
const SEGMENT: usize = 2048;

/// Tensors by their published names.
pub type Named = BTreeMap<String, Tensor>;

/// `logits` [B, T, V] of `ids` [B, T] in row order, and with `states` what [`published`] makes of
/// the states after them.
pub fn logits(
    model: &LanguageModel,
    config: &ModelConfig,
    ids: &[u32],
    [batch, time]: [usize; 2],
    first: Option<HostStates>,
    states: bool,
) -> Result<Named, Error> {
    if batch == 0 || time == 0 {
        return Err(Error::Tensor(format!(
            "tokens of shape [{batch}, {time}] given, expected at least one"
        )));
    }
    let vocab = config.vocab_size;
    if let Some(at) = ids.iter().position(|&id| id as usize >= vocab) {
        return Err(Error::Tensor(format!(
            "token {} given at [{}, {}], expected less than the vocabulary's {vocab}",
            ids[at],
            at / time,
            at % time
        )));
    }
    let mut all = Tensor::full(&[batch, time, vocab], 0.0f32);
    let host =
        |state: &Vec<LayerState>| -> HostStates { state.iter().map(LayerState::to_host).collect() };
    let mut before = first.clone();
    let mut state = first.map(|first| first.into_iter().map(LayerState::from_host).collect());
    let mut at = 0;
    while at < time {
        let rest = time - at;
        let size = match states && rest > 1 {
            true => SEGMENT.min(rest - 1),
            false => SEGMENT.min(rest),
        };
        let rows = |b: usize| &ids[b * time + at..][..size];
        let segment: Vec<u32> = (0..batch).flat_map(|b| rows(b).to_vec()).collect();
        if states && rest == 1 {
            before = state.as_ref().map(host);
        }
        let (part, after) = model.forward(&segment, [batch, size], state.take())?;
        let part = Value::new(part)?.to_host().data;
        for (b, part) in part.chunks_exact(size * vocab).enumerate() {
            all.data[(b * time + at) * vocab..][..size * vocab].copy_from_slice(part);
        }
        state = Some(after);
        at += size;
    }
    let mut named = Named::from([("logits".to_string(), all)]);
    if let Some(state) = state.filter(|_| states) {
        named.extend(published(config, &host(&state), before.as_ref()));
    }
    Ok(named)
}

/// The states of all layers under their published names; `before` are those before the last token.
pub(crate) fn published(
    config: &ModelConfig,
    after: &HostStates,
    before: Option<&HostStates>,
) -> Named {
    let (mut named, kinds) = (Named::new(), kinds(config));
    for (layer, HostState { recurrence, conv }) in after.iter().enumerate() {
        for (state, kind) in recurrence.iter().zip(&kinds) {
            named.insert(format!("{}.{layer}", kind.name), kind.turned(state));
        }
        if let Some(conv) = conv {
            let oldest = before.and_then(|before| before[layer].conv.as_ref());
            named.insert(format!("conv.{layer}"), window(conv, oldest));
        }
    }
    named
}

/// States from their published names, for `batch` sequences. Every layer's `ssm` must be there; a
/// `conv` that is not is zero.
pub fn initial(config: &ModelConfig, batch: usize, mut given: Named) -> Result<HostStates, Error> {
    let kinds = kinds(config);
    let conv_sizes = config.conv_size();
    let conv_sizes = conv_sizes.map(|[channels, width]| [batch, channels, width]);
    let fits = |name: &str, tensor: &Tensor, expected: &[usize]| match tensor.shape == expected {
        true => Ok(()),
        false => Err(Error::Tensor(format!(
            "tensor `{name}` has shape {:?}, expected {expected:?}",
            tensor.shape
        ))),
    };
    let mut states = HostStates::new();
    for (layer, sizes) in config.state_sizes().into_iter().enumerate() {
        let mut recurrence = Vec::new();
        for (size, kind) in sizes.iter().zip(&kinds) {
            let name = format!("{}.{layer}", kind.name);
            let state = given.remove(&name);
            let state =
                state.ok_or_else(|| Error::Tensor(format!("tensor `{name}` is missing")))?;
            let mut size = [&[batch], &size[..]].concat();
            if kind.transposed {
                size.swap(2, 3);
            }
            fits(&name, &state, &size)?;
            recurrence.push(kind.turned(&state));
        }
        let name = format!("conv.{layer}");
        let mut conv = None;
        if let Some(sizes) = conv_sizes
            && let Some(state) = given.remove(&name)
        {
            fits(&name, &state, &sizes)?;
            conv = Some(carried(&state));
        }
        states.push(HostState { recurrence, conv });
    }
    match given.keys().next() {
        None => Ok(states),
        Some(name) => Err(Error::Tensor(format!(
            "tensor `{name}` is no state of the model, expected {} and conv.<layer> of {} layers",
            kinds
                .iter()
                .map(|kind| format!("{}.<layer>", kind.name))
                .collect::<Vec<_>>()
                .join(", "),
            config.num_hidden_layers
        ))),
    }
}

/// What a state of each layer is called, and how it lies.
struct Kind<'a> {
    name: &'a str,
    transposed: bool,
}

impl Kind<'_> {
    /// From the layout of kernels to that of files, or back.
    fn turned(&self, state: &Tensor) -> Tensor {
        match self.transposed {
            true => transposed(state),
            false => state.clone(),
        }
    }
}

/// Those of a model's blocks, in order.
fn kinds(config: &ModelConfig) -> Vec<Kind<'_>> {
    match &config.block {
        BlockConfig::Mamba2(_) => vec![Kind {
            name: "ssm",
            transposed: true,
        }],
        BlockConfig::Recurrence(block) => {
            let states = block.recurrence().states.iter();
            let kind = |name| Kind {
                name,
                transposed: false,
            };
            states.map(|state| kind(state.name.as_str())).collect()
        }
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
