//! From the scores of chosen chunks to their weights, and back.
//!
//! Grouped cross attention takes the softmax over the chosen. Hierarchical sparse attention breaks a
//! stick, the most recent chunk first: each takes the share `sigma(s)` of what those before it left, and
//! what is left at the end is nobody's. Neither knows positions. Where there is no choice the
//! weight is zero, also where there is none at all. A row is a few numbers: they are summed in f64.

use crate::choose::{Block, Chosen, Queries};
use crate::{NONE, exponential};
use rayon::prelude::*;

/// How weights are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// exp(s) over the sum of those of the row.
    Softmax,
    /// sigma(s) of what the more recent ones left; the choice is sorted for it.
    StickBreaking,
}

impl Weights {
    /// Brings rows of `top` into the order that weights are made in.
    pub fn order(self, chosen: &mut Chosen, top: usize) {
        if self == Weights::Softmax || top == 0 {
            return;
        }
        let rows = chosen.chunks.chunks_mut(top);
        for (chunks, scores) in rows.zip(chosen.scores.chunks_mut(top)) {
            let mut pairs: Vec<(u32, f32)> =
                (chunks.iter().copied().zip(scores.iter().copied())).collect();
            // NONE, the greatest, stays last.
            pairs.sort_by_key(|&(chunk, _)| std::cmp::Reverse(chunk.wrapping_add(1)));
            for (i, pair) in pairs.into_iter().enumerate() {
                (chunks[i], scores[i]) = pair;
            }
        }
    }

    /// The weights of every row.
    pub fn of(self, chosen: &Chosen, top: usize) -> Vec<f32> {
        let mut weights = vec![0.0; chosen.scores.len()];
        let rows = chosen.scores.chunks(top).zip(chosen.chunks.chunks(top));
        for ((scores, chunks), out) in rows.zip(weights.chunks_mut(top)) {
            let count = chunks.iter().take_while(|&&chunk| chunk != NONE).count();
            let made = self.row(&scores[..count]);
            out.iter_mut().zip(made).for_each(|(w, x)| *w = x as f32);
        }
        weights
    }

    fn row(self, scores: &[f32]) -> Vec<f64> {
        let scores = scores.iter().map(|&s| f64::from(s));
        match self {
            Weights::Softmax => {
                let most = scores.clone().fold(f64::NEG_INFINITY, f64::max);
                let all: Vec<f64> = scores.map(|s| (s - most).exp()).collect();
                let sum: f64 = all.iter().sum();
                all.into_iter().map(|x| x / sum).collect()
            }
            Weights::StickBreaking => {
                let taken = scores.scan(0.0, |left, s| {
                    *left -= softplus(s);
                    Some((s + *left).exp())
                });
                taken.collect()
            }
        }
    }

    /// From the gradients of the weights to those of the scores.
    pub fn backward(self, chosen: &Chosen, top: usize, d_weights: &[f32]) -> Vec<f32> {
        let mut d_scores = vec![0.0; d_weights.len()];
        let rows = chosen.scores.chunks(top).zip(chosen.chunks.chunks(top));
        let rows = rows
            .zip(d_weights.chunks(top))
            .zip(d_scores.chunks_mut(top));
        for (((scores, chunks), d_weights), out) in rows {
            let count = chunks.iter().take_while(|&&chunk| chunk != NONE).count();
            let weights = self.row(&scores[..count]);
            let parts = weights.iter().zip(d_weights);
            let parts: Vec<f64> = parts.map(|(w, &d)| w * f64::from(d)).collect();
            match self {
                Weights::Softmax => {
                    let sum: f64 = parts.iter().sum();
                    for (i, part) in parts.iter().enumerate() {
                        out[i] = (part - weights[i] * sum) as f32;
                    }
                }
                Weights::StickBreaking => {
                    let mut after = 0.0;
                    for i in (0..count).rev() {
                        after += parts[i];
                        let share = 1.0 / (1.0 + (-f64::from(scores[i])).exp());
                        out[i] = (parts[i] - share * after) as f32;
                    }
                }
            }
        }
        d_scores
    }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The landmark of a chunk and head among `blocks`, which are in order.
fn landmark<'a>(blocks: &[Block<'a>], chunk: u32, [one, head, width]: [usize; 3]) -> &'a [f32] {
    let chunk = chunk as usize;
    let block = blocks[blocks.partition_point(|block| block.first <= chunk) - 1];
    let at = (chunk - block.first) * one + head * width;
    &block.landmarks[at..at + width]
}

/// From the gradients of the scores of chosen chunks to those of the queries and of the landmarks of
/// chunks `own` on, `count` of them; the choice itself has none.
pub fn backward(
    queries: &Queries<'_>,
    blocks: &[Block<'_>],
    chosen: &[u32],
    d_scores: &[f32],
    [own, count]: [usize; 2],
) -> (Vec<f32>, Vec<f32>) {
    let Queries {
        heads, width, top, ..
    } = *queries;
    let (one, scale) = (heads * width, 1.0 / (width as f32).sqrt());
    let mut d_queries = vec![0.0; queries.data.len()];
    let mut d_landmarks = vec![0.0; count * one];
    if top == 0 || one == 0 {
        return (d_queries, d_landmarks);
    }
    let picks = chosen.par_chunks(top).zip(d_scores.par_chunks(top));
    let rows = d_queries.par_chunks_mut(width).zip(picks).enumerate();
    rows.for_each(|(at, (d_query, (chunks, d_scores)))| {
        for (&chunk, &d) in chunks.iter().zip(d_scores).filter(|(c, _)| **c != NONE) {
            let landmark = landmark(blocks, chunk, [one, at % heads, width]);
            let pairs = d_query.iter_mut().zip(landmark);
            pairs.for_each(|(sum, l)| *sum += scale * d * l);
        }
    });
    for (at, chunks) in chosen.chunks(top).enumerate() {
        for (i, &chunk) in chunks.iter().enumerate().filter(|(_, c)| **c != NONE) {
            let Some(place) = (chunk as usize).checked_sub(own).filter(|&c| c < count) else {
                continue;
            };
            let factor = scale * d_scores[at * top + i];
            let begin = place * one + at % heads * width;
            let sums = d_landmarks[begin..begin + width].iter_mut();
            let query = &queries.data[at * width..(at + 1) * width];
            sums.zip(query).for_each(|(sum, q)| *sum += factor * q);
        }
    }
    (d_queries, d_landmarks)
}

/// The scores of given chunks, as [`choose`](crate::choose::choose) finds them.
pub fn scores(queries: &Queries<'_>, blocks: &[Block<'_>], chosen: &[u32]) -> Vec<f32> {
    let Queries {
        heads, width, top, ..
    } = *queries;
    let scale = 1.0 / (width as f32).sqrt();
    let mut all = vec![0.0; chosen.len()];
    for (i, &chunk) in chosen.iter().enumerate().filter(|(_, c)| **c != NONE) {
        let at = i / top;
        let query = &queries.data[at * width..(at + 1) * width];
        let landmark = landmark(blocks, chunk, [heads * width, at % heads, width]);
        all[i] = scale * exponential::dot(query, landmark);
    }
    all
}
