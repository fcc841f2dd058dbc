//! Maps as instructions: fused loops over a tile, sixteen columns to a turn.
//!
//! What depends on nothing is computed before the loops, what depends on the row only once for
//! each row, the rest for each four columns. Columns past the last are computed with what the
//! padding holds and may be written to padding, but no sum takes them in, and a sum over steps
//! ends at the last valid one. A tile that is zero above the diagonal is computed up to the
//! diagonal's sixteen columns and zero beyond; where a product makes it zero, it is selected.

use super::emit::{Address, Emitter, NUMBER};
use super::math::Lanes;
use super::plan::{Buffer, extents};
use baton_ir::pointwise::narrow;
use baton_ir::recurrence::BinaryFn;
use baton_ir::tile::zeros::{of_body, selects};
use baton_ir::tile::{Along, Reduce, Scalar, Steps, TileId, Zeros, space_steps};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

/// A map that is to be emitted.
pub struct Map<'a> {
    /// The iteration space.
    pub shape: &'a [u32],
    /// What it reads.
    pub operands: &'a [(TileId, Along)],
    /// What it computes.
    pub body: &'a [Scalar],
    /// What it sums.
    pub reduce: Reduce,
    /// Where its result goes.
    pub out: Buffer,
}

/// What is known of a map.
struct Known {
    /// How often each scalar is computed.
    levels: Vec<Level>,
    /// Where each scalar is zero.
    zeros: Vec<Zeros>,
    /// Which axes are steps.
    steps: Steps,
    /// How many scalars read each.
    uses: Vec<u32>,
}

/// How often a scalar is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Once.
    Once,
    /// For each row.
    Row,
    /// For each column of each row.
    Column,
}

/// What a map's scalars need to know of their place.
#[derive(Clone, Copy)]
struct Place {
    /// The row, as a number and in four lanes.
    row: Value,
    rows: Value,
    /// Bytes from the row's first column to the turn's first.
    column: Value,
    /// Columns beyond the turn's first.
    beyond: usize,
    /// Whether every column of the turn is before the row: then a causal mask is not needed.
    below: bool,
}

/// Vectors of a turn.
const TURN: usize = 4;
/// Columns of a turn.
const COLUMNS: usize = 4 * TURN;

/// How often each scalar of a body is computed.
pub fn levels(rank: usize, operands: &[(TileId, Along)], body: &[Scalar]) -> Vec<Level> {
    let vector = rank == 1;
    let mut levels: Vec<Level> = Vec::with_capacity(body.len());
    for scalar in body {
        let own = match *scalar {
            Scalar::Operand(i) => match operands[i as usize].1 {
                Along::None => Level::Once,
                Along::First if !vector => Level::Row,
                _ => Level::Column,
            },
            Scalar::Valid(_) if !vector => Level::Row,
            Scalar::Valid(_) | Scalar::Causal(..) => Level::Column,
            _ => Level::Once,
        };
        let of = scalar.operands().into_iter().map(|of| levels[of as usize]);
        levels.push(of.fold(own, Level::max));
    }
    levels
}

impl Map<'_> {
    /// Emits the loops.
    pub fn emit(&self, e: &mut Emitter) {
        let (rows, cols) = extents(self.shape);
        let vector = self.shape.len() == 1;
        let reduce = match (vector, self.reduce) {
            (true, Reduce::None) => Reduce::None,
            (true, _) => Reduce::All,
            (false, reduce) => reduce,
        };
        let known = Known {
            levels: levels(self.shape.len(), self.operands, self.body),
            zeros: of_body(self.body, self.operands, &e.plan.gives),
            steps: space_steps(self.operands, self.body, &e.plan.gives),
            uses: self.uses(),
        };
        let bases: Vec<Address> = self
            .operands
            .iter()
            .map(|(tile, _)| e.address(tile.index()))
            .collect();
        let out = e.address(self.out);
        let out_row = e.plan.tiles[self.out].row;
        let zero = e.word(0);
        let lanes = e.builder.ins().iconst(I32, 0);
        let lanes = e.builder.ins().splat(I32X4, lanes);
        let start = Place {
            row: zero,
            rows: lanes,
            column: zero,
            beyond: 0,
            below: false,
        };
        let mut values = vec![None; self.body.len()];
        self.scalars(e, &known, Level::Once, &bases, start, &mut values);
        let empty = number(e, 0.0);
        if reduce == Reduce::First {
            for i in 0..cols.div_ceil(4) {
                write(e, empty, out, zero, 16 * i as i32);
            }
        }
        let sums = match reduce {
            Reduce::All => vec![empty; TURN],
            _ => vec![],
        };
        let each_row = |e: &mut Emitter, row: Value, sums: &[Value]| -> Vec<Value> {
            let narrow = e.builder.ins().ireduce(I32, row);
            let place = Place {
                row,
                rows: e.builder.ins().splat(I32X4, narrow),
                ..start
            };
            let mut values = values.clone();
            self.scalars(e, &known, Level::Row, &bases, place, &mut values);
            // The bases of this row.
            let bases: Vec<Address> = self
                .operands
                .iter()
                .zip(&bases)
                .map(|(&(tile, along), &base)| match along {
                    Along::Both => {
                        let stride = e.plan.tiles[tile.index()].row as i64 * NUMBER;
                        advance(e, base, row, stride)
                    }
                    _ => base,
                })
                .collect();
            let out = match reduce {
                Reduce::None => advance(e, out, row, out_row as i64 * NUMBER),
                _ => out,
            };
            let sums = match reduce {
                Reduce::Second => vec![empty; TURN],
                _ => sums.to_vec(),
            };
            let state = RowState {
                known: &known,
                bases: &bases,
                values: &values,
                out,
                reduce,
                cols,
            };
            let sums = self.columns(e, place, &state, sums);
            if reduce == Reduce::Second {
                let sum = total(e, &sums);
                let to = advance(e, out, row, NUMBER);
                e.builder.ins().store(free(), sum, to.base, to.offset);
                return vec![];
            }
            sums
        };
        let sums = match rows {
            1 => each_row(e, zero, &sums),
            _ => {
                let to = match self.ends_at_valid(&known) {
                    true => e.valid,
                    false => e.word(rows as i64),
                };
                e.repeat(zero, to, 1, &sums, each_row)
            }
        };
        if reduce == Reduce::All {
            let sum = total(e, &sums);
            e.builder.ins().store(free(), sum, out.base, out.offset);
        }
    }

    fn uses(&self) -> Vec<u32> {
        let mut uses = vec![0; self.body.len()];
        let operands = self.body.iter().flat_map(Scalar::operands);
        operands.for_each(|of| uses[of as usize] += 1);
        uses
    }

    /// Factors and addend of a sum that adds a product as often computed and read by nothing else.
    fn product_and_sum(&self, known: &Known, at: usize) -> Option<[u32; 3]> {
        let Scalar::Binary(BinaryFn::Add, a, b) = self.body[at] else {
            return None;
        };
        let product = |of: u32, add: u32| match self.body[of as usize] {
            Scalar::Binary(BinaryFn::Mul, x, y)
                if known.uses[of as usize] == 1
                    && known.levels[of as usize] == known.levels[at]
                    && !selects(self.body, &known.zeros, of as usize) =>
            {
                Some([x, y, add])
            }
            _ => None,
        };
        product(a, b).or_else(|| product(b, a))
    }

    /// Whether the loop over rows, which are steps that are summed, ends at the last valid one.
    fn ends_at_valid(&self, known: &Known) -> bool {
        let summed = matches!(self.reduce, Reduce::First | Reduce::All);
        self.shape.len() == 2 && summed && known.steps[0]
    }

    /// Computes the scalars of one level.
    fn scalars(
        &self,
        e: &mut Emitter,
        known: &Known,
        level: Level,
        bases: &[Address],
        place: Place,
        values: &mut [Option<Value>],
    ) {
        for (i, scalar) in self.body.iter().enumerate() {
            if known.levels[i] != level {
                continue;
            }
            let of = |i: u32| values[i as usize].expect("operands come before users");
            let value = match *scalar {
                Scalar::Operand(i) => self.operand(e, i as usize, bases, place),
                Scalar::Number(x) => number(e, narrow(x)),
                Scalar::Unary(function, a) => lanes(e).unary(function, of(a)),
                Scalar::Binary(function, a, b) => {
                    let value = match self.product_and_sum(known, i) {
                        Some([x, y, z]) if e.fma && e.program.across => {
                            e.builder.ins().fma(of(x), of(y), of(z))
                        }
                        _ => lanes(e).binary(function, of(a), of(b)),
                    };
                    match selects(self.body, &known.zeros, i) {
                        true => self.causal(e, place, value, known.zeros[i] == Zeros::Diagonal),
                        false => value,
                    }
                }
                Scalar::Select(x, y, a, b) => lanes(e).choose([of(x), of(y)], of(a), of(b)),
                Scalar::Valid(a) if self.ends_at_valid(known) => of(a),
                Scalar::Valid(a) => {
                    let valid = e.builder.ins().ireduce(I32, e.valid);
                    let valid = e.builder.ins().splat(I32X4, valid);
                    let index = match self.shape.len() {
                        1 => self.column_numbers(e, place),
                        _ => place.rows,
                    };
                    lanes(e).keep_less(index, valid, of(a))
                }
                Scalar::Causal(a, strict) => {
                    let value = of(a);
                    self.causal(e, place, value, strict)
                }
            };
            values[i] = Some(value);
        }
    }

    /// The value where the row is not before the column (strict: after it), else zero.
    fn causal(&self, e: &mut Emitter, place: Place, value: Value, strict: bool) -> Value {
        if place.below {
            return value;
        }
        let columns = self.column_numbers(e, place);
        let rows = match strict {
            true => place.rows,
            false => {
                let one = lanes(e).constant(I32X4, [1; 4]);
                e.builder.ins().iadd(place.rows, one)
            }
        };
        lanes(e).keep_less(columns, rows, value)
    }

    /// The numbers of four columns.
    fn column_numbers(&self, e: &mut Emitter, place: Place) -> Value {
        let first = e.builder.ins().sshr_imm_s(place.column, 2);
        let first = e.builder.ins().ireduce(I32, first);
        let first = e.builder.ins().splat(I32X4, first);
        let beyond = place.beyond as u32;
        let lanes = lanes(e).constant(I32X4, [beyond, beyond + 1, beyond + 2, beyond + 3]);
        e.builder.ins().iadd(first, lanes)
    }

    fn operand(&self, e: &mut Emitter, i: usize, bases: &[Address], place: Place) -> Value {
        let vector = self.shape.len() == 1;
        let base = bases[i];
        match self.operands[i].1 {
            Along::None => splat(e, base),
            Along::First if !vector => {
                let at = advance(e, base, place.row, NUMBER);
                splat(e, at)
            }
            _ => {
                let at = e.builder.ins().iadd(base.base, place.column);
                let offset = base.offset + place.beyond as i32 * NUMBER as i32;
                e.builder.ins().load(F32X4, free(), at, offset)
            }
        }
    }

    /// The columns of one row.
    fn columns(
        &self,
        e: &mut Emitter,
        place: Place,
        state: &RowState,
        mut sums: Vec<Value>,
    ) -> Vec<Value> {
        let (turns, rest) = (state.cols / COLUMNS, state.cols % COLUMNS);
        let width = COLUMNS as i64 * NUMBER;
        let end = turns as i64 * width;
        let lower = state.known.zeros.last() != Some(&Zeros::Nowhere);
        if lower && state.reduce == Reduce::None && turns > 1 {
            // Bytes of the turns before the diagonal's, which need no mask, and with it.
            let before = e.builder.ins().sshr_imm_s(place.row, 4);
            let before = e.builder.ins().imul_imm_s(before, width);
            let all = e.word(end);
            let before = e.builder.ins().smin(before, all);
            let zero = e.word(0);
            let any = e.builder.ins().icmp(IntCC::SignedLessThan, zero, before);
            e.when(any, |e| {
                e.repeat(zero, before, width, &[], |e, column, _| {
                    let place = Place {
                        column,
                        below: true,
                        ..place
                    };
                    self.turn(e, place, state, COLUMNS, vec![])
                });
            });
            let inside = e.builder.ins().icmp(IntCC::SignedLessThan, before, all);
            e.when(inside, |e| {
                let column = before;
                self.turn(e, Place { column, ..place }, state, COLUMNS, vec![]);
            });
            let after = e.builder.ins().iadd_imm_s(before, width);
            let more = e.builder.ins().icmp(IntCC::SignedLessThan, after, all);
            e.when(more, |e| {
                e.repeat(after, all, width, &[], |e, column, _| {
                    let empty = number(e, 0.0);
                    for i in 0..TURN {
                        write(e, empty, state.out, column, 16 * i as i32);
                    }
                    vec![]
                });
            });
        } else if turns > 1 {
            let (zero, all) = (e.word(0), e.word(end));
            sums = e.repeat(zero, all, width, &sums, |e, column, sums| {
                self.turn(e, Place { column, ..place }, state, COLUMNS, sums.to_vec())
            });
        } else if turns == 1 {
            sums = self.turn(e, place, state, COLUMNS, sums);
        }
        if rest > 0 {
            let column = e.word(end);
            sums = self.turn(e, Place { column, ..place }, state, rest, sums);
        }
        sums
    }

    /// The next `columns` columns, at most sixteen. What is summed is cut to them here, where
    /// their number is known and not inferred from the vectors that hold them.
    fn turn(
        &self,
        e: &mut Emitter,
        place: Place,
        state: &RowState,
        columns: usize,
        mut sums: Vec<Value>,
    ) -> Vec<Value> {
        for i in 0..columns.div_ceil(4) {
            let place = Place {
                beyond: 4 * i,
                ..place
            };
            let mut values = state.values.to_vec();
            self.scalars(
                e,
                state.known,
                Level::Column,
                state.bases,
                place,
                &mut values,
            );
            let value = values.last().copied().flatten();
            let value = value.expect("a body is not empty");
            match state.reduce {
                Reduce::None => write(e, value, state.out, place.column, 16 * i as i32),
                Reduce::First => {
                    let at = e.builder.ins().iadd(state.out.base, place.column);
                    let offset = state.out.offset + 16 * i as i32;
                    let old = e.builder.ins().load(F32X4, free(), at, offset);
                    let sum = e.builder.ins().fadd(old, value);
                    e.builder.ins().store(free(), sum, at, offset);
                }
                Reduce::Second | Reduce::All => {
                    let value = first_lanes(e, value, columns - 4 * i);
                    let value = self.valid_columns(e, place, state, value);
                    if let Some(sum) = sums.get_mut(i) {
                        *sum = e.builder.ins().fadd(*sum, value);
                    }
                }
            }
        }
        sums
    }
}

impl Map<'_> {
    /// Of columns that are steps: zero past the last valid one. Below a diagonal a valid row has
    /// none of those.
    fn valid_columns(&self, e: &mut Emitter, place: Place, state: &RowState, x: Value) -> Value {
        let axis = self.shape.len() - 1;
        let lower = state.known.zeros.last() != Some(&Zeros::Nowhere);
        if lower || !state.known.steps[axis] {
            return x;
        }
        let valid = e.builder.ins().ireduce(I32, e.valid);
        let valid = e.builder.ins().splat(I32X4, valid);
        let columns = self.column_numbers(e, place);
        lanes(e).keep_less(columns, valid, x)
    }
}

/// What the turns of a row share.
#[derive(Clone, Copy)]
struct RowState<'a> {
    known: &'a Known,
    bases: &'a [Address],
    values: &'a [Option<Value>],
    out: Address,
    reduce: Reduce,
    cols: usize,
}

fn lanes<'a, 'b>(e: &'a mut Emitter<'_, 'b>) -> Lanes<'a, 'b> {
    Lanes {
        fma: e.fma,
        call_conv: e.call_conv,
        memory: e.arguments,
        builder: e.builder,
    }
}

fn number(e: &mut Emitter, x: f32) -> Value {
    lanes(e).number(x)
}

/// An access that does not trap, aligned to 4 bytes only.
fn free() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// The address `i * stride` bytes on.
fn advance(e: &mut Emitter, from: Address, i: Value, stride: i64) -> Address {
    let bytes = e.builder.ins().imul_imm_s(i, stride);
    debug_assert_eq!(e.builder.func.dfg.value_type(bytes), I64);
    Address {
        base: e.builder.ins().iadd(from.base, bytes),
        offset: from.offset,
    }
}

fn splat(e: &mut Emitter, at: Address) -> Value {
    let x = e.builder.ins().load(F32, free(), at.base, at.offset);
    e.builder.ins().splat(F32X4, x)
}

fn write(e: &mut Emitter, value: Value, to: Address, column: Value, beyond: i32) {
    let at = e.builder.ins().iadd(to.base, column);
    e.builder.ins().store(free(), value, at, to.offset + beyond);
}

/// The first `count` lanes, zero beyond.
fn first_lanes(e: &mut Emitter, x: Value, count: usize) -> Value {
    if count >= 4 {
        return x;
    }
    #[cfg(test)]
    if e.checks.breach {
        return x;
    }
    let mask = [0, 1, 2, 3].map(|lane| if lane < count { u32::MAX } else { 0 });
    let mask = lanes(e).constant(I32X4, mask);
    let zero = number(e, 0.0);
    lanes(e).select(mask, x, zero)
}

/// The sum of a turn's sums.
fn total(e: &mut Emitter, sums: &[Value]) -> Value {
    let left = e.builder.ins().fadd(sums[0], sums[1]);
    let right = e.builder.ins().fadd(sums[2], sums[3]);
    let sum = e.builder.ins().fadd(left, right);
    lanes(e).sum(sum)
}
