//! Attention to chosen chunks: `o = sum over j of w_j softmax_n(q K_j' / sqrt(d)) V_j`.
//!
//! Positions come in *rows* that share a choice: the positions of a chunk, or one position each. A tile is
//! the queries of a row that share a key head against one chosen chunk, gathered from where it lies; its
//! scores are in a buffer of the task and nowhere else. `softmax_n` has n = 0 or 1 added to its
//! denominator.
//!
//! Backward nothing was kept: the tiles are made again, once by rows for queries and weights, once by chunks for
//! keys and values, so that each number is summed by one task in one order.

use crate::exponential::{dot, slopes, softmax};
use crate::product::{Matrix, product};
use crate::{Heads, NONE, split};
use rayon::prelude::*;
use std::ops::Range;

/// Positions that a task has at least, where a row has fewer.
const POSITIONS: usize = 64;

/// Chunks to attend to.
#[derive(Clone, Copy)]
pub struct Chunks<'a> {
    /// [N, S, Hk, d] in row order.
    pub keys: &'a [f32],
    /// As the keys.
    pub values: &'a [f32],
    /// S.
    pub positions: usize,
}

/// Which chunks each row attends to.
#[derive(Clone, Copy)]
pub struct Picks<'a> {
    /// Where rows begin among the positions, and where the last ends.
    pub starts: &'a [usize],
    /// H, 1 or one for each key head.
    pub heads: usize,
    /// K.
    pub top: usize,
    /// [R, H, K], numbers among the chunks or [`NONE`].
    pub chunks: &'a [u32],
    /// [R, H, K].
    pub weights: &'a [f32],
}

/// Gradients of everything that is given.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// Of the queries.
    pub queries: Vec<f32>,
    /// Of the keys.
    pub keys: Vec<f32>,
    /// Of the values.
    pub values: Vec<f32>,
    /// Of the weights; zero where nothing was chosen.
    pub weights: Vec<f32>,
}

/// What forward and backward are given.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// [P, Hq, d] in row order.
    pub queries: &'a [f32],
    /// Their sizes.
    pub heads: Heads,
    /// What is attended to.
    pub chunks: Chunks<'a>,
    /// By which rows.
    pub picks: Picks<'a>,
    /// Whether one is added to each chunk's denominator.
    pub one: bool,
}

/// Buffers of a task.
#[derive(Default)]
struct Tile {
    queries: Vec<f32>,
    arrived: Vec<f32>,
    out: Vec<f32>,
    scores: Vec<f32>,
    slopes: Vec<f32>,
}

fn sized(buffer: &mut Vec<f32>, size: usize) -> &mut [f32] {
    buffer.resize(size, 0.0);
    buffer
}

impl Attention<'_> {
    fn check(&self) {
        let Picks {
            starts,
            heads,
            top,
            chunks,
            weights,
        } = self.picks;
        let count = starts.len().saturating_sub(1) * heads * top;
        assert_eq!([chunks.len(), weights.len()], [count; 2], "picks of rows");
        assert!(heads == 1 || heads == self.heads.keys, "heads that choose");
        let last = starts.last().map_or(0, |&last| last);
        assert_eq!(self.queries.len(), last * self.heads.query(), "queries");
        assert_eq!(self.chunks.keys.len(), self.chunks.values.len());
        assert_eq!(self.chunks.keys.len() % self.one_chunk().max(1), 0);
    }

    fn one_chunk(&self) -> usize {
        self.chunks.positions * self.heads.key()
    }

    /// Number of chunks.
    fn count(&self) -> usize {
        self.chunks.keys.len() / self.one_chunk().max(1)
    }

    fn rows(&self) -> usize {
        self.picks.starts.len().saturating_sub(1)
    }

    fn row(&self, row: usize) -> Range<usize> {
        self.picks.starts[row]..self.picks.starts[row + 1]
    }

    /// Where the choices of a row and key head begin.
    fn choice(&self, row: usize, head: usize) -> usize {
        (row * self.picks.heads + head.min(self.picks.heads - 1)) * self.picks.top
    }

    /// Keys, or values, of one chunk and head, [S, d].
    fn of<'a>(&self, data: &'a [f32], chunk: u32, head: usize) -> Matrix<'a> {
        let Heads { width, .. } = self.heads;
        let begin = chunk as usize * self.one_chunk() + head * width;
        let size = [self.chunks.positions, width];
        Matrix::new(&data[begin..], size, self.heads.key())
    }

    /// What lies at the positions of a row and the query heads of a key head, [M, d].
    fn gather(&self, from: &[f32], positions: Range<usize>, head: usize, out: &mut Vec<f32>) {
        let shared = self.heads.shared() * self.heads.width;
        out.clear();
        for position in positions {
            let begin = position * self.heads.query() + head * shared;
            out.extend_from_slice(&from[begin..begin + shared]);
        }
    }

    /// Probabilities [M, S] of the gathered queries on a chunk.
    fn probabilities(&self, queries: &[f32], chunk: u32, head: usize, scores: &mut Vec<f32>) {
        let (width, positions) = (self.heads.width, self.chunks.positions);
        let queries = Matrix::new(queries, [queries.len() / width, width], width);
        let scores = sized(scores, queries.size[0] * positions);
        let keys = self.of(self.chunks.keys, chunk, head).transposed();
        let scale = self.heads.scale();
        product(scores, positions, false, scale, queries, keys);
        for row in scores.chunks_mut(positions) {
            softmax(row, self.one);
        }
    }

    /// Consecutive rows for each task.
    fn tasks(&self) -> Vec<Range<usize>> {
        let mut tasks = Vec::new();
        let mut from = 0;
        for row in 0..self.rows() {
            if self.picks.starts[row + 1] - self.picks.starts[from] >= POSITIONS {
                tasks.push(from..row + 1);
                from = row + 1;
            }
        }
        if from < self.rows() {
            tasks.push(from..self.rows());
        }
        tasks
    }

    /// Numbers of the positions of some rows, one slice for each task.
    fn split<'a>(&self, tasks: &[Range<usize>], all: &'a mut [f32]) -> Vec<&'a mut [f32]> {
        let positions =
            |rows: &Range<usize>| self.picks.starts[rows.end] - self.picks.starts[rows.start];
        let sizes = tasks.iter().map(positions);
        split(all, sizes.map(|positions| positions * self.heads.query()))
    }

    /// Puts [M, d] of a row and head to where it lies in the task's positions.
    fn scatter(&self, tile: &[f32], at: usize, head: usize, out: &mut [f32]) {
        let shared = self.heads.shared() * self.heads.width;
        for (i, part) in tile.chunks(shared).enumerate() {
            let begin = (at + i) * self.heads.query() + head * shared;
            out[begin..begin + shared].copy_from_slice(part);
        }
    }

    /// The outputs, [P, Hq, d].
    pub fn forward(&self) -> Vec<f32> {
        self.check();
        let mut out = vec![0.0; self.queries.len()];
        let tasks = self.tasks();
        let parts = self.split(&tasks, &mut out);
        let work = tasks.par_iter().zip(parts);
        work.for_each_init(Tile::default, |tile, (rows, out)| {
            let first = self.picks.starts[rows.start];
            for row in rows.clone() {
                for head in 0..self.heads.keys {
                    self.forward_row(row, head, tile);
                    let at = self.picks.starts[row] - first;
                    self.scatter(&tile.out, at, head, out);
                }
            }
        });
        out
    }

    fn forward_row(&self, row: usize, head: usize, tile: &mut Tile) {
        let (width, positions) = (self.heads.width, self.chunks.positions);
        self.gather(self.queries, self.row(row), head, &mut tile.queries);
        let size = tile.queries.len();
        sized(&mut tile.out, size).fill(0.0);
        let begin = self.choice(row, head);
        for slot in begin..begin + self.picks.top {
            let chunk = self.picks.chunks[slot];
            if chunk == NONE {
                continue;
            }
            self.probabilities(&tile.queries, chunk, head, &mut tile.scores);
            let p = Matrix::new(&tile.scores, [size / width, positions], positions);
            let values = self.of(self.chunks.values, chunk, head);
            let weight = self.picks.weights[slot];
            product(&mut tile.out, width, true, weight, p, values);
        }
    }

    /// Gradients from `arrived`, that of the outputs.
    pub fn backward(&self, arrived: &[f32]) -> Gradients {
        self.check();
        assert_eq!(arrived.len(), self.queries.len(), "a gradient of outputs");
        let mut found = Gradients {
            queries: vec![0.0; self.queries.len()],
            keys: vec![0.0; self.chunks.keys.len()],
            values: vec![0.0; self.chunks.values.len()],
            weights: vec![0.0; self.picks.weights.len()],
        };
        self.by_rows(arrived, &mut found);
        self.by_chunks(arrived, &mut found);
        found
    }

    /// Makes the probabilities of a tile and the gradients [M, S] that arrive at them before weights.
    fn again(&self, tile: &mut Tile, chunk: u32, head: usize) {
        let (width, positions) = (self.heads.width, self.chunks.positions);
        self.probabilities(&tile.queries, chunk, head, &mut tile.scores);
        let arrived = Matrix::new(&tile.arrived, [tile.arrived.len() / width, width], width);
        let values = self.of(self.chunks.values, chunk, head).transposed();
        let slopes = sized(&mut tile.slopes, arrived.size[0] * positions);
        product(slopes, positions, false, 1.0, arrived, values);
    }

    fn by_rows(&self, arrived: &[f32], found: &mut Gradients) {
        let (width, positions) = (self.heads.width, self.chunks.positions);
        let tasks = self.tasks();
        let each = self.picks.heads * self.picks.top;
        let weights = split(
            &mut found.weights,
            tasks.iter().map(|rows| rows.len() * each),
        );
        let parts = self.split(&tasks, &mut found.queries);
        let work = tasks.par_iter().zip(parts).zip(weights);
        work.for_each_init(Tile::default, |tile, ((rows, queries), weights)| {
            let first = self.picks.starts[rows.start];
            for (row, head) in rows
                .clone()
                .flat_map(|row| (0..self.heads.keys).map(move |head| (row, head)))
            {
                self.gather(self.queries, self.row(row), head, &mut tile.queries);
                self.gather(arrived, self.row(row), head, &mut tile.arrived);
                let size = tile.queries.len();
                sized(&mut tile.out, size).fill(0.0);
                let begin = self.choice(row, head);
                for slot in begin..begin + self.picks.top {
                    let chunk = self.picks.chunks[slot];
                    if chunk == NONE {
                        continue;
                    }
                    self.again(tile, chunk, head);
                    let weight = self.picks.weights[slot];
                    let mut sum = 0.0;
                    let pairs = tile.scores.chunks_mut(positions);
                    for (p, g) in pairs.zip(tile.slopes.chunks(positions)) {
                        let mean = dot(p, g);
                        sum += mean;
                        slopes(p, g, mean, weight);
                    }
                    weights[slot - rows.start * each] += sum;
                    let d_scores = Matrix::new(&tile.scores, [size / width, positions], positions);
                    let keys = self.of(self.chunks.keys, chunk, head);
                    let scale = self.heads.scale();
                    product(&mut tile.out, width, true, scale, d_scores, keys);
                }
                self.scatter(&tile.out, self.picks.starts[row] - first, head, queries);
            }
        });
    }

    fn by_chunks(&self, arrived: &[f32], found: &mut Gradients) {
        let (width, positions, one) = (
            self.heads.width,
            self.chunks.positions,
            self.one_chunk().max(1),
        );
        let Picks { heads, top, .. } = self.picks;
        // For each chunk who chose it, in order: row, head among those that choose, slot.
        let mut by: Vec<Vec<(usize, usize, usize)>> = vec![Vec::new(); self.count()];
        for (slot, &chunk) in self.picks.chunks.iter().enumerate() {
            if chunk != NONE {
                by[chunk as usize].push((slot / (heads * top), slot / top % heads, slot));
            }
        }
        let keys = found.keys.par_chunks_mut(one);
        let work = keys.zip(found.values.par_chunks_mut(one)).zip(by);
        let work = work.enumerate();
        work.for_each_init(Tile::default, |tile, (chunk, ((d_keys, d_values), by))| {
            for (row, chooser, slot) in by {
                let all = match heads {
                    1 => 0..self.heads.keys,
                    _ => chooser..chooser + 1,
                };
                for head in all {
                    self.gather(self.queries, self.row(row), head, &mut tile.queries);
                    self.gather(arrived, self.row(row), head, &mut tile.arrived);
                    self.again(tile, chunk as u32, head);
                    let m = tile.queries.len() / width;
                    let p = Matrix::new(&tile.scores, [m, positions], positions);
                    let weight = self.picks.weights[slot];
                    let d_out = Matrix::new(&tile.arrived, [m, width], width);
                    let (row, at) = (self.heads.key(), head * width);
                    product(
                        &mut d_values[at..],
                        row,
                        true,
                        weight,
                        p.transposed(),
                        d_out,
                    );
                    let pairs = tile.scores.chunks_mut(positions);
                    for (p, g) in pairs.zip(tile.slopes.chunks(positions)) {
                        let mean = dot(p, g);
                        slopes(p, g, mean, weight);
                    }
                    let d_scores = Matrix::new(&tile.scores, [m, positions], positions);
                    let queries = Matrix::new(&tile.queries, [m, width], width);
                    let scale = self.heads.scale();
                    product(
                        &mut d_keys[at..],
                        row,
                        true,
                        scale,
                        d_scores.transposed(),
                        queries,
                    );
                }
            }
        });
    }
}
