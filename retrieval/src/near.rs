//! Attention to what is near: a causal window to the left, or all of a short sequence in both directions.
//!
//! Keys and values of the positions before the sequence stand in front of its own, so that a window reaches
//! over a cut; a mark says of each whether it is there. A head may have a slope (ALiBi), which is taken off a
//! score for each position of distance. A tile is some queries against all keys that one of them sees,
//! as much as a window and a block. Backward the tiles are made again: by queries, which finds each row's
//! normaliser too, and by keys.

use crate::exponential::{dot, exponentials, greatest, slopes_from, softmax};
use crate::product::{Matrix, product};
use crate::{Heads, split};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a tile of queries, heads that share keys counted each; keys of a block.
const BLOCK: usize = 64;

/// What queries may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The position itself and so many to its left.
    Left(usize),
    /// Every position of the sequence.
    All,
}

/// What forward and backward are given.
#[derive(Clone, Copy)]
pub struct Near<'a> {
    /// [B, T, Hq, d] in row order.
    pub queries: &'a [f32],
    /// [B, U + T, Hk, d].
    pub keys: &'a [f32],
    /// As the keys.
    pub values: &'a [f32],
    /// B, T and U, the positions before.
    pub sizes: [usize; 3],
    /// Heads.
    pub heads: Heads,
    /// What is seen.
    pub sight: Sight,
    /// [B, U]: whether a position before is there.
    pub there: &'a [bool],
    /// `[Hq]`, taken off for each position of distance.
    pub slopes: Option<&'a [f32]>,
}

/// Gradients of queries, keys and values.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Of the queries.
    pub queries: Vec<f32>,
    /// Of the keys.
    pub keys: Vec<f32>,
    /// Of the values.
    pub values: Vec<f32>,
}

#[derive(Default)]
struct Tile {
    queries: Vec<f32>,
    arrived: Vec<f32>,
    scores: Vec<f32>,
    slopes: Vec<f32>,
    out: Vec<f32>,
}

/// What makes probabilities of a row's scores, and the mean of the gradients that arrive at them.
#[derive(Clone, Copy, Default)]
struct Row {
    log_sum: f32,
    mean: f32,
}

impl Near<'_> {
    fn check(&self) {
        let [batch, time, before] = self.sizes;
        let keys = batch * (before + time) * self.heads.key();
        assert_eq!(self.queries.len(), batch * time * self.heads.query());
        assert_eq!([self.keys.len(), self.values.len()], [keys; 2]);
        assert_eq!(self.there.len(), batch * before);
        assert!(before == 0 || self.sight != Sight::All);
        let slopes = self.slopes.map_or(self.heads.queries, <[f32]>::len);
        assert_eq!(slopes, self.heads.queries, "slopes of heads");
    }

    /// Positions of a block of queries.
    fn step(&self) -> usize {
        (BLOCK / self.heads.shared()).max(1)
    }

    /// Places, the positions before counted, that queries `range` see.
    fn seen(&self, range: &Range<usize>) -> Range<usize> {
        let [_, time, before] = self.sizes;
        match self.sight {
            Sight::All => 0..time,
            Sight::Left(left) => {
                let (first, last) = (before + range.start, before + range.end);
                first.saturating_sub(left)..last
            }
        }
    }

    /// Queries that see places `range`.
    fn seeing(&self, range: &Range<usize>) -> Range<usize> {
        let [_, time, before] = self.sizes;
        match self.sight {
            Sight::All => 0..time,
            Sight::Left(left) => {
                let first = range.start.saturating_sub(before);
                let last = (range.end + left).saturating_sub(before).min(time);
                first..last.max(first)
            }
        }
    }

    fn matrix<'a>(
        &self,
        data: &'a [f32],
        sequence: usize,
        places: &Range<usize>,
        head: usize,
    ) -> Matrix<'a> {
        let [_, time, before] = self.sizes;
        let first = sequence * (before + time) + places.start;
        let begin = first * self.heads.key() + head * self.heads.width;
        let size = [places.len(), self.heads.width];
        Matrix::new(&data[begin..], size, self.heads.key())
    }

    /// What lies at some positions and the query heads of a key head, [M, d].
    fn gather(
        &self,
        from: &[f32],
        sequence: usize,
        positions: &Range<usize>,
        head: usize,
        out: &mut Vec<f32>,
    ) {
        let shared = self.heads.shared() * self.heads.width;
        out.clear();
        for position in positions.clone() {
            let at = sequence * self.sizes[1] + position;
            let begin = at * self.heads.query() + head * shared;
            out.extend_from_slice(&from[begin..begin + shared]);
        }
    }

    /// Scores [M, N] of gathered queries on places, minus infinity where one is not seen.
    fn scores(
        &self,
        queries: &[f32],
        [sequence, head]: [usize; 2],
        positions: &Range<usize>,
        places: &Range<usize>,
        scores: &mut Vec<f32>,
    ) {
        let [_, _, before] = self.sizes;
        let (width, shared, count) = (self.heads.width, self.heads.shared(), places.len());
        scores.resize(positions.len() * shared * count, 0.0);
        let queries = Matrix::new(queries, [positions.len() * shared, width], width);
        let keys = self.matrix(self.keys, sequence, places, head).transposed();
        product(scores, count, false, self.heads.scale(), queries, keys);
        let there = &self.there[sequence * before..(sequence + 1) * before];
        for (i, row) in scores.chunks_mut(count).enumerate() {
            let position = before + positions.start + i / shared;
            if let Some(slopes) = self.slopes {
                let slope = slopes[head * shared + i % shared];
                for (place, score) in places.clone().zip(&mut *row) {
                    *score -= slope * position.abs_diff(place) as f32;
                }
            }
            if let Sight::Left(left) = self.sight {
                let inside = position.saturating_sub(left)..position + 1;
                let at = |place: usize| place.clamp(places.start, places.end) - places.start;
                row[..at(inside.start)].fill(f32::NEG_INFINITY);
                row[at(inside.end)..].fill(f32::NEG_INFINITY);
                for place in places.start..before.min(places.end) {
                    if !there[place] {
                        row[place - places.start] = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }

    /// Blocks of positions, each with its sequence.
    fn blocks(&self, length: usize, step: usize) -> Vec<(usize, Range<usize>)> {
        let each = (0..length)
            .step_by(step.max(1))
            .map(move |from| from..length.min(from + step));
        let all = (0..self.sizes[0]).flat_map(|b| each.clone().map(move |range| (b, range)));
        all.collect()
    }

    fn scatter(&self, tile: &[f32], head: usize, out: &mut [f32]) {
        let shared = self.heads.shared() * self.heads.width;
        let positions = out.chunks_mut(self.heads.query());
        for (out, part) in positions.zip(tile.chunks(shared)) {
            out[head * shared..(head + 1) * shared].copy_from_slice(part);
        }
    }

    /// The outputs, [B, T, Hq, d].
    pub fn forward(&self) -> Vec<f32> {
        self.check();
        let (width, query) = (self.heads.width, self.heads.query());
        let mut out = vec![0.0; self.queries.len()];
        let blocks = self.blocks(self.sizes[1], self.step());
        let parts = split(
            &mut out,
            blocks.iter().map(|(_, range)| range.len() * query),
        );
        let work = blocks.into_par_iter().zip(parts);
        work.for_each_init(Tile::default, |tile, ((sequence, positions), out)| {
            let places = self.seen(&positions);
            for head in 0..self.heads.keys {
                self.gather(self.queries, sequence, &positions, head, &mut tile.queries);
                let at = [sequence, head];
                self.scores(&tile.queries, at, &positions, &places, &mut tile.scores);
                softmax(&mut tile.scores, places.len(), places.len(), false);
                let m = tile.queries.len() / width;
                tile.out.resize(m * width, 0.0);
                let p = Matrix::new(&tile.scores, [m, places.len()], places.len());
                let values = self.matrix(self.values, sequence, &places, head);
                product(&mut tile.out, width, false, 1.0, p, values);
                self.scatter(&tile.out, head, out);
            }
        });
        out
    }

    /// Gradients from `arrived`, that of the outputs.
    pub fn backward(&self, arrived: &[f32]) -> Gradients {
        self.check();
        assert_eq!(arrived.len(), self.queries.len(), "a gradient of outputs");
        let mut found = Gradients {
            queries: vec![0.0; self.queries.len()],
            keys: vec![0.0; self.keys.len()],
            values: vec![0.0; self.values.len()],
        };
        let rows = self.by_queries(arrived, &mut found.queries);
        self.by_keys(arrived, &rows, &mut found);
        found
    }

    /// Gradients of the queries; what [`by_keys`](Self::by_keys) needs of each row, [B, T, Hq].
    fn by_queries(&self, arrived: &[f32], d_queries: &mut [f32]) -> Vec<Row> {
        let (width, query, shared) = (self.heads.width, self.heads.query(), self.heads.shared());
        let heads = self.heads.queries;
        let mut rows = vec![Row::default(); self.queries.len() / width.max(1)];
        let blocks = self.blocks(self.sizes[1], self.step());
        let parts = split(
            d_queries,
            blocks.iter().map(|(_, range)| range.len() * query),
        );
        let own = split(
            &mut rows,
            blocks.iter().map(|(_, range)| range.len() * heads),
        );
        let work = blocks.into_par_iter().zip(parts).zip(own);
        work.for_each_init(
            Tile::default,
            |tile, (((sequence, positions), out), rows)| {
                let places = self.seen(&positions);
                let count = places.len();
                for head in 0..self.heads.keys {
                    self.gather(self.queries, sequence, &positions, head, &mut tile.queries);
                    self.gather(arrived, sequence, &positions, head, &mut tile.arrived);
                    let at = [sequence, head];
                    self.scores(&tile.queries, at, &positions, &places, &mut tile.scores);
                    self.reach(tile, sequence, &places, head);
                    let m = tile.queries.len() / width;
                    let pairs = tile.scores.chunks_mut(count).zip(tile.slopes.chunks(count));
                    for (i, (p, g)) in pairs.enumerate() {
                        let from = greatest(p, f32::NEG_INFINITY);
                        let sum = exponentials(p, from);
                        p.iter_mut().for_each(|x| *x /= sum);
                        let mean = dot(p, g);
                        slopes_from(p, g, mean);
                        rows[i / shared * heads + head * shared + i % shared] = Row {
                            log_sum: from + sum.ln(),
                            mean,
                        };
                    }
                    tile.out.resize(m * width, 0.0);
                    let d_scores = Matrix::new(&tile.scores, [m, count], count);
                    let keys = self.matrix(self.keys, sequence, &places, head);
                    product(
                        &mut tile.out,
                        width,
                        false,
                        self.heads.scale(),
                        d_scores,
                        keys,
                    );
                    self.scatter(&tile.out, head, out);
                }
            },
        );
        rows
    }

    /// What arrives at the probabilities of a tile, [M, N].
    fn reach(&self, tile: &mut Tile, sequence: usize, places: &Range<usize>, head: usize) {
        let width = self.heads.width;
        let arrived = Matrix::new(&tile.arrived, [tile.arrived.len() / width, width], width);
        let values = self
            .matrix(self.values, sequence, places, head)
            .transposed();
        tile.slopes.resize(arrived.size[0] * places.len(), 0.0);
        product(&mut tile.slopes, places.len(), false, 1.0, arrived, values);
    }

    fn by_keys(&self, arrived: &[f32], rows: &[Row], found: &mut Gradients) {
        let (width, key, shared) = (self.heads.width, self.heads.key(), self.heads.shared());
        let [_, time, before] = self.sizes;
        let blocks = self.blocks(before + time, BLOCK);
        let sizes = || blocks.iter().map(|(_, range)| range.len() * key);
        let keys = split(&mut found.keys, sizes());
        let values = split(&mut found.values, sizes());
        let work = blocks.par_iter().zip(keys).zip(values);
        work.for_each_init(
            Tile::default,
            |tile, (((sequence, places), d_keys), d_values)| {
                let (sequence, count) = (*sequence, places.len());
                let seeing = self.seeing(places);
                for from in seeing.clone().step_by(self.step()) {
                    let positions = from..seeing.end.min(from + self.step());
                    for head in 0..self.heads.keys {
                        self.gather(self.queries, sequence, &positions, head, &mut tile.queries);
                        self.gather(arrived, sequence, &positions, head, &mut tile.arrived);
                        let at = [sequence, head];
                        self.scores(&tile.queries, at, &positions, places, &mut tile.scores);
                        self.reach(tile, sequence, places, head);
                        let row = |i: usize| {
                            let at = sequence * time + from + i / shared;
                            rows[at * self.heads.queries + head * shared + i % shared]
                        };
                        let m = positions.len() * shared;
                        for (i, p) in tile.scores.chunks_mut(count).enumerate() {
                            exponentials(p, row(i).log_sum);
                        }
                        let begin = head * width;
                        let p = Matrix::new(&tile.scores, [m, count], count).transposed();
                        let d_out = Matrix::new(&tile.arrived, [m, width], width);
                        product(&mut d_values[begin..], key, true, 1.0, p, d_out);
                        let pairs = tile.scores.chunks_mut(count).zip(tile.slopes.chunks(count));
                        for (i, (p, g)) in pairs.enumerate() {
                            slopes_from(p, g, row(i).mean);
                        }
                        let d_scores = Matrix::new(&tile.scores, [m, count], count).transposed();
                        let queries = Matrix::new(&tile.queries, [m, width], width);
                        let scale = self.heads.scale();
                        product(&mut d_keys[begin..], key, true, scale, d_scores, queries);
                    }
                }
            },
        );
    }
}
