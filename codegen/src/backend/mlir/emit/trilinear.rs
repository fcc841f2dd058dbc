//! The levels of a trilinear form, on tensor cores.
//!
//! [`levels`](super::super::levels) says how the form falls apart into products under masks. At a
//! level whose halves lie within 16 rows, only pairs within one block of 16 part, so its products
//! run over those blocks alone.

use super::super::layout::Side;
use super::super::levels::{Trilinear, half};
use super::channel::Beyond;
use super::matmul::Source;
use super::*;
use baton_ir::chunked::Partial;

impl Machine<'_> {
    /// What the planes of one side of a level hold.
    pub(super) fn level_values(
        &mut self,
        tile: TileId,
        op: TileId,
        level: u32,
        side: Side,
    ) -> Vec<Val> {
        let values = self.held[&(tile, Form::Fragment)].clone();
        let trilinear = Trilinear::of(self.program, op).expect("a level is of a trilinear form");
        if side == Side::Pairs {
            let shape = self.program.node(tile).shape.clone();
            let zero = self.text.float(0.0);
            let parts = self.part_at(&shape, level);
            let pairs = parts.into_iter().zip(values);
            return pairs
                .map(|(parts, value)| self.text.select(parts, value, zero, "f32"))
                .collect();
        }
        self.scaled(&trilinear, side, level, values)
    }

    /// For each element of `[C, C]`, whether its reader and writer part at a level.
    fn part_at(&mut self, shape: &[u32], level: u32) -> Vec<Val> {
        let grid = self.grid(shape);
        let (rows, columns) = (self.rows(grid), self.columns(grid));
        let mut parts = Vec::new();
        for p in 0..grid.row_pieces as usize {
            for q in 0..grid.column_pieces as usize {
                for e in 0..4 {
                    let (row, column) = (rows[2 * p + e / 2], columns[2 * q + e % 2]);
                    parts.push(self.parts(row, column, level));
                }
            }
        }
        parts
    }

    fn parts(&mut self, row: Val, column: Val, level: u32) -> Val {
        if level == 0 {
            return self.text.icmp("eq", row, column);
        }
        let apart = self.text.binary("xor", row, column, "i32");
        let apart = self.text.int_op("lshr", apart, level as i32 - 1);
        let one = self.text.int(1);
        let here = self.text.icmp("eq", apart, one);
        let after = self.text.icmp("sgt", row, column);
        self.text.binary("and", here, after, "i1")
    }

    /// `values` times the decay of one side of a level.
    fn scaled(
        &mut self,
        trilinear: &Trilinear,
        side: Side,
        level: u32,
        values: Vec<Val>,
    ) -> Vec<Val> {
        if trilinear.plain(side, level) {
            return values;
        }
        let l = self.held[&(trilinear.l, Form::Fragment)].clone();
        let half = half(level);
        let sums = self.block_sums(&l, half.min(16));
        let (sums, beyond) = match side {
            Side::Writers => (sums.after, Beyond::After),
            _ if trilinear.strict => (sums.before, Beyond::Before),
            _ => (self.sum_of(&sums.before, &l), Beyond::Before),
        };
        let sums = self.with_blocks((trilinear.l, Form::ColumnSums), &sums, beyond, half);
        let pairs = sums.into_iter().zip(values);
        pairs
            .map(|(sum, value)| {
                let decay = self.exp(sum);
                self.text.fmul(value, decay)
            })
            .collect()
    }

    /// Adds one level to what is held of the result.
    pub(super) fn level(&mut self, tile: TileId, level: u32) {
        let shape = self.program.node(tile).shape.clone();
        let trilinear = Trilinear::of(self.program, tile).expect("a level is of a trilinear form");
        let zero = self.text.float(0.0);
        let sums = match self.held.remove(&(tile, Form::Fragment)) {
            Some(sums) if level > trilinear.levels(self.program.chunk).start => sums,
            _ => vec![zero; self.registers(&shape)],
        };
        let sums = match trilinear.partial {
            Partial::Weights => {
                let product = self.pairs_product(tile, &trilinear, level);
                let parts = self.part_at(&shape, level);
                (parts.into_iter().zip(product).zip(sums))
                    .map(|((parts, product), sum)| self.text.select(parts, product, sum, "f32"))
                    .collect()
            }
            Partial::Query => {
                let product = self.readers_product(tile, &trilinear, level);
                let product = self.scaled(&trilinear, Side::Readers, level, product);
                self.sum_of(&sums, &product)
            }
            Partial::Key => {
                let product = self.writers_product(tile, &trilinear, level);
                let product = self.scaled(&trilinear, Side::Writers, level, product);
                self.sum_of(&sums, &product)
            }
            Partial::LogDecay => self.log_decay(tile, &trilinear, level, &sums),
        };
        self.held.insert((tile, Form::Fragment), sums);
    }

    /// What a level adds to the gradient of the log decays: in a second half the terms of the
    /// readers from each row on, in a first half the terms of the writers up to before it.
    fn log_decay(
        &mut self,
        tile: TileId,
        trilinear: &Trilinear,
        level: u32,
        sums: &[Val],
    ) -> Vec<Val> {
        let mut sides = [Side::Readers, Side::Writers].map(|side| {
            let (product, operand) = match side {
                Side::Readers => (self.readers_product(tile, trilinear, level), trilinear.q),
                _ => (self.writers_product(tile, trilinear, level), trilinear.k),
            };
            let own = operand.expect("a partial by decays has both operands");
            let own = self.held[&(own, Form::Fragment)].clone();
            let pairs = product.into_iter().zip(own);
            let both: Vec<Val> = pairs.map(|(a, b)| self.text.fmul(a, b)).collect();
            self.scaled(trilinear, side, level, both)
        });
        let second = self.second_half(tile, level);
        let writers = std::mem::take(&mut sides[1]);
        let terms: Vec<Val> = (second.iter().zip(&sides[0]).zip(&writers))
            .map(|((second, reader), writer)| self.text.select(*second, *reader, *writer, "f32"))
            .collect();
        let blocks = self.block_sums(&terms, half(level).min(16));
        if let Some((tile, form)) = trilinear.leaves(tile, level) {
            let shape = self.program.node(tile).shape.clone();
            self.write_totals(tile, form, &shape, &blocks.whole);
        }
        let from = match trilinear.strict {
            true => blocks.after,
            false => self.sum_of(&blocks.after, &terms),
        };
        let mut out = Vec::with_capacity(sums.len());
        for (i, sum) in sums.iter().enumerate() {
            let more = self
                .text
                .select(second[i], from[i], blocks.before[i], "f32");
            out.push(self.text.fadd(*sum, more));
        }
        out
    }

    /// For each element of a fragment, whether its row lies in a second half.
    fn second_half(&mut self, tile: TileId, level: u32) -> Vec<Val> {
        let grid = self.grid(&self.program.node(tile).shape.clone());
        let rows = self.rows(grid);
        let none = self.text.int(0);
        let mut all = Vec::new();
        for pair in rows.chunks(2) {
            let [low, high] = [0, 1].map(|i| {
                let part = self.text.int_op("and", pair[i], half(level) as i32);
                self.text.icmp("ne", part, none)
            });
            for _ in 0..grid.column_pieces {
                all.extend([low, low, high, high]);
            }
        }
        all
    }

    /// Adds what levels left in shared memory: sums of the blocks of 16 rows within their halves.
    pub(super) fn settle(&mut self, tile: TileId) -> Vec<Val> {
        let trilinear = Trilinear::of(self.program, tile).expect("only a trilinear form settles");
        let shape = self.program.node(tile).shape.clone();
        let zero = self.text.float(0.0);
        let mut sums = match self.held.get(&(tile, Form::Fragment)) {
            Some(sums) => sums.clone(),
            None => vec![zero; self.registers(&shape)],
        };
        for level in trilinear.levels(self.program.chunk) {
            let Some(totals) = trilinear.leaves(tile, level) else {
                continue;
            };
            let none = vec![zero; sums.len()];
            let after = self.with_blocks(totals, &none, Beyond::After, half(level));
            let before = self.with_blocks(totals, &none, Beyond::Before, half(level));
            let second = self.second_half(tile, level);
            for (i, sum) in sums.iter_mut().enumerate() {
                let more = self.text.select(second[i], after[i], before[i], "f32");
                *sum = self.text.fadd(*sum, more);
            }
        }
        sums
    }

    /// One side of a level as an operand of a product.
    fn side(
        &mut self,
        tile: TileId,
        trilinear: &Trilinear,
        level: u32,
        side: Side,
        transposed: bool,
    ) -> Source {
        let operand = match side {
            Side::Readers => trilinear.q,
            Side::Writers => trilinear.k,
            _ => trilinear.m,
        };
        let operand = operand.expect("a level reads the operands that its partial has");
        match trilinear.form(tile, side, level) {
            Form::Operand => self.source(operand, transposed),
            form => self.source_in(operand, form, transposed),
        }
    }

    /// `q k'` at a level: `[t, s]`.
    fn pairs_product(&mut self, tile: TileId, trilinear: &Trilinear, level: u32) -> Vec<Val> {
        let q = self.side(tile, trilinear, level, Side::Readers, false);
        let k = self.side(tile, trilinear, level, Side::Writers, true);
        let depth = self.program.node(trilinear.l).shape[1];
        let grid = self.grid(&self.program.node(tile).shape.clone());
        let rows = self.row_bases(grid);
        let near = half(level) < 16 && grid.row_pieces == 1 && grid.column_pieces > 2;
        if !near || !grid.column_pieces.is_multiple_of(2) {
            let columns = self.column_bases(grid);
            let depth = self.steps_to(depth);
            return self.product(q, k, &rows, &columns, &depth);
        }
        let columns = [0, 8].map(|c| self.text.int_op("add", rows[0], c));
        let depth = self.steps_to(depth);
        let block = self.product(q, k, &rows, &columns, &depth);
        block.repeat(grid.column_pieces as usize / 2)
    }

    /// `m k` at a level: `[t, c]`.
    fn readers_product(&mut self, tile: TileId, trilinear: &Trilinear, level: u32) -> Vec<Val> {
        let m = self.side(tile, trilinear, level, Side::Pairs, false);
        let k = self.side(tile, trilinear, level, Side::Writers, false);
        self.steps_product(m, k, trilinear, level)
    }

    /// `m' q` at a level: `[s, c]`.
    fn writers_product(&mut self, tile: TileId, trilinear: &Trilinear, level: u32) -> Vec<Val> {
        let m = self.side(tile, trilinear, level, Side::Pairs, true);
        let q = self.side(tile, trilinear, level, Side::Readers, false);
        self.steps_product(m, q, trilinear, level)
    }

    /// A product over steps; over those of each row's own block where no others part.
    fn steps_product(
        &mut self,
        left: Source,
        right: Source,
        trilinear: &Trilinear,
        level: u32,
    ) -> Vec<Val> {
        let shape = self.program.node(trilinear.l).shape.clone();
        let grid = self.grid(&shape);
        let (rows, columns) = (self.row_bases(grid), self.column_bases(grid));
        if half(level) >= 16 || shape[0] == 16 {
            let depth = self.steps_to(shape[0]);
            return self.product(left, right, &rows, &columns, &depth);
        }
        let mut all = Vec::new();
        for row in rows {
            let offsets = (0..16).step_by(self.deep() as usize);
            let depth: Vec<Val> = offsets.map(|d| self.text.int_op("add", row, d)).collect();
            all.extend(self.product(left, right, &[row], &columns, &depth));
        }
        all
    }

    /// Depth of one piece of a product.
    fn deep(&self) -> i32 {
        if self.options.terms() == 0 { 8 } else { 16 }
    }

    fn steps_to(&mut self, depth: u32) -> Vec<Val> {
        let steps = (0..depth as i32).step_by(self.deep() as usize);
        steps.map(|k| self.text.int(k)).collect()
    }

    /// The pieces at `rows` and `columns` of a product of planes, over the given depths.
    fn product(
        &mut self,
        left: Source,
        right: Source,
        rows: &[Val],
        columns: &[Val],
        depth: &[Val],
    ) -> Vec<Val> {
        let zero = self.text.float(0.0);
        let mut sums = vec![zero; 4 * rows.len() * columns.len()];
        for &k in depth {
            let lefts: Vec<_> = rows.iter().map(|&row| self.left(left, row, k)).collect();
            for (pair, bases) in columns.chunks(2).enumerate() {
                let pieces = self.right(right, bases, k);
                for (i, piece) in pieces.into_iter().enumerate() {
                    for (p, left) in lefts.iter().enumerate() {
                        let at = (p * columns.len() + 2 * pair + i) * 4;
                        let more = self.mma(left, &piece, &sums[at..at + 4]);
                        sums[at..at + 4].copy_from_slice(&more);
                    }
                }
            }
        }
        sums
    }
}
