//! Logits of given tokens from a given state, with the states after them, as published: what one
//! program's checkpoint is compared by with another's.
//!
//! Published states show one input more of a convolution than a model here carries (`named.rs`), so
//! the last token is run by itself.

pub use super::named::{Named, initial, published};
use crate::Error;
use crate::models::{HostStates, LanguageModel, LayerState};
use crate::op::Value;
use baton_config::ModelConfig;
use baton_runtime::Tensor;

/// Tokens that are run at once.
const SEGMENT: usize = 2048;

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
    if model.has_memory() && (states || first.is_some()) {
        return Err(Error::Config(
            "states of a model with chunks of what it has read given or asked for, expected neither: the chunks are no \
             tensors of this file, `baton generate --state-out` keeps them"
                .into(),
        ));
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
