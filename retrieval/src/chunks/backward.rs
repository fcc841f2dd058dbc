//! Gradients of attention to chosen chunks.
//!
//! Nothing was kept: the tiles are made again, chunk by chunk, as each sums the gradients of its keys and values in
//! one order. What a tile gives to its queries is kept for a band of rows and then summed by rows, in one order too.

use super::{Attention, Columns, Gradients, Picks, Tile, sized};
use crate::exponential::slopes;
use crate::product::{Matrix, product};
use crate::{NONE, split};
use rayon::prelude::*;
use std::ops::Range;

/// Numbers that are held for the gradient of queries, slot by slot, 16 MiB.
const SHARES: usize = 1 << 22;

impl Attention<'_> {
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
        let mut shares = Vec::new();
        let columns = [self.chunks.keys, self.chunks.values].map(|data| self.columns(data));
        for rows in self.bands() {
            self.by_chunks(arrived, &columns, &rows, &mut shares, &mut found);
            self.by_rows(&rows, &shares, &mut found.queries);
        }
        found
    }

    /// Consecutive rows whose slots' shares of the gradient of queries are held together.
    fn bands(&self) -> Vec<Range<usize>> {
        let each = self.heads.query() * self.picks.top;
        let mut bands: Vec<Range<usize>> = Vec::new();
        for row in 0..self.rows() {
            match bands.last_mut() {
                Some(band) if self.positions(band.start..row + 1) * each <= SHARES => {
                    band.end = row + 1;
                }
                _ => bands.push(row..row + 1),
            }
        }
        bands
    }

    /// What each slot of some rows gives: to keys, values and weights, and to `shares` its part of the gradient of
    /// queries, [positions, query heads of its choosers, d] after one another.
    fn by_chunks(
        &self,
        arrived: &[f32],
        columns: &[Columns; 2],
        rows: &Range<usize>,
        shares: &mut Vec<f32>,
        found: &mut Gradients,
    ) {
        let Picks { heads, top, .. } = self.picks;
        let (width, positions) = (self.heads.width, self.chunks.positions);
        let one = self.one_chunk().max(1);
        let each = heads * top;
        let share = self.heads.query() / heads;
        let slots = rows.start * each..rows.end * each;
        let size = |slot: usize| self.row(slot / each).len() * share;
        let sizes = slots.clone().map(size);
        let parts = split(sized(shares, sizes.clone().sum()), sizes);
        let weights = found.weights[slots.clone()].iter_mut();
        // For each chunk who chose it, in order.
        let mut by: Vec<Vec<_>> = Vec::new();
        by.resize_with(self.count(), Vec::new);
        for ((slot, part), weight) in slots.zip(parts).zip(weights) {
            let chunk = self.picks.chunks[slot];
            if chunk != NONE {
                by[chunk as usize].push((slot, part, weight));
            }
        }
        let keys = found.keys.par_chunks_mut(one);
        let work = keys.zip(found.values.par_chunks_mut(one)).zip(by);
        let work = work.enumerate();
        work.for_each_init(Tile::default, |tile, (chunk, ((d_keys, d_values), by))| {
            for (slot, part, d_weight) in by {
                let among = self.row(slot / each);
                let weight = self.picks.weights[slot];
                let all = match heads {
                    1 => 0..self.heads.keys,
                    _ => slot / top % heads..slot / top % heads + 1,
                };
                let each = among.len() * self.heads.shared() * width;
                let parts = part.chunks_mut(each.max(1));
                for (head, part) in all.zip(parts) {
                    let Tile {
                        queries,
                        arrived: d_out,
                        scores,
                        slopes: gradients,
                        ..
                    } = &mut *tile;
                    let queries = self.tile(self.queries, among.clone(), head, queries);
                    let d_out = self.tile(arrived, among.clone(), head, d_out);
                    let m = queries.size[0];
                    let [turned, values] = columns.each_ref().map(|all| all.of(chunk as u32, head));
                    let apart = turned.row;
                    self.probabilities(queries, turned, scores);
                    let gradients = sized(gradients, m * apart);
                    product(gradients, apart, false, 1.0, d_out, values);

                    let (row, at) = (self.heads.key(), head * width);
                    let p = Matrix::new(scores, [m, positions], apart).transposed();
                    product(&mut d_values[at..], row, true, weight, p, d_out);
                    *d_weight += slopes(scores, gradients, apart, weight);
                    let d_scores = Matrix::new(scores, [m, positions], apart);
                    let scale = self.heads.scale();
                    let d_keys = &mut d_keys[at..];
                    product(d_keys, row, true, scale, d_scores.transposed(), queries);
                    let keys = self.of(self.chunks.keys, chunk as u32, head);
                    product(part, width, false, scale, d_scores, keys);
                }
            }
        });
    }

    /// The gradient of the queries of some rows, a sum over slots in order.
    fn by_rows(&self, rows: &Range<usize>, shares: &[f32], queries: &mut [f32]) {
        let Picks { heads, top, .. } = self.picks;
        let each = self.heads.shared() * self.heads.width;
        let begin = self.picks.starts[rows.start] * self.heads.query();
        let sizes = rows
            .clone()
            .map(|row| self.row(row).len() * self.heads.query());
        let parts = split(&mut queries[begin..], sizes);
        let work = rows.clone().into_par_iter().zip(parts);
        work.for_each_init(Vec::new, |sum, (row, out)| {
            let size = self.row(row).len() * each;
            let first = self.positions(rows.start..row) * self.heads.query() * top;
            for head in 0..self.heads.keys {
                sized(sum, size).fill(0.0);
                for slot in self.choice(row, head)..self.choice(row, head) + top {
                    if self.picks.chunks[slot] == NONE {
                        continue;
                    }
                    // Slots of one chooser have all heads, those of many one each.
                    let before = (slot - row * heads * top) * (self.heads.keys / heads);
                    let own = if heads == 1 { head } else { 0 };
                    let at = first + (before + own) * size;
                    for (sum, x) in sum.iter_mut().zip(&shares[at..at + size]) {
                        *sum += x;
                    }
                }
                self.scatter(sum, 0, head, out);
            }
        });
    }
}
