//! The best few landmarks for each query: a blocked product, and the exact best of every row.
//!
//! Better is a greater score, and of equal ones the earlier chunk: an order without ties, so the lists
//! of different blocks merge to the same choice whatever the blocks and threads were. Noise is added
//! for the choice alone; the scores that are returned are without it. A score that is not a number is
//! never chosen.

use crate::NONE;
use crate::exponential::greatest;
use crate::product::{Matrix, product};
use rayon::prelude::*;

/// Landmarks of a block.
const COLUMNS: usize = 512;
/// Queries of a block.
const ROWS: usize = 64;
/// Scores looked at together.
const GROUP: usize = 64;

/// The queries of one text, and what they are scored by.
#[derive(Clone, Copy)]
pub struct Queries<'a> {
    /// [R, H, W] in row order.
    pub data: &'a [f32],
    /// H, heads that choose each for itself.
    pub heads: usize,
    /// W.
    pub width: usize,
    /// For each row how many of the first chunks it may choose from.
    pub visible: &'a [usize],
    /// The most chunks that a row chooses.
    pub top: usize,
    /// Added to scores for the choice.
    pub noise: Option<Noise>,
}

/// Gumbel noise, a function of where it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Of the text and the moment.
    pub seed: u64,
}

impl Noise {
    /// -log(-log u) for a number u of the row, head and chunk.
    pub fn at(&self, row: usize, head: usize, chunk: usize) -> f32 {
        let place = [row as u64, head as u64, chunk as u64];
        let bits = place.iter().fold(self.seed, |state, word| {
            // The finalizer of SplitMix64.
            let z = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        let u = ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -(-u.ln()).ln() as f32
    }
}

/// What was chosen, [R, H, K] in row order, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// Chunks; [`NONE`] where fewer were visible.
    pub chunks: Vec<u32>,
    /// Their scores without noise; zero where there is none.
    pub scores: Vec<f32>,
}

/// Some landmarks, [C, H, W], of which the first is that of chunk `first`.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// The number of the first.
    pub first: usize,
    /// In row order.
    pub landmarks: &'a [f32],
}

/// A candidate: what it is compared by, its score, its chunk.
type Candidate = (f32, f32, u32);

/// A list of the best so far, best first.
struct Best {
    top: usize,
    found: Vec<Candidate>,
}

impl Best {
    /// What a later chunk has to exceed.
    fn least(&self) -> f32 {
        match self.found.get(self.top - 1) {
            Some(last) => last.0,
            None => f32::NEG_INFINITY,
        }
    }

    fn take(&mut self, candidate: Candidate) {
        let better = |other: &Candidate| {
            other.0 > candidate.0 || (other.0 == candidate.0 && other.2 < candidate.2)
        };
        let place = self.found.partition_point(better);
        if place < self.top {
            self.found.truncate(self.top - 1);
            self.found.insert(place, candidate);
        }
    }
}

/// For every row and head its best chunks among `blocks`.
pub fn choose(queries: &Queries<'_>, blocks: &[Block<'_>]) -> Chosen {
    let Queries {
        heads, width, top, ..
    } = *queries;
    let (rows, one) = (queries.visible.len(), heads * width);
    assert_eq!(queries.data.len(), rows * one, "queries of {rows} rows");
    let count = rows * heads * top;
    let mut chosen = Chosen {
        chunks: vec![NONE; count],
        scores: vec![0.0; count],
    };
    if count == 0 {
        return chosen;
    }
    let pieces = blocks.iter().flat_map(|block| {
        let parts = block.landmarks.chunks(COLUMNS * one).enumerate();
        parts.map(move |(i, landmarks)| Block {
            first: block.first + i * COLUMNS,
            landmarks,
        })
    });
    let pieces: Vec<Block<'_>> = pieces.collect();
    let seen = |from: usize| queries.visible[from..rows.min(from + ROWS)].iter().max();
    let tasks: Vec<(usize, Block<'_>)> = (0..rows)
        .step_by(ROWS)
        .flat_map(|from| {
            let seen = seen(from).copied().unwrap_or(0);
            let reached = pieces.iter().filter(move |piece| piece.first < seen);
            reached.map(move |piece| (from, *piece))
        })
        .collect();
    let found: Vec<Vec<Vec<Candidate>>> = tasks
        .par_iter()
        .map(|&(from, piece)| tile(queries, from, piece))
        .collect();
    let mut best: Vec<Best> = Vec::new();
    best.resize_with(rows * heads, || Best {
        top,
        found: Vec::with_capacity(top + 1),
    });
    for ((from, _), lists) in tasks.iter().zip(found) {
        for (best, list) in best[from * heads..].iter_mut().zip(lists) {
            list.into_iter().for_each(|candidate| best.take(candidate));
        }
    }
    let slots = chosen
        .chunks
        .chunks_mut(top)
        .zip(chosen.scores.chunks_mut(top));
    for ((chunks, scores), best) in slots.zip(best) {
        for (i, (_, score, chunk)) in best.found.into_iter().enumerate() {
            (chunks[i], scores[i]) = (chunk, score);
        }
    }
    chosen
}

/// The best of one block for some rows, a list for each row and head.
fn tile(queries: &Queries<'_>, from: usize, block: Block<'_>) -> Vec<Vec<Candidate>> {
    let Queries {
        heads, width, top, ..
    } = *queries;
    let one = heads * width;
    let rows = ROWS.min(queries.visible.len() - from);
    let columns = block.landmarks.len() / one;
    let scale = 1.0 / (width as f32).sqrt();
    let mut scores = vec![0.0; rows * columns];
    let mut found = vec![Vec::new(); rows * heads];
    for head in 0..heads {
        let a = Matrix::new(
            &queries.data[from * one + head * width..],
            [rows, width],
            one,
        );
        let b = Matrix::new(&block.landmarks[head * width..], [columns, width], one);
        product(&mut scores, columns, false, scale, a, b.transposed());
        for (row, scores) in scores.chunks(columns).enumerate() {
            let visible = queries.visible[from + row].saturating_sub(block.first);
            let scores = &scores[..columns.min(visible)];
            let mut best = Best {
                top,
                found: Vec::with_capacity(top + 1),
            };
            let chunk = |at: usize| block.first + at;
            if let Some(noise) = queries.noise {
                for (at, &score) in scores.iter().enumerate().filter(|(_, s)| !s.is_nan()) {
                    let by = score + noise.at(from + row, head, chunk(at));
                    best.take((by, score, chunk(at) as u32));
                }
            } else {
                for (group, scores) in scores.chunks(GROUP).enumerate() {
                    let full = best.found.len() == top;
                    if full && greatest(scores, f32::NEG_INFINITY) <= best.least() {
                        continue;
                    }
                    for (at, &score) in scores.iter().enumerate() {
                        if score > best.least() || (best.found.len() < top && !score.is_nan()) {
                            best.take((score, score, chunk(group * GROUP + at) as u32));
                        }
                    }
                }
            }
            found[row * heads + head] = best.found;
        }
    }
    found
}
