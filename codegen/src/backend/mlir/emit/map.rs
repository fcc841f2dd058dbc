//! Pointwise maps, and sums over their axes.
//!
//! A sum is taken in one order: a thread's own elements, the lanes by exchange (which gives every
//! lane the same bits), and last the warps, whose parts meet in shared memory and are added by the
//! readers in the order of the warps.

use super::*;
use baton_ir::pointwise::narrow;
use baton_ir::tile::{Along, Reduce, Scalar};

/// One element of a map's space: its registers' places, and its indices.
struct Place {
    first: usize,
    second: usize,
    both: usize,
    row: Option<Val>,
    column: Option<Val>,
}

impl Machine<'_> {
    pub(super) fn map(&mut self, tile: TileId) -> Vec<Val> {
        let Op::Map {
            shape,
            operands,
            body,
            reduce,
        } = &self.program.node(tile).op
        else {
            unreachable!("a map");
        };
        let grid = self.grid(shape);
        let places = self.places(shape, grid);
        let wants: Vec<(TileId, Along)> = operands.clone();
        let mut values: Vec<Val> = places
            .iter()
            .map(|place| self.element(&wants, grid, body, place))
            .collect();
        if let Some(there) = self.padded.masks.get(&tile) {
            self.mask(shape, there, &places, &mut values);
        }
        self.reduce(tile, shape, *reduce, grid, &values)
    }

    /// The elements of this thread, in order of registers.
    fn places(&mut self, shape: &[u32], grid: Grid) -> Vec<Place> {
        let number = |row| Place {
            first: 0,
            second: 0,
            both: 0,
            row,
            column: None,
        };
        if shape.iter().product::<u32>() == 1 {
            return vec![number(None)];
        }
        let rows = self.rows(grid);
        if shape.len() == 1 {
            let each = |(at, row): (usize, &Val)| Place {
                first: at,
                ..number(Some(*row))
            };
            return rows.iter().enumerate().map(each).collect();
        }
        let columns = self.columns(grid);
        let mut places = Vec::new();
        for p in 0..grid.row_pieces as usize {
            for q in 0..grid.column_pieces as usize {
                for e in 0..4 {
                    let (first, second) = (2 * p + e / 2, 2 * q + e % 2);
                    places.push(Place {
                        first,
                        second,
                        both: places.len(),
                        row: Some(rows[first]),
                        column: Some(columns[second]),
                    });
                }
            }
        }
        places
    }

    /// Zeros beyond the sizes that are there.
    fn mask(&mut self, shape: &[u32], there: &[u32], places: &[Place], values: &mut [Val]) {
        let zero = self.text.float(0.0);
        for (place, value) in places.iter().zip(values) {
            for (axis, index) in [place.row, place.column].into_iter().enumerate() {
                let Some(index) = index.filter(|_| there[axis] < shape[axis]) else {
                    continue;
                };
                let end = self.text.int(there[axis] as i32);
                let inside = self.text.icmp("slt", index, end);
                *value = self.text.select(inside, *value, zero, "f32");
            }
        }
    }

    fn element(
        &mut self,
        operands: &[(TileId, Along)],
        grid: Grid,
        body: &[Scalar],
        place: &Place,
    ) -> Val {
        let mut values: Vec<Val> = Vec::with_capacity(body.len());
        for scalar in body {
            let of = |at: u32| values[at as usize];
            let value = match *scalar {
                Scalar::Operand(number) => {
                    let (id, along) = operands[number as usize];
                    let (form, at) = match along {
                        Along::None => (Form::Scalar, 0),
                        Along::First => (Form::Rows, place.first),
                        Along::Second => (grid.cols(), place.second),
                        Along::Both => (Form::Fragment, place.both),
                    };
                    self.held[&(id, form)][at]
                }
                Scalar::Number(number) => self.text.float(narrow(number)),
                Scalar::Unary(function, a) => self.unary(function, of(a)),
                Scalar::Binary(function, a, b) => self.binary(function, of(a), of(b)),
                Scalar::Select(x, y, a, b) => {
                    let greater = self.text.fcmp("ogt", of(x), of(y));
                    let chosen = self.text.select(greater, of(a), of(b), "f32");
                    let missing = self.text.fcmp("uno", of(x), of(y));
                    let nan = self.text.float(f32::NAN);
                    self.text.select(missing, nan, chosen, "f32")
                }
                Scalar::Valid(a) => match place.row {
                    Some(row) => {
                        let there = self.text.icmp("slt", row, self.valid);
                        let zero = self.text.float(0.0);
                        self.text.select(there, of(a), zero, "f32")
                    }
                    None => of(a),
                },
                Scalar::Causal(a, strict) => match (place.row, place.column) {
                    (Some(row), Some(column)) => {
                        let kind = if strict { "sgt" } else { "sge" };
                        let seen = self.text.icmp(kind, row, column);
                        let zero = self.text.float(0.0);
                        self.text.select(seen, of(a), zero, "f32")
                    }
                    _ => of(a),
                },
            };
            values.push(value);
        }
        *values.last().expect("a map's body is not empty")
    }

    pub(super) fn reduce(
        &mut self,
        tile: TileId,
        shape: &[u32],
        reduce: Reduce,
        grid: Grid,
        values: &[Val],
    ) -> Vec<Val> {
        let (rows, columns) = (
            2 * grid.row_pieces as usize,
            2 * grid.column_pieces as usize,
        );
        let matrix = shape.len() == 2;
        match reduce {
            Reduce::None => values.to_vec(),
            _ if shape.iter().product::<u32>() == 1 => values.to_vec(),
            Reduce::Second if matrix => {
                let sums = self.row_sums(grid, values);
                if grid.column_warps == 1 {
                    return sums;
                }
                let index = self.rows(grid);
                let part = self.column_warp(grid.warps());
                self.store_parts(
                    tile,
                    Form::Partial,
                    self.pair,
                    grid.owners(),
                    part,
                    &index,
                    &sums,
                )
            }
            Reduce::First if matrix => {
                let own: Vec<Vec<Val>> = (0..columns)
                    .map(|c| (0..rows).map(|r| values[grid.index(r, c)]).collect())
                    .collect();
                let sums: Vec<Val> = own
                    .iter()
                    .map(|column| self.total(column, &[4, 8, 16]))
                    .collect();
                if grid.row_warps == 1 {
                    return sums;
                }
                let index = self.columns(grid);
                let part = self.row_warp(grid.row_warps);
                self.store_parts(
                    tile,
                    Form::Partial,
                    self.row,
                    grid.owners(),
                    part,
                    &index,
                    &sums,
                )
            }
            _ => {
                let lanes: &[i32] = if matrix {
                    &[1, 2, 4, 8, 16]
                } else {
                    &[4, 8, 16]
                };
                let sum = self.total(values, lanes);
                let parts = if matrix {
                    grid.owners()
                } else {
                    grid.row_warps
                };
                if parts == 1 {
                    return vec![sum];
                }
                let zero = self.text.int(0);
                self.store_parts(
                    tile,
                    Form::Partial,
                    self.lane,
                    parts,
                    self.warp,
                    &[zero],
                    &[sum],
                )
            }
        }
    }

    /// The sum of each row over the columns of this warp.
    pub(super) fn row_sums(&mut self, grid: Grid, values: &[Val]) -> Vec<Val> {
        let columns = 2 * grid.column_pieces as usize;
        let row = |r| -> Vec<Val> { (0..columns).map(|c| values[grid.index(r, c)]).collect() };
        let rows = 0..2 * grid.row_pieces as usize;
        rows.map(|r| self.total(&row(r), &[1, 2])).collect()
    }

    /// The sum of a thread's numbers and of those of the lanes that differ in the given bits.
    fn total(&mut self, values: &[Val], lanes: &[i32]) -> Val {
        let mut sum = values[0];
        for value in &values[1..] {
            sum = self.text.fadd(sum, *value);
        }
        for &xor in lanes {
            let other = self.text.shuffle(sum, xor);
            sum = self.text.fadd(sum, other);
        }
        sum
    }

    /// Leaves parts of sums in shared memory, `[part][index]`, from the lanes where `lead` is zero.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn store_parts(
        &mut self,
        tile: TileId,
        form: Form,
        lead: Val,
        warps: u32,
        part: Val,
        index: &[Val],
        sums: &[Val],
    ) -> Vec<Val> {
        let shape = &self.program.node(tile).shape;
        let entries: u32 = match form {
            Form::RowTotals => shape[0],
            _ => shape.iter().product(),
        };
        let origin = self.origin(tile, form);
        self.in_warps(warps, |machine| {
            machine.where_zero(lead, |machine| {
                let first = machine.text.int_op("mul", part, entries as i32);
                for (&index, &sum) in index.iter().zip(sums) {
                    let at = machine.text.add(first, index);
                    let at = machine.text.int_op("shl", at, 2);
                    let at = machine.text.add(origin, at);
                    let at = machine.shared_at(at);
                    machine.text.store(sum, at, 3, "f32");
                }
            });
        });
        vec![]
    }
}
