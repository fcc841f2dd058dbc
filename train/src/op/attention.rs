//! Attention to what is near, and to chunks that are found by their landmarks, as operations of the graph.
//!
//! The operators are those of `baton-retrieval`, on memory of the host; here they meet tensors and the
//! graph. What was read before this segment comes as constants: a [`Store`] of each sequence.

use super::flex::{Rows, flex};
use super::node::record;
use super::value::Value;
use crate::Error;
use baton_retrieval::choose::{Block, Chosen, Noise, Queries, choose};
use baton_retrieval::chunks::{Attention, Chunks, Picks};
use baton_retrieval::near::Near;
use baton_retrieval::weigh::{self, Weights};
use baton_retrieval::{Heads, NONE, Store};
use burn::Tensor;
use rayon::prelude::*;
use std::sync::Arc;

pub use baton_retrieval::near::Sight;

/// All elements of a value in row order.
fn dense(value: &Value) -> Rows {
    Rows::new(value.flex(), value.shape().len())
}

fn host(values: &[Value]) -> Result<(), Error> {
    match values.iter().all(Value::on_host) {
        true => Ok(()),
        false => Err(Error::Tensor(
            "attention of a tensor on a GPU given, expected one on the host: hybrid models run on the CPU".into(),
        )),
    }
}

/// Who sees what.
#[derive(Clone, Debug)]
pub struct View {
    /// What is seen.
    pub sight: Sight,
    /// [B, U]: which of the positions before are there.
    pub there: Vec<bool>,
    /// Taken off for each position of distance, by head.
    pub slopes: Option<Arc<[f32]>>,
}

/// Attention of queries [B, T, Hq, d] to keys and values [B, U + T, Hk, d].
pub fn attend_near(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    view: View,
) -> Result<Tensor<4>, Error> {
    let [batch, time, count, width] = queries.dims();
    let [_, places, shared, _] = keys.dims();
    let wrong = keys.dims() != [batch, places, shared, width]
        || values.dims() != keys.dims()
        || places < time
        || shared == 0
        || count % shared != 0
        || view.there.len() != batch * (places - time);
    if wrong {
        return Err(Error::Tensor(format!(
            "attention of queries {:?} to keys {:?} and values {:?}, {} of them before: expected [B, T, Hq, d] \
             and [B, U + T, Hk, d] with heads of keys that divide those of queries",
            queries.dims(),
            keys.dims(),
            values.dims(),
            view.there.len()
        )));
    }
    let inputs = [Value::new(queries)?, Value::new(keys)?, Value::new(values)?];
    host(&inputs)?;
    let given = inputs.each_ref().map(dense);
    let sizes = [batch, time, places - time];
    let heads = Heads {
        queries: count,
        keys: shared,
        width,
    };
    let run = move |given: &[Rows; 3], view: &View, arrived: Option<&[f32]>| {
        let [q, k, v] = given;
        let near = Near {
            queries: q.row(0),
            keys: k.row(0),
            values: v.row(0),
            sizes,
            heads,
            sight: view.sight,
            there: &view.there,
            slopes: view.slopes.as_deref(),
        };
        match arrived {
            None => vec![near.forward()],
            Some(arrived) => {
                let found = near.backward(arrived);
                vec![found.queries, found.keys, found.values]
            }
        }
    };
    let out = run(&given, &view, None).remove(0);
    let shapes = inputs.each_ref().map(Value::shape);
    let out = vec![flex(out, &shapes[0])];
    let mut out = record(&inputs, out, move |arrived, _| {
        let Some(arrived) = arrived[0].as_ref().map(|g| Rows::new(g, 4)) else {
            return vec![None, None, None];
        };
        let found = run(&given, &view, Some(arrived.row(0)));
        let pairs = found.into_iter().zip(&shapes);
        pairs.map(|(g, shape)| Some(flex(g, shape))).collect()
    });
    out.remove(0).tensor()
}

/// Chunks of this segment, and those of before that it chose.
#[derive(Clone, Debug)]
pub struct Read {
    /// Keys and values [N, S, Hk, d]; absent where no chunk was completed.
    pub own: Option<[Tensor<4>; 2]>,
    /// Keys and values of chunks before, after the own ones in number.
    pub past: Arc<[Vec<f32>; 2]>,
    /// Positions, heads and numbers of a chunk.
    pub size: [usize; 3],
}

/// Which chunks each row of positions attends to.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Where rows begin among the positions, and where the last ends.
    pub starts: Arc<[usize]>,
    /// Heads that choose.
    pub heads: usize,
    /// The most chunks that are chosen.
    pub top: usize,
    /// Numbers of chunks of a [`Read`], [R, H, K].
    pub chunks: Arc<[u32]>,
    /// [R, H, K].
    pub weights: Tensor<3>,
}

/// Attention of queries [P, Hq, d] to the chunks that their rows chose, [P, Hq, d]; with `one` there is a one
/// in the denominator of each chunk.
pub fn attend_chunks(
    queries: Tensor<3>,
    read: &Read,
    choice: &Choice,
    one: bool,
) -> Result<Tensor<3>, Error> {
    let [positions, count, width] = queries.dims();
    let [span, keys, numbers] = read.size;
    if width != numbers
        || keys == 0
        || count % keys != 0
        || choice.starts.last() != Some(&positions)
    {
        return Err(Error::Tensor(format!(
            "attention of queries {:?} to chunks of {keys} heads of {numbers} numbers: expected as many numbers \
             and heads that these divide",
            queries.dims()
        )));
    }
    let mut inputs = vec![Value::new(queries)?, Value::new(choice.weights.clone())?];
    for own in read.own.iter().flatten() {
        inputs.push(Value::new(own.clone())?);
    }
    host(&inputs)?;
    let heads = Heads {
        queries: count,
        keys,
        width,
    };
    let shapes: Vec<Vec<usize>> = inputs.iter().map(Value::shape).collect();
    let given: Vec<Rows> = inputs.iter().map(dense).collect();
    // Own and past chunks in one place; without a past the own are read where they lie.
    let joined: Option<[Vec<f32>; 2]> = (!read.past[0].is_empty()).then(|| {
        let all = |i: usize| {
            let own = given.get(2 + i).map_or(&[][..], |own| own.row(0));
            [own, &read.past[i]].concat()
        };
        [all(0), all(1)]
    });
    let choice = choice.clone();
    let run = move |arrived: Option<&[f32]>| {
        let part = |i: usize| match (&joined, given.get(2 + i)) {
            (Some(joined), _) => &joined[i][..],
            (None, Some(own)) => own.row(0),
            (None, None) => &[],
        };
        let attention = Attention {
            queries: given[0].row(0),
            heads,
            chunks: Chunks {
                keys: part(0),
                values: part(1),
                positions: span,
            },
            picks: Picks {
                starts: &choice.starts,
                heads: choice.heads,
                top: choice.top,
                chunks: &choice.chunks,
                weights: given[1].row(0),
            },
            one,
        };
        match arrived {
            None => vec![attention.forward()],
            Some(arrived) => {
                let found = attention.backward(arrived);
                vec![found.queries, found.weights, found.keys, found.values]
            }
        }
    };
    let out = vec![flex(run(None).remove(0), &shapes[0])];
    let mut out = record(&inputs, out, move |arrived, _| {
        let Some(arrived) = arrived[0].as_ref().map(|g| Rows::new(g, 3)) else {
            return shapes.iter().map(|_| None).collect();
        };
        let found = run(Some(arrived.row(0)));
        let pairs = found.into_iter().zip(&shapes);
        let cut = |(mut g, shape): (Vec<f32>, &Vec<usize>)| {
            g.truncate(shape.iter().product());
            Some(flex(g, shape))
        };
        pairs.map(cut).collect()
    });
    out.remove(0).tensor()
}

/// How rows choose.
#[derive(Clone, Debug)]
pub struct Rule {
    /// How weights are made.
    pub weights: Weights,
    /// The most chunks of a row.
    pub top: usize,
    /// Of each row how many of its own segment's chunks it may see; all of before it may.
    pub own: Arc<[usize]>,
    /// The seed of the noise.
    pub noise: Option<u64>,
}

/// For queries [B, R, H, w] the chosen chunks of each sequence, numbered from its beginning, and their weights
/// [B, R, H K]; `landmarks` are those of this segment's chunks, [B, C, H, w].
pub fn retrieve(
    queries: Tensor<4>,
    landmarks: Option<Tensor<4>>,
    past: &[Store],
    rule: Rule,
) -> Result<(Vec<Chosen>, Tensor<3>), Error> {
    let [batch, rows, heads, width] = queries.dims();
    let count = landmarks.as_ref().map_or(0, |l| l.dims()[1]);
    if past.len() != batch || rule.own.len() != rows {
        return Err(Error::Tensor(format!(
            "queries {:?} given to {} stores and {} rows, expected as many",
            queries.dims(),
            past.len(),
            rule.own.len()
        )));
    }
    let mut inputs = vec![Value::new(queries)?];
    inputs.extend(landmarks.map(Value::new).transpose()?);
    host(&inputs)?;
    let shapes: Vec<Vec<usize>> = inputs.iter().map(Value::shape).collect();
    let given: Vec<Rows> = inputs.iter().map(dense).collect();
    let past: Arc<[Store]> = past.into();
    let (each, top) = (rows * heads * width, rule.top);
    let visible = |b: usize| -> Vec<usize> {
        let own = rule.own.iter();
        own.map(|own| past[b].len() + own).collect()
    };
    let asked = |b: usize, data: &[f32], visible: &[usize]| -> Chosen {
        let queries = Queries {
            data: &data[b * each..(b + 1) * each],
            heads,
            width,
            visible,
            top,
            noise: rule.noise.map(|seed| Noise {
                seed: seed.wrapping_add((b as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            }),
        };
        let mut chosen = choose(
            &queries,
            &blocks(&past[b], given.get(1), b, count * heads * width),
        );
        rule.weights.order(&mut chosen, top);
        chosen
    };
    let chosen: Vec<Chosen> = (0..batch)
        .into_par_iter()
        .map(|b| asked(b, given[0].row(0), &visible(b)))
        .collect();
    let weights = chosen
        .iter()
        .flat_map(|chosen| rule.weights.of(chosen, top));
    let out = vec![flex(weights.collect(), &[batch, rows, heads * top])];
    let kept = chosen.clone();
    let kind = rule.weights;
    let mut out = record(&inputs, out, move |arrived, _| {
        let Some(arrived) = arrived[0].as_ref().map(|g| Rows::new(g, 3)) else {
            return shapes.iter().map(|_| None).collect();
        };
        let slots = rows * heads * top;
        let found: Vec<(Vec<f32>, Vec<f32>)> = (0..batch)
            .into_par_iter()
            .map(|b| {
                let chosen = &kept[b];
                let d_weights = &arrived.row(0)[b * slots..(b + 1) * slots];
                let d_scores = kind.backward(chosen, top, d_weights);
                let queries = Queries {
                    data: &given[0].row(0)[b * each..(b + 1) * each],
                    heads,
                    width,
                    visible: &[],
                    top,
                    noise: None,
                };
                let blocks = blocks(&past[b], given.get(1), b, count * heads * width);
                let own = [past[b].len(), count];
                weigh::backward(&queries, &blocks, &chosen.chunks, &d_scores, own)
            })
            .collect();
        let (mut d_queries, mut d_landmarks) = (Vec::new(), Vec::new());
        for (queries, landmarks) in found {
            d_queries.extend(queries);
            d_landmarks.extend(landmarks);
        }
        let all = [d_queries, d_landmarks].into_iter().zip(&shapes);
        all.map(|(g, shape)| Some(flex(g, shape))).collect()
    });
    Ok((chosen, out.remove(0).tensor()?))
}

/// Landmarks of before and of this segment.
fn blocks<'a>(past: &'a Store, own: Option<&'a Rows>, b: usize, each: usize) -> Vec<Block<'a>> {
    let mut blocks = past.landmarks();
    if let Some(own) = own {
        blocks.push(Block {
            first: past.len(),
            landmarks: &own.row(0)[b * each..(b + 1) * each],
        });
    }
    blocks
}

/// Whether a choice is none.
pub fn is_none(chunk: u32) -> bool {
    chunk == NONE
}
