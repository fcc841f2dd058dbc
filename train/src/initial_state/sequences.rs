//! The states of a batch, sequence by sequence: cleared, taken out, joined, chosen from.
//!
//! Whatever number and shape of states a recurrence has, the first dim of each is the sequence.

use crate::models::{HostState, HostStates};
use baton_data::rng::Rng;
use baton_runtime::Tensor;
use std::ops::Range;

/// Every tensor of one layer.
fn tensors(layer: &mut HostState) -> impl Iterator<Item = &mut Tensor> {
    layer.recurrence.iter_mut().chain(&mut layer.conv)
}

/// Elements of one sequence.
fn stride(state: &Tensor) -> usize {
    state.shape[1..].iter().product()
}

/// Whether every element is a finite number.
pub(crate) fn are_finite(states: &HostStates) -> bool {
    let all = states
        .iter()
        .flat_map(|s| s.recurrence.iter().chain(&s.conv));
    all.flat_map(|state| &state.data).all(|x| x.is_finite())
}

/// Zeroes all states of one sequence, in all layers.
pub(crate) fn clear(states: &mut HostStates, sequence: usize) {
    for state in states.iter_mut().flat_map(tensors) {
        let each = stride(state);
        state.data[sequence * each..(sequence + 1) * each].fill(0.0);
    }
    let memories = states.iter_mut().filter_map(|layer| layer.memory.as_mut());
    memories.for_each(|memory| memory.clear(sequence));
}

/// Which sequences begin at zero, each with probability `p_zero`.
pub(super) fn zeroed(batch: usize, p_zero: f64, rng: &mut Rng) -> Vec<bool> {
    (0..batch).map(|_| rng.uniform() < p_zero).collect()
}

/// Zeroes all states of the sequences that are marked.
pub(super) fn clear_all(states: &mut HostStates, zeroed: &[bool]) {
    let marked = zeroed.iter().enumerate().filter(|(_, zero)| **zero);
    marked.for_each(|(sequence, _)| clear(states, sequence));
}

/// Zero states of `batch` sequences, the convolution's absent.
pub(super) fn zero(batch: usize, sizes: &[Vec<Vec<usize>>]) -> HostStates {
    let state = |size: &Vec<usize>| Tensor::full(&[&[batch], &size[..]].concat(), 0.0);
    let layer = |layer: &Vec<Vec<usize>>| HostState {
        recurrence: layer.iter().map(state).collect(),
        conv: None,
        memory: None,
    };
    sizes.iter().map(layer).collect()
}

/// For each sequence the states of the batch that `chosen` names; absent is zero.
pub(super) fn choose(
    batch: usize,
    sizes: &[Vec<Vec<usize>>],
    from: &[Option<HostStates>],
    chosen: &[usize],
) -> Option<HostStates> {
    let given: Vec<&HostStates> = from.iter().flatten().collect();
    given.first()?;
    let mut states = zero(batch, sizes);
    for (layer, state) in states.iter_mut().enumerate() {
        // A convolution that one of them carries is zero where another is chosen.
        let like = given.iter().find_map(|given| given[layer].conv.as_ref());
        state.conv = like.map(|like| Tensor::full(&like.shape, 0.0));
        for (sequence, &which) in chosen.iter().enumerate() {
            let Some(from) = &from[which] else { continue };
            let copy = |to: &mut Tensor, from: &Tensor| {
                let own = sequence * stride(from)..(sequence + 1) * stride(from);
                to.data[own.clone()].copy_from_slice(&from.data[own]);
            };
            let pairs = state.recurrence.iter_mut().zip(&from[layer].recurrence);
            pairs.for_each(|(to, from)| copy(to, from));
            let pairs = state.conv.iter_mut().zip(&from[layer].conv);
            pairs.for_each(|(to, from)| copy(to, from));
        }
    }
    Some(states)
}

/// The states of some sequences.
pub(crate) fn rows(states: &HostStates, rows: Range<usize>) -> HostStates {
    let take = |state: &Tensor| {
        let each = stride(state);
        let shape = [&[rows.len()], &state.shape[1..]].concat();
        let data = state.data[rows.start * each..rows.end * each].to_vec();
        Tensor { shape, data }
    };
    let layer = |layer: &HostState| HostState {
        recurrence: layer.recurrence.iter().map(take).collect(),
        conv: layer.conv.as_ref().map(take),
        memory: layer
            .memory
            .as_ref()
            .map(|memory| memory.rows(rows.clone())),
    };
    states.iter().map(layer).collect()
}

/// The states of the sequences of all parts, in order; every part has the same layers.
pub(crate) fn join(parts: Vec<HostStates>) -> HostStates {
    let mut parts = parts.into_iter();
    let mut all = parts.next().unwrap_or_default();
    for part in parts {
        for (layer, mut more) in all.iter_mut().zip(part) {
            for (state, more) in tensors(layer).zip(tensors(&mut more)) {
                state.shape[0] += more.shape[0];
                state.data.append(&mut more.data);
            }
            if let (Some(memory), Some(more)) = (&mut layer.memory, more.memory) {
                memory.join(more);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_apart_and_together() {
        let count = |shape: &[usize]| Tensor {
            shape: shape.to_vec(),
            data: (0..shape.iter().product()).map(|i| i as f32).collect(),
        };
        let layer = HostState {
            recurrence: vec![count(&[4, 2, 3]), count(&[4, 5])],
            conv: Some(count(&[4, 1])),
            memory: None,
        };
        let whole = vec![layer.clone(), layer];
        let parts: Vec<HostStates> = [0..1, 1..1, 1..4].map(|r| rows(&whole, r)).to_vec();
        assert_eq!(parts[2][1].recurrence[1].data[0], 5.0);
        assert_eq!(join(parts), whole);
        let mut cleared = whole.clone();
        clear(&mut cleared, 2);
        assert_eq!(rows(&cleared, 0..2), rows(&whole, 0..2));
        assert_eq!(rows(&cleared, 3..4), rows(&whole, 3..4));
        let zero = rows(&cleared, 2..3);
        assert!(zero.iter().all(|l| {
            l.recurrence
                .iter()
                .all(|s| s.data.iter().all(|v| *v == 0.0))
        }));
    }
}
