//! Decays over intervals of a chunk, and their adjoints.
//!
//! A sum of logarithms over an interval is never the difference of two prefix sums. Steps are
//! summed over aligned blocks of 1, 2, 4, 8 and 16 by a butterfly among lanes; the interval from s
//! to t is what is left of s's block and what is begun of t's, at the level at which the two part,
//! and whole blocks of 16 between. Every exponent is a sum over its own interval.

use super::*;
use baton_ir::chunked::Interval;
use baton_ir::tile::Reduce;

/// Registers of [`Form::Sums`] for each row: the begun sums at levels 1, 2, 4, 8 and 16, and what
/// is left of the block of 16.
const SUMS: usize = 6;

impl Machine<'_> {
    /// Sums of a vector over aligned blocks. Shared memory gets what is left of the blocks of 2, 4,
    /// 8 and 16 after each step, and then the blocks of 16.
    pub(super) fn sums(&mut self, tile: TileId, n: u32, strict: bool) -> Vec<Val> {
        let form = if strict { Form::StrictSums } else { Form::Sums };
        let grid = self.grid(&[n]);
        let rows = self.rows(grid);
        let values = self.held[&(tile, Form::Rows)].clone();
        let zero = self.text.float(0.0);
        let origin = self.origin(tile, form);
        let mut registers = Vec::new();
        let mut writes: Vec<(Val, Val)> = Vec::new();
        let mut totals: Vec<(Val, Val)> = Vec::new();
        for (p, own) in values.chunks(2).enumerate() {
            let mut begun = [0, 1].map(|i| if strict { zero } else { own[i] });
            let mut left = [zero; 2];
            let mut whole = [own[0], own[1]];
            let mut levels = [vec![begun[0]], vec![begun[1]]];
            for (level, bit) in [1, 2, 4].into_iter().enumerate() {
                let second = self.text.int_op("and", self.row, bit);
                let none = self.text.int(0);
                let second = self.text.icmp("ne", second, none);
                for half in 0..2 {
                    let other = self.text.shuffle(whole[half], 4 * bit);
                    let before = self.text.select(second, other, zero, "f32");
                    let after = self.text.select(second, zero, other, "f32");
                    begun[half] = self.text.fadd(before, begun[half]);
                    left[half] = self.text.fadd(left[half], after);
                    whole[half] = self.text.fadd(whole[half], other);
                    levels[half].push(begun[half]);
                    writes.push((self.slot(rows[2 * p + half], level as u32 * n), left[half]));
                }
            }
            begun[1] = self.text.fadd(whole[0], begun[1]);
            left[0] = self.text.fadd(left[0], whole[1]);
            for half in 0..2 {
                levels[half].push(begun[half]);
                levels[half].push(left[half]);
                writes.push((self.slot(rows[2 * p + half], 3 * n), left[half]));
                registers.extend(&levels[half]);
            }
            let block = self.text.int_op("lshr", rows[2 * p], 4);
            let sum = self.text.fadd(whole[0], whole[1]);
            totals.push((self.slot(block, 4 * n), sum));
        }
        let (pair, lane) = (self.pair, self.lane);
        self.in_warps(grid.row_warps, |machine| {
            let write = |machine: &mut Self, (slot, value): (Val, Val)| {
                let at = machine.text.int_op("shl", slot, 2);
                let at = machine.text.add(origin, at);
                let at = machine.shared_at(at);
                machine.text.store(value, at, 3, "f32");
            };
            machine.where_zero(pair, |machine| {
                writes.into_iter().for_each(|one| write(machine, one));
            });
            machine.where_zero(lane, |machine| {
                totals.into_iter().for_each(|one| write(machine, one));
            });
        });
        registers
    }

    fn slot(&mut self, index: Val, from: u32) -> Val {
        self.text.int_op("add", index, from as i32)
    }

    /// The sums of the blocks of 16.
    fn blocks(&mut self, tile: TileId, form: Form, n: u32) -> Vec<Val> {
        let index: Vec<Val> = (0..n as i32 / 16).map(|b| self.text.int(b)).collect();
        self.read_vector(tile, form, 16 * n, &index)
    }

    /// The sum of those blocks b for which `kind(b, bound)` holds for every bound.
    fn sum_blocks(&mut self, blocks: &[Val], bounds: &[(&str, Val)]) -> Val {
        let zero = self.text.float(0.0);
        let mut sum = zero;
        for (b, &block) in blocks.iter().enumerate() {
            let mut value = block;
            for (kind, bound) in bounds {
                let b = self.text.int(b as i32);
                let inside = self.text.icmp(kind, b, *bound);
                value = self.text.select(inside, value, zero, "f32");
            }
            sum = self.text.fadd(sum, value);
        }
        sum
    }

    pub(super) fn decay(&mut self, interval: Interval, strict: bool, l: TileId) -> Vec<Val> {
        let n = self.program.node(l).shape[0];
        let form = match interval {
            Interval::Between | Interval::Start if strict => Form::StrictSums,
            _ => Form::Sums,
        };
        let sums = match interval {
            Interval::Between => return self.between(l, form, n, strict),
            Interval::Total => {
                let blocks = self.blocks(l, form, n);
                vec![self.sum_blocks(&blocks, &[])]
            }
            Interval::Start => self.begun(l, form, n),
            Interval::End => self.left_over(l, form, n),
        };
        sums.into_iter().map(|sum| self.exp(sum)).collect()
    }

    /// For each row, the sum from the chunk's start.
    fn begun(&mut self, l: TileId, form: Form, n: u32) -> Vec<Val> {
        self.over_blocks(l, form, n, "slt", 4)
    }

    /// For each row, the sum of the rows after it.
    fn left_over(&mut self, l: TileId, form: Form, n: u32) -> Vec<Val> {
        self.over_blocks(l, form, n, "sgt", 5)
    }

    fn over_blocks(&mut self, l: TileId, form: Form, n: u32, side: &str, own: usize) -> Vec<Val> {
        let blocks = self.blocks(l, form, n);
        let grid = self.grid(&[n]);
        let rows = self.rows(grid);
        let registers = self.held[&(l, form)].clone();
        let one = |machine: &mut Self, (r, row): (usize, Val)| {
            let block = machine.text.int_op("lshr", row, 4);
            let others = machine.sum_blocks(&blocks, &[(side, block)]);
            machine.text.fadd(others, registers[SUMS * r + own])
        };
        rows.into_iter()
            .enumerate()
            .map(|row| one(self, row))
            .collect()
    }

    /// `exp` of the sum between each pair of steps, zero where the reader comes first.
    fn between(&mut self, l: TileId, form: Form, n: u32, strict: bool) -> Vec<Val> {
        let grid = self.grid(&[n, n]);
        let (rows, columns) = (self.rows(grid), self.columns(grid));
        let blocks = self.blocks(l, form, n);
        let registers = self.held[&(l, form)].clone();
        let zero = self.text.float(0.0);
        let mut out = Vec::new();
        for p in 0..grid.row_pieces as usize {
            let reader = self.text.int_op("lshr", rows[2 * p], 4);
            for q in 0..grid.column_pieces as usize {
                let writer = self.text.int_op("lshr", columns[2 * q], 4);
                let pair = &columns[2 * q..2 * q + 2];
                let same = self.text.icmp("eq", reader, writer);
                let mut text = std::mem::take(&mut self.text);
                let elements: Vec<(usize, Val, Val)> = (0..4)
                    .map(|e| (2 * p + e / 2, rows[2 * p + e / 2], pair[e % 2]))
                    .collect();
                let mut near = Vec::new();
                let mut far = Vec::new();
                let exponents = {
                    let machine = std::cell::RefCell::new(&mut *self);
                    text.either(
                        same,
                        4,
                        |text| {
                            let machine = &mut **machine.borrow_mut();
                            std::mem::swap(text, &mut machine.text);
                            near = machine.within(l, form, n, &elements, &registers);
                            std::mem::swap(text, &mut machine.text);
                            near.clone()
                        },
                        |text| {
                            let machine = &mut **machine.borrow_mut();
                            std::mem::swap(text, &mut machine.text);
                            let middle =
                                machine.sum_blocks(&blocks, &[("sgt", writer), ("slt", reader)]);
                            let left = machine.read_vector(l, form, 12 * n, pair);
                            far = elements
                                .iter()
                                .enumerate()
                                .map(|(e, (r, ..))| {
                                    let begun = registers[SUMS * r + 4];
                                    let sum = machine.text.fadd(begun, middle);
                                    machine.text.fadd(sum, left[e % 2])
                                })
                                .collect();
                            std::mem::swap(text, &mut machine.text);
                            far.clone()
                        },
                    )
                };
                self.text = text;
                for (sum, (_, row, column)) in exponents.into_iter().zip(elements) {
                    let decay = self.exp(sum);
                    let kind = if strict { "sgt" } else { "sge" };
                    let seen = self.text.icmp(kind, row, column);
                    out.push(self.text.select(seen, decay, zero, "f32"));
                }
            }
        }
        out
    }

    /// The sums between steps of one block of 16, by the level at which they part.
    fn within(
        &mut self,
        l: TileId,
        form: Form,
        n: u32,
        elements: &[(usize, Val, Val)],
        registers: &[Val],
    ) -> Vec<Val> {
        let pair = [elements[0].2, elements[1].2];
        let left: Vec<Vec<Val>> = (0..3)
            .map(|level| self.read_vector(l, form, 4 * level * n, &pair))
            .collect();
        let zero = self.text.float(0.0);
        let mut sums = Vec::new();
        for (e, &(r, row, column)) in elements.iter().enumerate() {
            let part = self.text.binary("xor", row, column, "i32");
            let mut sum = zero;
            for level in 0..4 {
                let begun = registers[SUMS * r + level];
                let value = match level {
                    0 => begun,
                    _ => self.text.fadd(begun, left[level - 1][e % 2]),
                };
                let from = self.text.int(1 << level);
                let above = self.text.icmp("sge", part, from);
                sum = self.text.select(above, value, sum, "f32");
            }
            sums.push(sum);
        }
        sums
    }

    pub(super) fn spread(
        &mut self,
        interval: Interval,
        strict: bool,
        tile: TileId,
        x: TileId,
    ) -> Vec<Val> {
        let n = self.program.node(tile).shape[0];
        let grid = self.grid(&[n]);
        match interval {
            Interval::Total => {
                let value = self.held[&(x, Form::Scalar)][0];
                vec![value; 2 * grid.row_pieces as usize]
            }
            Interval::End => self.begun(x, Form::StrictSums, n),
            Interval::Start => {
                let after = self.left_over(x, Form::Sums, n);
                if strict {
                    return after;
                }
                let own = self.held[&(x, Form::Rows)].clone();
                after
                    .into_iter()
                    .zip(own)
                    .map(|(a, b)| self.text.fadd(a, b))
                    .collect()
            }
            Interval::Between => self.spread_between(strict, tile, x),
        }
    }

    /// For each step r, the sum over all pairs with the writer before r and the reader at r or after
    /// it (strictly: after it): first along each row over the columns before, then down each column
    /// from the diagonal.
    fn spread_between(&mut self, strict: bool, tile: TileId, x: TileId) -> Vec<Val> {
        let shape = self.program.node(x).shape.clone();
        let grid = self.grid(&shape);
        let values = self.held[&(x, Form::Fragment)].clone();
        let before = self.sums_before(x, grid, &values);
        let (rows, columns) = (self.rows(grid), self.columns(grid));
        let zero = self.text.float(0.0);
        let kind = if strict { "sgt" } else { "sge" };
        let inside = |(at, sum): (usize, Val)| {
            let [row, column] = grid.place(at);
            let seen = self.text.icmp(kind, rows[row], columns[column]);
            self.text.select(seen, sum, zero, "f32")
        };
        let inside: Vec<Val> = before.into_iter().enumerate().map(inside).collect();
        self.reduce(tile, &shape, Reduce::First, grid, &inside)
    }

    /// For each element of a fragment, the sum of its row over the columns before it.
    fn sums_before(&mut self, tile: TileId, grid: Grid, values: &[Val]) -> Vec<Val> {
        let zero = self.text.float(0.0);
        let starts = self.totals_before(tile, grid);
        let seconds = [1, 2].map(|bit| {
            let part = self.text.int_op("and", self.pair, bit);
            let none = self.text.int(0);
            self.text.icmp("ne", part, none)
        });
        let mut before = vec![zero; values.len()];
        for (row, mut start) in starts.into_iter().enumerate() {
            for piece in 0..grid.column_pieces as usize {
                let at = grid.index(row, 2 * piece);
                let mut whole = self.text.fadd(values[at], values[at + 1]);
                let mut sum = start;
                for (bit, second) in [1, 2].into_iter().zip(seconds) {
                    let other = self.text.shuffle(whole, bit);
                    let more = self.text.select(second, other, zero, "f32");
                    sum = self.text.fadd(sum, more);
                    whole = self.text.fadd(whole, other);
                }
                before[at] = sum;
                before[at + 1] = self.text.fadd(sum, values[at]);
                start = self.text.fadd(start, whole);
            }
        }
        before
    }

    /// For each row, its sum over the columns of the warps before this one.
    fn totals_before(&mut self, tile: TileId, grid: Grid) -> Vec<Val> {
        let rows = self.rows(grid);
        let mut sums = vec![self.text.float(0.0); rows.len()];
        if grid.column_warps == 1 {
            return sums;
        }
        let n = 16 * grid.row_pieces * grid.row_warps;
        let mine = self.column_warp(grid.warps());
        let zero = self.text.float(0.0);
        for warp in 0..grid.column_warps - 1 {
            let totals = self.read_vector(tile, Form::RowTotals, 4 * warp * n, &rows);
            let number = self.text.int(warp as i32);
            let before = self.text.icmp("slt", number, mine);
            for (sum, total) in sums.iter_mut().zip(totals) {
                let total = self.text.select(before, total, zero, "f32");
                *sum = self.text.fadd(*sum, total);
            }
        }
        sums
    }
}
