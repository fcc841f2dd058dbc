//! What goes along the steps one after the other: solves, running extremes and angles, and values moved by a step.
//!
//! Matrices lie in shared memory in f32 for this ([`Form::Exact`]), and a thread has a column to itself: it waits
//! for no other, and all sums have the order of the steps. A solve goes by blocks of 16 steps, whose unknowns
//! are in registers; what stands in the triangle is read by all threads at once.

use super::*;
use baton_ir::running::{Bound, Scan};

/// Steps of a block of a solve.
const BLOCK: u32 = 16;

impl Machine<'_> {
    /// `U = R + L U`, L strictly lower, or transposed.
    pub(super) fn solve(
        &mut self,
        tile: TileId,
        transposed: bool,
        l: TileId,
        r: TileId,
    ) -> Vec<Val> {
        let shape = self.program.node(tile).shape.clone();
        self.by_column(shape[1], |machine, column| {
            let blocks = shape[0] / BLOCK;
            for i in 0..blocks {
                let block = if transposed { blocks - 1 - i } else { i };
                machine.solve_block(tile, transposed, l, r, column, BLOCK * block);
            }
        });
        vec![]
    }

    /// The steps from `first` on of one column, those before them (behind them, transposed) being done.
    fn solve_block(
        &mut self,
        tile: TileId,
        transposed: bool,
        l: TileId,
        r: TileId,
        column: Val,
        first: u32,
    ) {
        let steps = self.program.node(tile).shape[0];
        let rows: Vec<Val> = (first..first + BLOCK)
            .map(|t| self.text.int(t as i32))
            .collect();
        let mut sums: Vec<Val> = rows
            .iter()
            .map(|&row| self.read(r, row, Some(column)))
            .collect();
        let (from, count) = match transposed {
            true => (first + BLOCK, steps - first - BLOCK),
            false => (0, first),
        };
        let units: Vec<Val> = (0..BLOCK / 4)
            .map(|unit| self.text.int((first / 4 + unit) as i32))
            .collect();
        if count > 0 {
            sums = self.counted(count / 4, &sums, |machine, index, mut sums| {
                let four = machine.text.int_op("shl", index, 2);
                let four = machine.text.int_op("add", four, from as i32);
                let done: Vec<Val> = (0..4)
                    .map(|e| machine.text.int_op("add", four, e))
                    .collect();
                let unknowns: Vec<Val> = (done.iter())
                    .map(|&step| machine.read(tile, step, Some(column)))
                    .collect();
                if transposed {
                    for (&step, &unknown) in done.iter().zip(&unknowns) {
                        for (&unit, sums) in units.iter().zip(sums.chunks_mut(4)) {
                            let weights = machine.four(l, step, unit);
                            for (sum, weight) in sums.iter_mut().zip(weights) {
                                *sum = machine.text.fma(weight, unknown, *sum);
                            }
                        }
                    }
                    return sums;
                }
                let unit = machine.text.int_op("lshr", four, 2);
                for (&row, sum) in rows.iter().zip(&mut sums) {
                    for (weight, &unknown) in machine.four(l, row, unit).into_iter().zip(&unknowns)
                    {
                        *sum = machine.text.fma(weight, unknown, *sum);
                    }
                }
                sums
            });
        }
        // Each step with those of its block that it sees, or that see it.
        let order: Vec<usize> = match transposed {
            true => (1..BLOCK as usize).rev().collect(),
            false => (1..BLOCK as usize).collect(),
        };
        for t in order {
            for (unit, s) in (0..t).step_by(4).enumerate() {
                let weights = self.four(l, rows[t], units[unit]);
                for (s, weight) in (s..t).zip(weights) {
                    let (from, to) = if transposed { (t, s) } else { (s, t) };
                    sums[to] = self.text.fma(weight, sums[from], sums[to]);
                }
            }
        }
        for (&row, &sum) in rows.iter().zip(&sums) {
            self.write(tile, row, Some(column), sum);
        }
    }

    /// A running extreme or an angle: a thread for each column, or one for a number.
    pub(super) fn running(&mut self, tile: TileId, scan: Scan<TileId>) -> Vec<Val> {
        let entering = scan.entering;
        let shape = self.program.node(tile).shape.clone();
        let run = |machine: &mut Self, column: Option<Val>| {
            let begin = match column {
                Some(column) => machine.read_vector(entering, Form::Vector, 0, &[column]),
                None => machine.held[&(entering, Form::Scalar)].clone(),
            };
            machine.counted(shape[0], &begin, |machine, step, value| {
                let shift = machine.read(scan.shift, step, column);
                let moved = machine.text.fadd(value[0], shift);
                let next = match scan.bound {
                    Bound::Extreme {
                        function, floor, ..
                    } => {
                        let floor = machine.read(floor, step, column);
                        machine.binary(function, moved, floor)
                    }
                    Bound::Turns => machine.wrap(moved),
                };
                let inside = machine.text.icmp("slt", step, machine.valid);
                let next = machine.text.select(inside, next, value[0], "f32");
                machine.write(tile, step, column, next);
                vec![next]
            });
        };
        match shape.get(1) {
            Some(&columns) => self.by_column(columns, |machine, column| run(machine, Some(column))),
            None => {
                let thread = self.thread;
                self.where_zero(thread, |machine| run(machine, None));
            }
        }
        vec![]
    }

    /// The value of the step before or after, and that of the border where there is none.
    pub(super) fn delay(
        &mut self,
        tile: TileId,
        reverse: bool,
        x: TileId,
        border: TileId,
    ) -> Vec<Val> {
        let shape = self.program.node(tile).shape.clone();
        let grid = self.grid(&shape);
        let rows = self.rows(grid);
        let last = self.text.int_op("sub", self.valid, 1);
        let moved: Vec<Moved> = rows
            .iter()
            .map(|&row| self.moved(row, last, reverse))
            .collect();
        let Some(&columns) = shape.get(1) else {
            let border = self.held[&(border, Form::Scalar)][0];
            let one = |moved: &Moved| {
                let value = self.read(x, moved.from, None);
                self.bordered(moved, value, border)
            };
            return moved.iter().map(one).collect();
        };
        let border = self.held[&(border, grid.cols())].clone();
        let bases = self.column_bases(grid);
        let (origin, bytes) = (self.origin(x, Form::Exact), columns * 4);
        let mut values = vec![];
        for p in 0..grid.row_pieces as usize {
            for (q, &base) in bases.iter().enumerate() {
                for moved in &moved[2 * p..2 * p + 2] {
                    let at = self.pair_at(origin, moved.from, base, bytes, Storage::F32);
                    let pair = self.text.load(at, 3, "vector<2xf32>");
                    let pair = self.text.unpack(pair, 2, "f32");
                    for (e, value) in pair.into_iter().enumerate() {
                        values.push(self.bordered(moved, value, border[2 * q + e]));
                    }
                }
            }
        }
        values
    }

    /// Where the value of a row comes from.
    fn moved(&mut self, row: Val, last: Val, reverse: bool) -> Moved {
        let lower = |text: &mut Text, a: Val, b: Val| {
            text.def(format_args!("llvm.intr.smin({a}, {b}) : (i32, i32) -> i32"))
        };
        if reverse {
            let next = self.text.int_op("add", row, 1);
            return Moved {
                at_border: self.text.icmp("eq", row, last),
                past: Some(self.text.icmp("sgt", row, last)),
                from: lower(&mut self.text, next, last),
            };
        }
        let own = lower(&mut self.text, row, last);
        let zero = self.text.int(0);
        let at_border = self.text.icmp("eq", own, zero);
        let before = self.text.int_op("sub", own, 1);
        Moved {
            at_border,
            past: None,
            from: self.text.select(at_border, zero, before, "i32"),
        }
    }

    fn bordered(&mut self, moved: &Moved, value: Val, border: Val) -> Val {
        let value = self.text.select(moved.at_border, border, value, "f32");
        let zero = self.text.float(0.0);
        match moved.past {
            Some(past) => self.text.select(past, zero, value, "f32"),
            None => value,
        }
    }

    /// The last step, or the first.
    pub(super) fn edge(&mut self, tile: TileId, reverse: bool, x: TileId) -> Vec<Val> {
        let step = match reverse {
            true => self.text.int(0),
            false => self.text.int_op("sub", self.valid, 1),
        };
        let shape = self.program.node(tile).shape.clone();
        match shape.is_empty() {
            true => vec![self.read(x, step, None)],
            false => {
                let grid = self.grid(&shape);
                let columns = self.rows(grid);
                let columns = columns.into_iter();
                columns
                    .map(|column| self.read(x, step, Some(column)))
                    .collect()
            }
        }
    }

    /// Runs `each` for every column, each in a thread of its own.
    pub(super) fn by_column(&mut self, columns: u32, each: impl Fn(&mut Self, Val)) {
        let threads = self.options.threads();
        for first in (0..columns).step_by(threads as usize) {
            let column = self.text.int_op("add", self.thread, first as i32);
            if columns - first >= threads {
                each(self, column);
                continue;
            }
            let end = self.text.int(columns as i32);
            let inside = self.text.icmp("slt", column, end);
            self.when(inside, |machine| each(machine, column));
        }
    }

    /// Counts from zero, carrying numbers.
    fn counted(
        &mut self,
        times: u32,
        begin: &[Val],
        body: impl FnOnce(&mut Self, Val, Vec<Val>) -> Vec<Val>,
    ) -> Vec<Val> {
        let end = self.text.int(times as i32);
        let mut text = std::mem::take(&mut self.text);
        let ends = text.count(end, begin, |text, index, carried| {
            std::mem::swap(text, &mut self.text);
            let results = body(self, index, carried);
            std::mem::swap(text, &mut self.text);
            results
        });
        self.text = text;
        ends
    }

    /// The place of an entry of a matrix, or of a vector over the steps.
    fn cell(&mut self, tile: TileId, row: Val, column: Option<Val>) -> Val {
        let Some(column) = column else {
            let origin = self.origin(tile, Form::Vector);
            let at = self.text.int_op("shl", row, 2);
            let at = self.text.add(origin, at);
            return self.shared_at(at);
        };
        let bytes = self.program.node(tile).shape[1] * 4;
        let origin = self.origin(tile, Form::Exact);
        let unit = self.text.int_op("lshr", column, 2);
        let at = self.unit_at(origin, row, unit, bytes);
        let rest = self.text.int_op("and", column, 3);
        let rest = self.text.int_op("shl", rest, 2);
        let at = self.text.add(at, rest);
        self.shared_at(at)
    }

    pub(super) fn read(&mut self, tile: TileId, row: Val, column: Option<Val>) -> Val {
        let at = self.cell(tile, row, column);
        self.text.load(at, 3, "f32")
    }

    pub(super) fn write(&mut self, tile: TileId, row: Val, column: Option<Val>, value: Val) {
        let at = self.cell(tile, row, column);
        self.text.store(value, at, 3, "f32");
    }

    /// Four entries of a row of a matrix.
    pub(super) fn four(&mut self, tile: TileId, row: Val, unit: Val) -> Vec<Val> {
        let bytes = self.program.node(tile).shape[1] * 4;
        let origin = self.origin(tile, Form::Exact);
        let at = self.unit_at(origin, row, unit, bytes);
        let at = self.shared_at(at);
        let four = self.text.load(at, 3, "vector<4xf32>");
        self.text.unpack(four, 4, "f32")
    }
}

/// Where the value of a row comes from.
struct Moved {
    /// A row to read, of the sequence in any case.
    from: Val,
    /// Whether the border stands there instead.
    at_border: Val,
    /// Whether it is past the end, and zero; `None` where the last row is repeated.
    past: Option<Val>,
}
