//! Decays of a matrix of log decays, one for each channel, and their adjoints.
//!
//! Sums go down the columns of a fragment: over an aligned block of at most 16 rows by a butterfly
//! among lanes, over blocks of 16 by way of shared memory ([`Form::ColumnSums`]). The butterfly is
//! done anew by every reader, which costs three exchanges and holds no registers in between. As
//! everywhere, an exponent is a sum over its own interval, never a difference.

use super::*;
use baton_ir::chunked::Interval;

/// For each element of a fragment, sums of its column over an aligned block of rows.
pub(super) struct BlockSums {
    /// Of the rows before the element's.
    pub before: Vec<Val>,
    /// Of the rows after it.
    pub after: Vec<Val>,
    /// Of the whole block.
    pub whole: Vec<Val>,
}

/// Which blocks are added to an element's sum.
#[derive(Clone, Copy)]
pub(super) enum Beyond {
    /// Those before its own.
    Before,
    /// Those after its own.
    After,
}

impl Machine<'_> {
    /// Sums over blocks of `size` rows, 1 to 16.
    pub(super) fn block_sums(&mut self, values: &[Val], size: u32) -> BlockSums {
        let zero = self.text.float(0.0);
        let mut sums = BlockSums {
            before: vec![zero; values.len()],
            after: vec![zero; values.len()],
            whole: values.to_vec(),
        };
        for bit in [1, 2, 4].into_iter().filter(|&bit| bit < size as i32) {
            let second = self.row_has(bit);
            for i in 0..values.len() {
                let other = self.text.shuffle(sums.whole[i], 4 * bit);
                let before = self.text.select(second, other, zero, "f32");
                let after = self.text.select(second, zero, other, "f32");
                (sums.before[i], sums.after[i]) = match bit {
                    1 => (before, after),
                    _ => (
                        self.text.fadd(before, sums.before[i]),
                        self.text.fadd(sums.after[i], after),
                    ),
                };
                sums.whole[i] = self.text.fadd(sums.whole[i], other);
            }
        }
        if size == 16 {
            for low in (0..values.len()).filter(|i| i % 4 < 2) {
                let high = low + 2;
                sums.before[high] = self.text.fadd(sums.whole[low], sums.before[high]);
                sums.after[low] = self.text.fadd(sums.after[low], sums.whole[high]);
                let whole = self.text.fadd(sums.whole[low], sums.whole[high]);
                (sums.whole[low], sums.whole[high]) = (whole, whole);
            }
        }
        sums
    }

    /// Whether the lane's row in a piece has a bit.
    fn row_has(&mut self, bit: i32) -> Val {
        let part = self.text.int_op("and", self.row, bit);
        let none = self.text.int(0);
        self.text.icmp("ne", part, none)
    }

    /// Leaves the sums of blocks of 16 rows in shared memory, `[block][column]`.
    pub(super) fn column_sums(&mut self, tile: TileId, shape: &[u32]) -> Vec<Val> {
        let values = self.held[&(tile, Form::Fragment)].clone();
        let whole = self.block_sums(&values, 16).whole;
        self.write_totals(tile, Form::ColumnSums, shape, &whole);
        vec![]
    }

    /// Writes sums of blocks, which every lane of a column holds.
    pub(super) fn write_totals(&mut self, tile: TileId, form: Form, shape: &[u32], whole: &[Val]) {
        let grid = self.grid(shape);
        let origin = self.origin(tile, form);
        let (bases, columns) = (self.row_bases(grid), self.columns(grid));
        let row = self.row;
        self.in_warps(grid.owners(), |machine| {
            machine.where_zero(row, |machine| {
                for (p, &base) in bases.iter().enumerate() {
                    let block = machine.text.int_op("lshr", base, 4);
                    let first = machine.text.int_op("mul", block, shape[1] as i32);
                    for (c, &column) in columns.iter().enumerate() {
                        let at = machine.text.add(first, column);
                        let at = machine.text.int_op("shl", at, 2);
                        let at = machine.text.add(origin, at);
                        let at = machine.shared_at(at);
                        let piece = p * columns.len() / 2 + c / 2;
                        machine.text.store(whole[4 * piece + c % 2], at, 3, "f32");
                    }
                }
            });
        });
    }

    /// `values` and the sums, left in `form`, of the blocks of 16 rows beyond each element's own
    /// within its aligned span of `span` rows.
    pub(super) fn with_blocks(
        &mut self,
        (tile, form): (TileId, Form),
        values: &[Val],
        beyond: Beyond,
        span: u32,
    ) -> Vec<Val> {
        let shape = self.program.node(tile).shape.clone();
        let blocks = shape[0] / 16;
        if blocks == 1 || span <= 16 {
            return values.to_vec();
        }
        let grid = self.grid(&shape);
        let (bases, columns) = (self.row_bases(grid), self.columns(grid));
        let totals: Vec<Vec<Val>> = (0..blocks)
            .map(|b| self.read_vector(tile, form, 4 * b * shape[1], &columns))
            .collect();
        let zero = self.text.float(0.0);
        let kind = match beyond {
            Beyond::Before => "slt",
            Beyond::After => "sgt",
        };
        let mut out = values.to_vec();
        for (p, &base) in bases.iter().enumerate() {
            let own = self.text.int_op("lshr", base, 4);
            let inside: Vec<Val> = (0..blocks as i32)
                .map(|b| {
                    let block = self.text.int(b);
                    let beyond = self.text.icmp(kind, block, own);
                    let apart = self.text.int_op("xor", own, b);
                    let limit = self.text.int(span as i32 / 16);
                    let near = self.text.icmp("slt", apart, limit);
                    self.text.binary("and", beyond, near, "i1")
                })
                .collect();
            for c in 0..columns.len() {
                let mut sum = zero;
                for (inside, totals) in inside.iter().zip(&totals) {
                    let more = self.text.select(*inside, totals[c], zero, "f32");
                    sum = self.text.fadd(sum, more);
                }
                let first = 4 * (p * columns.len() / 2 + c / 2) + c % 2;
                for at in [first, first + 2] {
                    out[at] = self.text.fadd(out[at], sum);
                }
            }
        }
        out
    }

    /// `a + b`, element by element.
    pub(super) fn sum_of(&mut self, a: &[Val], b: &[Val]) -> Vec<Val> {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| self.text.fadd(*a, *b)).collect()
    }

    pub(super) fn channel_decay(
        &mut self,
        interval: Interval,
        strict: bool,
        tile: TileId,
        l: TileId,
    ) -> Vec<Val> {
        if interval == Interval::Total {
            self.total_decay(tile, l);
            return vec![];
        }
        let sums = match interval {
            Interval::End => self.down(l, Beyond::After, false),
            _ => self.down(l, Beyond::Before, !strict),
        };
        sums.into_iter().map(|sum| self.exp(sum)).collect()
    }

    pub(super) fn channel_spread(
        &mut self,
        interval: Interval,
        strict: bool,
        tile: TileId,
        x: TileId,
    ) -> Vec<Val> {
        match interval {
            Interval::Start => self.down(x, Beyond::After, !strict),
            Interval::End => self.down(x, Beyond::Before, false),
            _ => {
                let grid = self.grid(&self.program.node(tile).shape.clone());
                let each = self.held[&(x, grid.cols())].clone();
                let row = each.chunks(2).flat_map(|c| [c[0], c[1], c[0], c[1]]);
                let row: Vec<Val> = row.collect();
                row.repeat(grid.row_pieces as usize)
            }
        }
    }

    /// Sums over all rows on one side of each element, with its own on request.
    fn down(&mut self, x: TileId, beyond: Beyond, own: bool) -> Vec<Val> {
        let values = self.held[&(x, Form::Fragment)].clone();
        let sums = self.block_sums(&values, 16);
        let mut sums = match beyond {
            Beyond::Before => sums.before,
            Beyond::After => sums.after,
        };
        if own {
            sums = self.sum_of(&sums, &values);
        }
        let span = self.program.chunk.next_power_of_two();
        self.with_blocks((x, Form::ColumnSums), &sums, beyond, span)
    }

    /// `exp` of the sum of each column, into a vector in shared memory.
    fn total_decay(&mut self, tile: TileId, l: TileId) {
        let shape = self.program.node(l).shape.clone();
        let to = self.origin(tile, Form::Vector);
        self.by_row(shape[1], |machine, column| {
            let mut sum = machine.text.float(0.0);
            for block in 0..shape[0] / 16 {
                let offset = 4 * block * shape[1];
                let more = machine.read_vector(l, Form::ColumnSums, offset, &[column])[0];
                sum = machine.text.fadd(sum, more);
            }
            let decay = machine.exp(sum);
            let at = machine.text.int_op("shl", column, 2);
            let at = machine.text.add(to, at);
            let at = machine.shared_at(at);
            machine.text.store(decay, at, 3, "f32");
        });
    }
}
