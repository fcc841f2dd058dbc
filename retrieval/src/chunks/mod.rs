//! Attention to chosen chunks: `o = sum over j of w_j softmax_n(q K_j' / sqrt(d)) V_j`.
//!
//! Positions come in *rows* that share a choice: the positions of a chunk, or one position each. A tile is
//! the queries of a row that share a key head against one chosen chunk, gathered from where it lies; its
//! scores are in a buffer of the task and nowhere else. `softmax_n` has n = 0 or 1 added to its
//! denominator.

mod backward;

use crate::exponential::{LANES, softmax};
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

/// Chunks' keys or values turned, [N, Hk, d, S], rows a full number of lanes apart.
struct Columns {
    data: Vec<f32>,
    size: [usize; 2],
    heads: usize,
}

impl Columns {
    /// Those of a chunk and head.
    fn of(&self, chunk: u32, head: usize) -> Matrix<'_> {
        let [width, apart] = self.size;
        let at = chunk as usize * self.heads + head;
        Matrix::new(&self.data[at * width * apart..], self.size, apart)
    }
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

    /// Number of positions of some rows.
    fn positions(&self, rows: Range<usize>) -> usize {
        self.picks.starts[rows.end] - self.picks.starts[rows.start]
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

    /// Keys, or values, of every chunk and head as [d, S], which products with queries read without turning them each time.
    fn columns(&self, data: &[f32]) -> Columns {
        let (width, positions) = (self.heads.width, self.chunks.positions);
        let apart = positions.next_multiple_of(LANES);
        let mut turned = vec![0.0; self.count() * self.heads.keys * width * apart];
        let parts = turned.par_chunks_mut((width * apart).max(1)).enumerate();
        parts.for_each(|(at, part)| {
            let (chunk, head) = (at / self.heads.keys, at % self.heads.keys);
            let from = self.of(data, chunk as u32, head);
            for (i, column) in part.chunks_mut(apart).enumerate() {
                let numbers = from.data[i..].iter().step_by(from.row);
                column
                    .iter_mut()
                    .zip(numbers.take(positions))
                    .for_each(|(out, x)| *out = *x);
            }
        });
        Columns {
            data: turned,
            size: [width, apart],
            heads: self.heads.keys,
        }
    }

    /// What lies at the positions of a row and the query heads of a key head, [M, d]: where it lies if that is one
    /// matrix, or else gathered.
    fn tile<'a>(
        &self,
        from: &'a [f32],
        positions: Range<usize>,
        head: usize,
        gathered: &'a mut Vec<f32>,
    ) -> Matrix<'a> {
        let (width, shared) = (self.heads.width, self.heads.shared());
        let begin = |position: usize| position * self.heads.query() + head * shared * width;
        let size = [positions.len() * shared, width];
        if shared == 1 || positions.len() == 1 {
            let row = if shared == 1 {
                self.heads.query()
            } else {
                width
            };
            let data = from.get(begin(positions.start)..).unwrap_or_default();
            return Matrix::new(data, size, row);
        }
        gathered.clear();
        for position in positions {
            let begin = begin(position);
            gathered.extend_from_slice(&from[begin..begin + shared * width]);
        }
        Matrix::new(gathered, size, width)
    }

    /// Probabilities [M, S] of a tile of queries on a chunk, rows apart as its columns are, with zeros between.
    fn probabilities(&self, queries: Matrix<'_>, keys: Matrix<'_>, scores: &mut Vec<f32>) {
        let [_, apart] = keys.size;
        let scores = sized(scores, queries.size[0] * apart);
        product(scores, apart, false, self.heads.scale(), queries, keys);
        softmax(scores, self.chunks.positions, apart, self.one);
    }

    /// Consecutive rows for each task.
    fn tasks(&self) -> Vec<Range<usize>> {
        let mut tasks = Vec::new();
        let mut from = 0;
        for row in 0..self.rows() {
            if self.positions(from..row + 1) >= POSITIONS {
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
        let sizes = tasks.iter().map(|rows| self.positions(rows.clone()));
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
        let keys = self.columns(self.chunks.keys);
        let work = tasks.par_iter().zip(parts);
        work.for_each_init(Tile::default, |tile, (rows, out)| {
            let first = self.picks.starts[rows.start];
            for row in rows.clone() {
                for head in 0..self.heads.keys {
                    self.forward_row(row, head, &keys, tile);
                    let at = self.picks.starts[row] - first;
                    self.scatter(&tile.out, at, head, out);
                }
            }
        });
        out
    }

    fn forward_row(&self, row: usize, head: usize, keys: &Columns, tile: &mut Tile) {
        let Tile {
            queries,
            out,
            scores,
            ..
        } = tile;
        let queries = self.tile(self.queries, self.row(row), head, queries);
        let [m, width] = queries.size;
        sized(out, m * width).fill(0.0);
        let begin = self.choice(row, head);
        for slot in begin..begin + self.picks.top {
            let chunk = self.picks.chunks[slot];
            if chunk == NONE {
                continue;
            }
            let keys = keys.of(chunk, head);
            self.probabilities(queries, keys, scores);
            let p = Matrix::new(scores, [m, self.chunks.positions], keys.row);
            let values = self.of(self.chunks.values, chunk, head);
            product(out, width, true, self.picks.weights[slot], p, values);
        }
    }
}
