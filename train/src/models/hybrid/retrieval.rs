//! The layer that chooses chunks for those after it.
//!
//! By chunk: the last position of each chunk asks, sees the chunks before its own, and what it finds serves the
//! positions of the next chunk; what was found last is carried to them. By token: each position
//! asks for itself and sees the chunks that were complete before it.

use super::super::{LayerState, Linear};
use super::Beside;
use super::memory::{Memory, Own};
use crate::Error;
use crate::op::Value;
use crate::op::attention::{Choice, Read, Rule, retrieve};
use baton_config::{Per, RetrievalConfig, Weighing};
use baton_data::rng::Rng;
use baton_retrieval::choose::Chosen;
use baton_retrieval::weigh::Weights;
use baton_retrieval::{NONE, Store};
use burn::Tensor;
use burn::module::Module;
use burn::tensor::{Device, TensorData};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A layer that chooses.
#[derive(Module, Debug)]
pub struct Retrieval {
    /// To queries, where landmarks are projected too.
    pub q_proj: Option<Linear>,
    #[module(skip)]
    config: RetrievalConfig,
    /// Its place among the layers, which makes its noise its own.
    #[module(skip)]
    place: usize,
}

impl Retrieval {
    pub(super) fn new(
        config: &RetrievalConfig,
        place: usize,
        [hidden, to]: [Option<usize>; 2],
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let pair = hidden.zip(to);
        Retrieval {
            q_proj: pair.map(|(hidden, to)| Linear::new(hidden, to, 1.0, rng, device)),
            config: config.clone(),
            place,
        }
    }

    /// Chooses by the stream x, given here normalised, and hands the choice on.
    pub fn forward(
        &self,
        x: Tensor<3>,
        state: Option<LayerState>,
        beside: &mut Beside,
    ) -> Result<LayerState, Error> {
        let RetrievalConfig {
            per,
            top,
            heads,
            weights,
            noise,
        } = self.config.clone();
        let Some(cut) = &beside.cut else {
            return Err(Error::Tensor("a retrieval layer without chunks".into()));
        };
        let [batch, time, width] = x.dims();
        let recorded = x.is_autodiff();
        let device = x.device().without_autodiff();
        let seed = beside.noise.filter(|_| noise);
        let mut rule = Rule {
            weights: match weights {
                Weighing::Softmax => Weights::Softmax,
                Weighing::StickBreaking => Weights::StickBreaking,
            },
            top,
            own: Arc::default(),
            noise: seed.map(|seed| seed.wrapping_add((self.place as u64) << 32)),
        };
        let query = |x: Tensor<3>| {
            let q = match &self.q_proj {
                Some(proj) => proj.forward(x),
                None => x,
            };
            let [batch, rows, numbers] = q.dims();
            q.reshape([batch, rows, heads, numbers / heads])
        };
        let landmarks = cut.landmarks.clone().map(|landmarks| {
            let [batch, count, numbers] = landmarks.dims();
            landmarks.reshape([batch, count, heads, numbers / heads])
        });
        let mut after = None;
        let (chosen, made, starts) = match per {
            Per::Token => {
                rule.own = (0..time).map(|t| (cut.open + t) / cut.chunk).collect();
                let (chosen, made) = retrieve(query(x), landmarks, &cut.stores, rule)?;
                if !recorded {
                    after = Some(last(&chosen, &made, heads * top)?);
                }
                let chosen: Vec<u32> = chosen.into_iter().flat_map(|c| c.chunks).collect();
                (chosen, made, (0..=batch * time).collect::<Vec<usize>>())
            }
            Per::Chunk => {
                let memory = state.and_then(|state| state.memory);
                let memory = memory.unwrap_or_else(|| Memory::new(batch));
                let (carried, before) = carried(&memory, heads * top);
                let before = TensorData::new(before, [batch, 1, heads * top]);
                let before = Tensor::<3>::from_data(before, &device);
                let before = if recorded { before.autodiff() } else { before };
                let (chosen, made) = match cut.count {
                    0 => (vec![Chosen::default(); batch], None),
                    count => {
                        let end = |i: usize| (i + 1) * cut.chunk - cut.open - 1;
                        let ends = (0..count)
                            .map(|i| x.clone().slice([0..batch, end(i)..end(i) + 1, 0..width]));
                        rule.own = (0..count).collect();
                        let ends = Tensor::cat(ends.collect(), 1);
                        let (chosen, made) = retrieve(query(ends), landmarks, &cut.stores, rule)?;
                        (chosen, Some(made))
                    }
                };
                let all = match made {
                    Some(made) => Tensor::cat(vec![before, made], 1),
                    None => before,
                };
                let mut rows = Vec::new();
                for (carried, chosen) in carried.chunks(heads * top).zip(&chosen) {
                    rows.extend_from_slice(carried);
                    rows.extend_from_slice(&chosen.chunks);
                }
                if !recorded {
                    let each = (cut.count + 1) * heads * top;
                    let slots = |b: usize| (b + 1) * each - heads * top..(b + 1) * each;
                    let weights = Value::new(all.clone())?.to_host().data;
                    let own = (0..batch).map(|b| Own {
                        chosen: rows[slots(b)].to_vec(),
                        weights: weights[slots(b)].to_vec(),
                        ..Own::default()
                    });
                    after = Some(Memory(own.collect()));
                }
                let mut starts = vec![0];
                for b in 0..batch {
                    for i in 0..=cut.count {
                        let end = ((i + 1) * cut.chunk - cut.open).min(time);
                        starts.push(b * time + end);
                    }
                }
                (rows, all, starts)
            }
        };
        let (numbers, past) = numbered(&chosen, batch, cut.count, &cut.stores);
        let read = Read {
            own: cut.own.clone(),
            past: Arc::new(past),
            size: cut.size,
        };
        let rows = starts.len() - 1;
        let choice = Choice {
            starts: starts.into(),
            heads,
            top,
            chunks: numbers.into(),
            weights: made.reshape([rows, heads, top]),
        };
        beside.found = Some((read, choice));
        Ok(LayerState {
            recurrence: Vec::new(),
            conv: None,
            memory: after,
        })
    }
}

/// What was carried of each sequence, [B, slots]: nothing where nothing was.
fn carried(memory: &Memory, slots: usize) -> (Vec<u32>, Vec<f32>) {
    let (mut chosen, mut weights) = (Vec::new(), Vec::new());
    for own in &memory.0 {
        match own.chosen.len() == slots {
            true => {
                chosen.extend_from_slice(&own.chosen);
                weights.extend_from_slice(&own.weights);
            }
            false => {
                chosen.resize(chosen.len() + slots, NONE);
                weights.resize(weights.len() + slots, 0.0);
            }
        }
    }
    (chosen, weights)
}

/// What the last position of each sequence chose, to be looked at.
fn last(chosen: &[Chosen], weights: &Tensor<3>, slots: usize) -> Result<Memory, Error> {
    let weights = Value::new(weights.clone())?.to_host().data;
    let each = weights.len() / chosen.len();
    let own = chosen.iter().enumerate().map(|(b, chosen)| Own {
        chosen: chosen.chunks[each - slots..].to_vec(),
        weights: weights[(b + 1) * each - slots..(b + 1) * each].to_vec(),
        ..Own::default()
    });
    Ok(Memory(own.collect()))
}

/// Choices of sequences, numbered from their beginnings, as numbers among this segment's chunks [B, C] and those
/// of before after them, which are read here, each once.
fn numbered(
    chosen: &[u32],
    batch: usize,
    count: usize,
    stores: &[Store],
) -> (Vec<u32>, [Vec<f32>; 2]) {
    let each = chosen.len() / batch.max(1);
    let mut places: BTreeMap<(usize, u32), u32> = BTreeMap::new();
    let sequences = chosen.chunks(each.max(1)).enumerate();
    for (b, chosen) in sequences.clone() {
        let past = chosen
            .iter()
            .filter(|&&c| c != NONE && (c as usize) < stores[b].len());
        places.extend(past.map(|&c| ((b, c), 0)));
    }
    let mut data = [Vec::new(), Vec::new()];
    for (b, store) in stores.iter().enumerate() {
        let of = places
            .range((b, 0)..(b + 1, 0))
            .map(|(&(_, c), _)| c as usize);
        store.ahead(of);
    }
    for (i, (&(b, chunk), place)) in places.iter_mut().enumerate() {
        *place = (batch * count + i) as u32;
        let layout = stores[b].layout();
        let [keys, values] = &mut data;
        let (k, v) = (keys.len(), values.len());
        keys.resize(k + layout.keys, 0.0);
        values.resize(v + layout.values, 0.0);
        stores[b].read(chunk as usize, &mut keys[k..], &mut values[v..]);
    }
    let numbers = sequences.flat_map(|(b, chosen)| {
        let past = stores[b].len() as u32;
        let places = &places;
        chosen.iter().map(move |&c| match c {
            NONE => NONE,
            c if c < past => places[&(b, c)],
            c => (b * count) as u32 + c - past,
        })
    });
    (numbers.collect(), data)
}
