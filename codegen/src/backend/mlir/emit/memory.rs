//! Global memory: the ring of asynchronous copies, loads of vectors, stores, carries.
//!
//! Matrices come in and go out by 16 bytes a thread, or by as many as rows are multiples of; rows past the end of
//! the sequence are not read (the copy fills zeros, or copies the last row) and not written. What of a tile is
//! padding is zero when it comes in, and does not go out.

use super::*;
use crate::target::grain;
use baton_ir::tile::{Fill, Pace};

impl Machine<'_> {
    /// Asks for the staged tiles of the chunk that is run as number `index`, and closes the group;
    /// the group is empty past the end.
    pub(super) fn request(&mut self, index: Val) {
        if self.placement.staged.is_empty() {
            return;
        }
        let some = self.text.icmp("slt", index, self.chunks);
        self.when(some, |machine| {
            let chunk = machine.nth(index);
            let valid = machine.steps_of(chunk);
            let slot = machine
                .text
                .int_op("urem", index, machine.placement.stages as i32);
            let stage = machine
                .text
                .int_op("mul", slot, machine.placement.stage_bytes as i32);
            for &tile in &machine.placement.staged {
                machine.copy_in(tile, chunk, valid, stage);
            }
        });
        self.text.op("nvvm.cp.async.commit.group");
    }

    fn copy_in(&mut self, tile: TileId, chunk: Val, valid: Val, stage: Val) {
        let node = self.program.node(tile);
        let Op::Load(port, fill) = node.op else {
            unreachable!("what is staged is loaded");
        };
        let by_step = self.program.ports[port.index()].pace == Pace::Step;
        let bytes = node.shape[1] * self.options.storage.bytes();
        let room = self.room(tile, Form::Staged);
        let origin = self.text.int_op("add", stage, room.offset as i32);
        let base = self.tile_base(port, chunk);
        let there = self.padded.there(port);
        if there != node.shape || grain(bytes) < 16 {
            return self.copy_padded(tile, &there, base, origin, valid);
        }
        self.pieces(node.shape[0], bytes / 16, |machine, row, unit| {
            let size = match (by_step, fill) {
                (true, Fill::Zero) => {
                    let there = machine.text.icmp("slt", row, valid);
                    let [some, none] = [16, 0].map(|v| machine.text.int(v));
                    machine.text.select(there, some, none, "i32")
                }
                _ => machine.text.int(16),
            };
            let row_from = if by_step {
                machine.last_row(row, valid)
            } else {
                row
            };
            let from = machine.row_at(port, base, row_from, by_step, bytes);
            let within = machine.text.int_op("shl", unit, 4);
            let from = machine.text.at(from, within, 1, "i32");
            let to = machine.unit_at(origin, row, unit, bytes);
            let to = machine.shared_at(to);
            machine.text.op(format_args!(
                "nvvm.cp.async.shared.global {to}, {from}, 16, cache = cg, {size} : \
                 !llvm.ptr<3>, !llvm.ptr<1>, i32"
            ));
        });
    }

    /// The same of a tile with padding: zeros there, and pieces of the rows' grain.
    fn copy_padded(&mut self, tile: TileId, there: &[u32], base: Val, origin: Val, valid: Val) {
        let node = self.program.node(tile);
        let Op::Load(port, fill) = node.op else {
            unreachable!("what is staged is loaded");
        };
        let by_step = self.program.ports[port.index()].pace == Pace::Step;
        let number = self.options.storage.bytes();
        let (bytes, row_bytes) = (node.shape[1] * number, there[1] * number);
        let grain = grain(row_bytes);
        let rows = node.shape[0];
        self.pieces(rows, bytes / grain, |machine, row, piece| {
            let end = machine.text.int((row_bytes / grain) as i32);
            let mut inside = machine.text.icmp("slt", piece, end);
            let first = machine.text.int(0);
            let piece_from = machine.text.select(inside, piece, first, "i32");
            let row_from = match by_step {
                true => machine.last_row(row, valid),
                false => machine.at_most(row, there[0] - 1),
            };
            let limit = match (by_step, fill) {
                (true, Fill::Zero) => Some(valid),
                (true, Fill::Repeat) => None,
                (false, _) => (there[0] < rows).then(|| machine.text.int(there[0] as i32)),
            };
            if let Some(limit) = limit {
                let row_inside = machine.text.icmp("slt", row, limit);
                inside = machine.text.binary("and", inside, row_inside, "i1");
            }
            let from = machine.row_at(port, base, row_from, by_step, row_bytes);
            let within = machine.text.int_op("mul", piece_from, grain as i32);
            let from = machine.text.at(from, within, 1, "i32");
            let to = machine.piece_at(origin, row, piece, bytes, grain);
            if grain < 4 {
                let value = machine.text.load_input(from, "i16");
                let zero = machine.text.def("llvm.mlir.constant(0 : i16) : i16");
                let value = machine.text.select(inside, value, zero, "i16");
                return machine.text.store(value, to, 3, "i16");
            }
            let [some, none] = [grain as i32, 0].map(|v| machine.text.int(v));
            let size = machine.text.select(inside, some, none, "i32");
            let cache = if grain == 16 { "cg" } else { "ca" };
            machine.text.op(format_args!(
                "nvvm.cp.async.shared.global {to}, {from}, {grain}, cache = {cache}, {size} : \
                 !llvm.ptr<3>, !llvm.ptr<1>, i32"
            ));
        });
    }

    /// The place of a piece of `grain` bytes of a row in a swizzled tile of rows of `bytes`.
    fn piece_at(&mut self, origin: Val, row: Val, piece: Val, bytes: u32, grain: u32) -> Val {
        let each = 16 / grain;
        let unit = self
            .text
            .int_op("lshr", piece, each.trailing_zeros() as i32);
        let at = self.unit_at(origin, row, unit, bytes);
        let rest = self.text.int_op("and", piece, each as i32 - 1);
        let rest = self.text.int_op("mul", rest, grain as i32);
        let at = self.text.add(at, rest);
        self.shared_at(at)
    }

    fn at_most(&mut self, index: Val, most: u32) -> Val {
        let most = self.text.int(most as i32);
        self.text.def(format_args!(
            "llvm.intr.smin({index}, {most}) : (i32, i32) -> i32"
        ))
    }

    /// `row`, or the last one that there is.
    fn last_row(&mut self, row: Val, valid: Val) -> Val {
        let last = self.text.int_op("sub", valid, 1);
        self.text.def(format_args!(
            "llvm.intr.smin({row}, {last}) : (i32, i32) -> i32"
        ))
    }

    /// Where the tile of `chunk` begins in a port.
    fn tile_base(&mut self, port: PortId, chunk: Val) -> Val {
        let (base, time) = self.ports[port.index()];
        let steps = match self.program.ports[port.index()].pace {
            Pace::Task => return base,
            Pace::Chunk => 1,
            Pace::Step => self.program.chunk as i32,
        };
        let count = self.text.int_op("mul", chunk, steps);
        let count = self.text.widen(count);
        let offset = self.text.binary("mul", count, time, "i64");
        self.text.at(base, offset, 1, "i64")
    }

    /// Where row `row` of a tile begins.
    fn row_at(&mut self, port: PortId, base: Val, row: Val, by_step: bool, bytes: u32) -> Val {
        if by_step {
            let row = self.text.widen(row);
            let offset = self
                .text
                .binary("mul", row, self.ports[port.index()].1, "i64");
            self.text.at(base, offset, 1, "i64")
        } else {
            let offset = self.text.int_op("mul", row, bytes as i32);
            self.text.at(base, offset, 1, "i32")
        }
    }

    /// Runs `each` for every row and unit of it that this thread moves.
    pub(super) fn pieces(&mut self, rows: u32, units: u32, each: impl Fn(&mut Self, Val, Val)) {
        let (all, threads) = (rows * units, self.options.threads());
        for first in (0..all).step_by(threads as usize) {
            let piece = self.text.int_op("add", self.thread, first as i32);
            let one = |machine: &mut Self| {
                let row = machine.text.int_op("udiv", piece, units as i32);
                let unit = machine.text.int_op("urem", piece, units as i32);
                each(machine, row, unit);
            };
            if first + threads > all {
                let end = self.text.int(all as i32);
                let mine = self.text.icmp("slt", piece, end);
                self.when(mine, one);
            } else {
                one(self);
            }
        }
    }

    /// A vector or a number from its port.
    pub(super) fn load(&mut self, tile: TileId, form: Form) {
        let node = self.program.node(tile);
        let Op::Load(port, fill) = node.op else {
            unreachable!("a load step loads");
        };
        let decl = &self.program.ports[port.index()];
        let by_step = decl.pace == Pace::Step;
        let base = self.tile_base(port, self.chunk);
        let indices = match form {
            Form::Rows => {
                let grid = self.grid(&node.shape);
                self.rows(grid)
            }
            Form::Cols(warps) => self.columns_of(node.shape[0], warps),
            _ => vec![self.text.int(0)],
        };
        let storage = self.storage(port);
        let there = self.padded.there(port);
        let end = { there.first() }.filter(|_| there != node.shape).copied();
        let one = |machine: &mut Self, index: Val| {
            let from = match end {
                _ if by_step => machine.last_row(index, machine.valid),
                Some(end) => machine.at_most(index, end - 1),
                None => index,
            };
            let at = machine.row_at(port, base, from, by_step, storage.bytes());
            let value = machine.load_number(at, storage);
            if let Some(end) = end {
                let end = machine.text.int(end as i32);
                let there = machine.text.icmp("slt", index, end);
                let zero = machine.text.float(0.0);
                machine.text.select(there, value, zero, "f32")
            } else if by_step && fill == Fill::Zero {
                let there = machine.text.icmp("slt", index, machine.valid);
                let zero = machine.text.float(0.0);
                machine.text.select(there, value, zero, "f32")
            } else {
                value
            }
        };
        let values = indices.into_iter().map(|index| one(self, index)).collect();
        self.held.insert((tile, form), values);
    }

    fn load_number(&mut self, at: Val, storage: Storage) -> Val {
        match storage {
            Storage::F32 => self.text.load_input(at, "f32"),
            _ => {
                let bits = self.text.load_input(at, "i16");
                let ty = storage.name();
                let value = self.text.bitcast(bits, "i16", ty);
                self.text
                    .def(format_args!("llvm.fpext {value} : {ty} to f32"))
            }
        }
    }

    /// The columns of this thread in a vector of `n` dealt to warps.
    pub(super) fn columns_of(&mut self, n: u32, [row_warps, column_warps]: [u32; 2]) -> Vec<Val> {
        self.columns(Grid {
            row_warps,
            column_warps,
            row_pieces: 1,
            column_pieces: n / 8 / column_warps,
        })
    }

    /// Writes a tile to its port.
    pub(super) fn store(&mut self, port: PortId, tile: TileId, form: Form) {
        let node = self.program.node(tile);
        let by_step = self.program.ports[port.index()].pace == Pace::Step;
        let base = self.tile_base(port, self.chunk);
        let there = self.padded.there(port);
        match form {
            Form::Operand | Form::Outgoing => {
                let number = self.options.storage.bytes();
                let (bytes, row_bytes) = (node.shape[1] * number, there[1] * number);
                let grain = grain(row_bytes);
                let ty = match grain {
                    16 => "vector<4xi32>",
                    8 => "i64",
                    4 => "i32",
                    _ => "i16",
                };
                let origin = self.origin(tile, form);
                self.pieces(there[0], row_bytes / grain, |machine, row, unit| {
                    let copy = |machine: &mut Self| {
                        let from = match grain {
                            16 => {
                                let from = machine.unit_at(origin, row, unit, bytes);
                                machine.shared_at(from)
                            }
                            _ => machine.piece_at(origin, row, unit, bytes, grain),
                        };
                        let value = machine.text.load(from, 3, ty);
                        let to = machine.row_at(port, base, row, by_step, row_bytes);
                        let shift = grain.trailing_zeros() as i32;
                        let within = machine.text.int_op("shl", unit, shift);
                        let to = machine.text.at(to, within, 1, "i32");
                        machine.text.store(value, to, 1, ty);
                    };
                    if by_step {
                        let there = machine.text.icmp("slt", row, machine.valid);
                        machine.when(there, copy);
                    } else {
                        copy(machine);
                    }
                });
            }
            Form::Fragment => {
                let values = self.held[&(tile, form)].clone();
                let time = by_step.then_some(self.ports[port.index()].1);
                self.store_fragment(base, &node.shape, &there, &values, time);
            }
            Form::Rows => {
                let values = self.held[&(tile, form)].clone();
                self.store_rows(base, &node.shape, &there, &values, by_step.then_some(port));
            }
            _ => {
                let values = self.held[&(tile, form)].clone();
                self.store_first(base, values[0]);
            }
        }
    }

    /// Runs `write` where a row exists: of steps up to the sequence's end, else up to what is `there` of a tile's rows.
    fn where_row(
        &mut self,
        row: Val,
        steps: bool,
        [there, rows]: [u32; 2],
        write: impl FnOnce(&mut Self),
    ) {
        let end = match steps {
            true => Some(self.valid),
            false => (there < rows).then(|| self.text.int(there as i32)),
        };
        match end {
            Some(end) => {
                let there = self.text.icmp("slt", row, end);
                self.when(there, write);
            }
            None => write(self),
        }
    }

    /// Writes f32 pairs of a matrix, rows `time` apart (contiguous and all there when `None`).
    fn store_fragment(
        &mut self,
        base: Val,
        shape: &[u32],
        there: &[u32],
        values: &[Val],
        time: Option<Val>,
    ) {
        let grid = self.grid(shape);
        let (rows, columns) = (self.rows(grid), self.columns(grid));
        let stride = match time {
            Some(time) => time,
            None => self.text.long(4 * there[1] as i64),
        };
        self.in_warps(grid.owners(), |machine| {
            for (r, &row) in rows.iter().enumerate() {
                let write = |machine: &mut Self| {
                    let far = machine.text.widen(row);
                    let far = machine.text.binary("mul", far, stride, "i64");
                    let at = machine.text.at(base, far, 1, "i64");
                    for q in 0..grid.column_pieces as usize {
                        let near = machine.text.int_op("mul", columns[2 * q], 4);
                        let at = machine.text.at(at, near, 1, "i32");
                        let first = (r / 2 * grid.column_pieces as usize + q) * 4 + 2 * (r % 2);
                        let pair = &values[first..first + 2];
                        match there[1] == shape[1] {
                            true => machine.store_pair(pair, at),
                            false => machine.store_inside(pair, at, &columns[2 * q..], there[1]),
                        }
                    }
                };
                machine.where_row(row, time.is_some(), [there[0], shape[0]], write);
            }
        });
    }

    fn store_pair(&mut self, pair: &[Val], at: Val) {
        let pair = self.text.pack(pair, "f32");
        self.text.store(pair, at, 1, "vector<2xf32>");
    }

    /// Writes what of a pair is below column `end`; together where rows begin at multiples of a pair.
    fn store_inside(&mut self, pair: &[Val], at: Val, columns: &[Val], end: u32) {
        let below = |machine: &mut Self, column: Val| {
            let end = machine.text.int(end as i32);
            machine.text.icmp("slt", column, end)
        };
        if end.is_multiple_of(2) {
            let inside = below(self, columns[0]);
            return self.when(inside, |machine| machine.store_pair(pair, at));
        }
        for (e, (&value, &column)) in pair.iter().zip(columns).enumerate() {
            let inside = below(self, column);
            let bytes = self.text.int(4 * e as i32);
            self.when(inside, |machine| {
                let at = machine.text.at(at, bytes, 1, "i32");
                machine.text.store(value, at, 1, "f32");
            });
        }
    }

    /// Writes f32 of a vector; steps of a port where one is given, else contiguous.
    fn store_rows(
        &mut self,
        base: Val,
        shape: &[u32],
        there: &[u32],
        values: &[Val],
        steps: Option<PortId>,
    ) {
        let grid = self.grid(shape);
        let rows = self.rows(grid);
        let (values, pair) = (values.to_vec(), self.pair);
        self.in_warps(grid.row_warps, |machine| {
            machine.where_zero(pair, |machine| {
                for (&row, value) in rows.iter().zip(values) {
                    let write = |machine: &mut Self| {
                        let at = match steps {
                            Some(port) => machine.row_at(port, base, row, true, 4),
                            None => {
                                let offset = machine.text.int_op("mul", row, 4);
                                machine.text.at(base, offset, 1, "i32")
                            }
                        };
                        machine.text.store(value, at, 1, "f32");
                    };
                    machine.where_row(row, steps.is_some(), [there[0], shape[0]], write);
                }
            });
        });
    }

    fn store_first(&mut self, base: Val, value: Val) {
        self.where_zero(self.thread, |machine| {
            machine.text.store(value, base, 1, "f32")
        });
    }

    /// Writes what a task added up.
    pub(super) fn store_sum(&mut self, port: PortId, tile: TileId, values: &[Val]) {
        let base = self.ports[port.index()].0;
        let there = self.padded.there(port);
        self.store_f32(base, &self.program.node(tile).shape.clone(), &there, values);
    }

    fn store_f32(&mut self, base: Val, shape: &[u32], there: &[u32], values: &[Val]) {
        match shape.len() {
            0 => self.store_first(base, values[0]),
            1 => self.store_rows(base, shape, there, values, None),
            _ => self.store_fragment(base, shape, there, values, None),
        }
    }

    /// The carry as it enters: zero where its address is null.
    pub(super) fn enter(&mut self, carry: usize) -> Vec<Val> {
        let dims = &self.program.carries[carry].dims;
        let there = &self.padded.carries[carry];
        if there != dims {
            return self.enter_padded(carry);
        }
        let count = self.registers(dims);
        let grid = self.grid(dims);
        let (rows, columns) = match dims.len() {
            0 => (vec![], vec![]),
            1 => (self.rows(grid), vec![]),
            _ => (self.rows(grid), self.columns(grid)),
        };
        let (from, _, offset) = self.carries[carry];
        let address = self
            .text
            .def(format_args!("llvm.ptrtoint {from} : !llvm.ptr<1> to i64"));
        let zero = self.text.long(0);
        let given = self
            .text
            .def(format_args!("llvm.icmp \"ne\" {address}, {zero} : i64"));
        let base = self.text.at(from, offset, 1, "i64");
        self.text.either(
            given,
            count,
            |text| match dims.len() {
                0 => vec![text.load_input(base, "f32")],
                1 => rows
                    .iter()
                    .map(|row| {
                        let offset = text.int_op("mul", *row, 4);
                        let at = text.at(base, offset, 1, "i32");
                        text.load_input(at, "f32")
                    })
                    .collect(),
                _ => {
                    let mut values = vec![None; count];
                    for (r, &row) in rows.iter().enumerate() {
                        let far = text.int_op("mul", row, 4 * dims[1] as i32);
                        let far = text.at(base, far, 1, "i32");
                        for q in 0..grid.column_pieces as usize {
                            let near = text.int_op("mul", columns[2 * q], 4);
                            let at = text.at(far, near, 1, "i32");
                            let pair = text.load_input(at, "vector<2xf32>");
                            let pair = text.unpack(pair, 2, "f32");
                            let first = (r / 2 * grid.column_pieces as usize + q) * 4 + 2 * (r % 2);
                            values[first] = Some(pair[0]);
                            values[first + 1] = Some(pair[1]);
                        }
                    }
                    values.into_iter().flatten().collect()
                }
            },
            |text| vec![text.float(0.0); count],
        )
    }

    /// The same of a carry with padding, which is zero: number by number, none from beyond its end.
    fn enter_padded(&mut self, carry: usize) -> Vec<Val> {
        let (dims, there) = (
            &self.program.carries[carry].dims,
            &self.padded.carries[carry],
        );
        let grid = self.grid(dims);
        let rows = self.rows(grid);
        let places: Vec<Vec<Val>> = match dims.len() {
            1 => rows.iter().map(|&row| vec![row]).collect(),
            _ => {
                let columns = self.columns(grid);
                let place = |register| {
                    let [row, column] = grid.place(register);
                    vec![rows[row], columns[column]]
                };
                (0..self.registers(dims)).map(place).collect()
            }
        };
        let (from, _, offset) = self.carries[carry];
        let address = self
            .text
            .def(format_args!("llvm.ptrtoint {from} : !llvm.ptr<1> to i64"));
        let none = self.text.long(0);
        let given = self
            .text
            .def(format_args!("llvm.icmp \"ne\" {address}, {none} : i64"));
        let base = self.text.at(from, offset, 1, "i64");
        let zero = self.text.float(0.0);
        let load = |text: &mut Text, place: &Vec<Val>| {
            let (mut at, mut value_inside) = (text.int(0), None);
            for (&index, &end) in place.iter().zip(there) {
                let [last, end_value] = [end - 1, end].map(|v| text.int(v as i32));
                let clamped = text.def(format_args!(
                    "llvm.intr.smin({index}, {last}) : (i32, i32) -> i32"
                ));
                let inside = text.icmp("slt", index, end_value);
                at = text.int_op("mul", at, end as i32);
                at = text.add(at, clamped);
                value_inside = Some(match value_inside {
                    None => inside,
                    Some(before) => text.binary("and", before, inside, "i1"),
                });
            }
            let bytes = text.int_op("mul", at, 4);
            let at = text.at(base, bytes, 1, "i32");
            let value = text.load_input(at, "f32");
            value_inside.map_or(value, |inside| text.select(inside, value, zero, "f32"))
        };
        self.text.either(
            given,
            places.len(),
            |text| places.iter().map(|place| load(text, place)).collect(),
            |_| vec![zero; places.len()],
        )
    }

    /// The carry as it leaves.
    pub(super) fn leave(&mut self, carry: usize, values: &[Val]) {
        let (_, to, offset) = self.carries[carry];
        let base = self.text.at(to, offset, 1, "i64");
        let there = self.padded.carries[carry].clone();
        self.store_f32(
            base,
            &self.program.carries[carry].dims.clone(),
            &there,
            values,
        );
    }
}
