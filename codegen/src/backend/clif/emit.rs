//! The skeleton of a compiled task, and the calls of micro-kernels.
//!
//! The loops of the level as they stand there: chunks in their direction, in each the work before
//! the heads, for each head, and after them. Maps become instructions (`map`), everything else a
//! call. Loops are tested at their end, as a task has at least one step and one head.

use super::abi::{Abi, HEADS, LEN, SCRATCH};
use super::map;
use super::micro::{Kernels, Shape, scan_flags};
use super::plan::{Buffer, Form, Place, Plan, Tile, Work, extents, form};
use baton_ir::chunked::{Direction, Interval, Partial};
use baton_ir::tile::{
    CarryId, Effect, Fill, Op, Pace, PortId, Region, TileId, TileProgram, Triangle,
};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    AbiParam, BlockArg, InstBuilder, MemFlagsData, SigRef, Signature, StackSlot, StackSlotData,
    StackSlotKind, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use std::collections::HashMap;

/// Bytes of a number.
pub const NUMBER: i64 = 4;

/// Emits one program.
pub struct Emitter<'a, 'b> {
    /// The function that is being built.
    pub builder: &'a mut FunctionBuilder<'b>,
    /// What is emitted.
    pub program: &'a TileProgram,
    /// Its order and places.
    pub plan: &'a Plan,
    /// Whether `fma` is one instruction.
    pub fma: bool,
    /// Steps of the sequence in this chunk.
    pub valid: Value,
    kernels: &'a Kernels,
    abi: Abi,
    call_conv: CallConv,
    signatures: HashMap<usize, SigRef>,
    arguments: StackSlot,
    words: Value,
    scratch: Value,
    chunk: Value,
    head: Value,
}

/// An address: a value and bytes beyond it.
#[derive(Clone, Copy)]
pub struct Address {
    /// The value.
    pub base: Value,
    /// Bytes beyond it.
    pub offset: i32,
}

/// Emits `program` into an empty function of one word.
pub fn emit(
    builder: &mut FunctionBuilder,
    program: &TileProgram,
    plan: &Plan,
    kernels: &Kernels,
    call_conv: CallConv,
    fma: bool,
) {
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let words = builder.block_params(entry)[0];
    let arguments = builder.create_sized_stack_slot(StackSlotData::new(
        StackSlotKind::ExplicitSlot,
        16 * 8,
        3,
    ));
    let zero = builder.ins().iconst(I64, 0);
    let mut emitter = Emitter {
        builder,
        program,
        plan,
        fma,
        valid: zero,
        kernels,
        abi: Abi::new(program),
        call_conv,
        signatures: HashMap::new(),
        arguments,
        words,
        scratch: zero,
        chunk: zero,
        head: zero,
    };
    emitter.task();
    emitter.builder.ins().return_(&[]);
    emitter.builder.seal_all_blocks();
}

impl Emitter<'_, '_> {
    /// A number of 64 bits.
    pub fn word(&mut self, x: i64) -> Value {
        self.builder.ins().iconst(I64, x)
    }

    /// Runs `body` for `i` from `from` in steps of `step` while below `to`, at least once.
    pub fn repeat(
        &mut self,
        from: Value,
        to: Value,
        step: i64,
        carried: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let (turn, done) = (self.builder.create_block(), self.builder.create_block());
        let i = self.builder.append_block_param(turn, I64);
        let mut inside = vec![];
        let mut after = vec![];
        for &value in carried {
            let kind = self.builder.func.dfg.value_type(value);
            inside.push(self.builder.append_block_param(turn, kind));
            after.push(self.builder.append_block_param(done, kind));
        }
        let arguments = |first: Option<Value>, rest: &[Value]| -> Vec<BlockArg> {
            first.iter().chain(rest).map(|&v| BlockArg::Value(v)).collect()
        };
        self.builder.ins().jump(turn, &arguments(Some(from), carried));
        self.builder.switch_to_block(turn);
        let carried = body(self, i, &inside);
        let next = self.builder.ins().iadd_imm_s(i, step);
        let more = self.builder.ins().icmp(IntCC::SignedLessThan, next, to);
        self.builder.ins().brif(
            more,
            turn,
            &arguments(Some(next), &carried),
            done,
            &arguments(None, &carried),
        );
        self.builder.switch_to_block(done);
        after
    }

    /// Runs `body` only where the condition holds.
    pub fn when(&mut self, condition: Value, body: impl FnOnce(&mut Self)) {
        let (then, done) = (self.builder.create_block(), self.builder.create_block());
        self.builder.ins().brif(condition, then, &[], done, &[]);
        self.builder.switch_to_block(then);
        body(self);
        self.builder.ins().jump(done, &[]);
        self.builder.switch_to_block(done);
    }

    fn argument(&mut self, number: usize) -> Value {
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        self.builder
            .ins()
            .load(I64, flags, self.words, 8 * number as i32)
    }

    fn task(&mut self) {
        self.scratch = self.argument(SCRATCH);
        let (len, heads) = (self.argument(LEN), self.argument(HEADS));
        let size = i64::from(self.program.chunk.max(1));
        let zero = self.word(0);
        let rounded = self.builder.ins().iadd_imm_s(len, size - 1);
        let divisor = self.word(size);
        let chunks = self.builder.ins().udiv(rounded, divisor);
        self.repeat(zero, chunks, 1, &[], |e, i, _| {
            e.chunk = match e.program.direction {
                Direction::Forward => i,
                Direction::Reverse => {
                    let last = e.builder.ins().iadd_imm_s(chunks, -1);
                    e.builder.ins().isub(last, i)
                }
            };
            let start = e.builder.ins().imul_imm_s(e.chunk, size);
            let left = e.builder.ins().isub(len, start);
            let size = e.word(size);
            e.valid = e.builder.ins().smin(left, size);
            e.head = e.word(0);
            e.region(Region::Before);
            e.clear_sums();
            if e.plan.steps.iter().any(|s| s.region == Region::Heads) {
                let zero = e.word(0);
                e.repeat(zero, heads, 1, &[], |e, head, _| {
                    e.head = head;
                    e.region(Region::Heads);
                    vec![]
                });
            }
            e.head = e.word(0);
            e.after(heads);
            vec![]
        });
    }

    fn region(&mut self, region: Region) {
        for step in self.plan.steps.iter().filter(|s| s.region == region) {
            self.step(step.work, step.room);
        }
    }

    /// After the heads, what goes to every head's place goes there in a loop.
    fn after(&mut self, heads: Value) {
        for step in self.plan.steps.iter().filter(|s| s.region == Region::After) {
            let each = match step.work {
                Work::Effect(i) => match self.program.effects[i] {
                    Effect::Store(port, _) | Effect::Accumulate(port, _) => {
                        self.program.ports[port.index()].per_head
                    }
                    Effect::Carry(..) => true,
                },
                _ => false,
            };
            if each {
                let zero = self.word(0);
                self.repeat(zero, heads, 1, &[], |e, head, _| {
                    e.head = head;
                    e.step(step.work, step.room);
                    vec![]
                });
                self.head = self.word(0);
            } else {
                self.step(step.work, step.room);
            }
        }
    }

    fn clear_sums(&mut self) {
        for step in &self.plan.steps {
            if let Work::Compute(tile) = step.work
                && matches!(self.program.node(tile).op, Op::HeadSum(_))
            {
                let sum = self.plan.tiles[tile.index()];
                let to = self.place(tile.index());
                let (stride, rows) = (sum.row as i64 * NUMBER, sum.rows as i64);
                let args = [stride, 0, rows, sum.row as i64, 0].map(|x| self.word(x));
                let mut all = vec![to];
                all.extend(args);
                self.call(self.kernels.fill as usize, &all);
            }
        }
    }

    fn step(&mut self, work: Work, room: usize) {
        match work {
            Work::Compute(tile) => self.compute(tile, room),
            Work::Turn { from, to } => {
                let (src, dst) = (self.plan.tiles[from], self.plan.tiles[to]);
                let (d, s) = (self.place(to), self.place(from));
                let [dr, sr, r, c] =
                    [dst.row, src.row, src.rows, src.cols].map(|x| self.word(x as i64));
                self.call(self.kernels.transpose as usize, &[d, dr, s, sr, r, c]);
            }
            Work::AddHead { from, to } => {
                let (d, s) = (self.place(to), self.place(from));
                let (dst, src) = (self.plan.tiles[to], self.plan.tiles[from]);
                self.rows(self.kernels.add as usize, d, dst, s, src);
            }
            Work::Effect(i) => self.effect(self.program.effects[i]),
        }
    }

    /// The address of a buffer as one value.
    fn place(&mut self, buffer: Buffer) -> Value {
        let Address { base, offset } = self.address(buffer);
        self.builder.ins().iadd_imm_s(base, i64::from(offset))
    }

    /// The address of a buffer.
    pub fn address(&mut self, buffer: Buffer) -> Address {
        let (base, offset) = match self.plan.tiles[buffer].place {
            Place::Scratch(at) => (self.scratch, at as i64 * NUMBER),
            Place::Carry(carry) => (self.carry(carry), 0),
            Place::Port(port) => (self.port(port), 0),
        };
        match i32::try_from(offset) {
            Ok(offset) => Address { base, offset },
            Err(_) => Address {
                base: self.builder.ins().iadd_imm_s(base, offset),
                offset: 0,
            },
        }
    }

    fn carry(&mut self, carry: CarryId) -> Value {
        let at = self.abi.carry(carry);
        let (base, stride) = (self.argument(at), self.argument(at + 1));
        let offset = self.builder.ins().imul(self.head, stride);
        self.builder.ins().iadd(base, offset)
    }

    /// The address of a port's tile of this chunk and head.
    fn port(&mut self, port: PortId) -> Value {
        let decl = &self.program.ports[port.index()];
        let at = self.abi.port(port);
        let mut address = self.argument(at);
        if decl.pace != Pace::Task {
            let stride = self.argument(at + 1);
            let along = match decl.pace {
                Pace::Step => {
                    let size = i64::from(self.program.chunk);
                    self.builder.ins().imul_imm_s(self.chunk, size)
                }
                _ => self.chunk,
            };
            let offset = self.builder.ins().imul(along, stride);
            address = self.builder.ins().iadd(address, offset);
        }
        if decl.per_head {
            let stride = self.argument(at + 2);
            let offset = self.builder.ins().imul(self.head, stride);
            address = self.builder.ins().iadd(address, offset);
        }
        address
    }

    /// Calls a C function of words.
    fn call(&mut self, address: usize, arguments: &[Value]) {
        let (builder, call_conv) = (&mut self.builder, self.call_conv);
        let signature = *self.signatures.entry(arguments.len()).or_insert_with(|| {
            let mut signature = Signature::new(call_conv);
            signature.params = vec![AbiParam::new(I64); arguments.len()];
            builder.import_signature(signature)
        });
        let callee = self.word(address as i64);
        self.builder
            .ins()
            .call_indirect(signature, callee, arguments);
    }

    /// Calls a kernel with words laid out in memory; `None` leaves a word out.
    fn call_with(&mut self, kernel: usize, words: &[Value], more: &[Value]) {
        for (i, &word) in words.iter().enumerate() {
            self.builder
                .ins()
                .stack_store(I64, word, self.arguments, 8 * i as i32);
        }
        let at = self.builder.ins().stack_addr(I64, self.arguments, 0);
        let all: Vec<Value> = [at].iter().chain(more).copied().collect();
        self.call(kernel, &all);
    }

    /// Copies (or adds) a tile to another of the same size.
    fn rows(&mut self, kernel: usize, d: Value, dst: Tile, s: Value, src: Tile) {
        let rows = self.word(src.rows as i64);
        let strides = [dst.row, src.row].map(|row| row as i64 * NUMBER);
        let [ds, ss] = strides.map(|x| self.word(x));
        let cols = self.word(src.cols as i64);
        self.call(kernel, &[d, ds, s, ss, rows, cols]);
    }

    /// A tile outside, whose rows stand one after the other.
    fn dense(dims: &[u32]) -> Tile {
        let (rows, cols) = extents(dims);
        Tile {
            rows,
            cols,
            row: cols,
            place: Place::Scratch(0),
        }
    }

    fn effect(&mut self, effect: Effect) {
        let tile = effect.tile().index();
        let from = self.plan.tiles[tile];
        match effect {
            Effect::Carry(carry, _) => {
                if from.place == Place::Carry(carry) {
                    return;
                }
                let to = Self::dense(&self.program.carries[carry.index()].dims);
                let (d, s) = (self.carry(carry), self.place(tile));
                self.rows(self.kernels.copy as usize, d, to, s, from);
            }
            Effect::Store(port, _) => self.store(self.kernels.copy as usize, port, tile),
            Effect::Accumulate(port, _) => self.store(self.kernels.add as usize, port, tile),
        }
    }

    fn store(&mut self, kernel: usize, port: PortId, tile: Buffer) {
        let decl = &self.program.ports[port.index()];
        let from = self.plan.tiles[tile];
        let (d, s) = (self.port(port), self.place(tile));
        if decl.pace != Pace::Step {
            return self.rows(kernel, d, Self::dense(&decl.dims), s, from);
        }
        let (stride, cols) = step_rows(&decl.dims, from);
        let outside = self.abi.port(port) + 1;
        let outside = self.argument(outside);
        let [stride, cols] = [stride, cols].map(|x| self.word(x));
        self.call(kernel, &[d, outside, s, stride, self.valid, cols]);
    }

    fn load(&mut self, port: PortId, fill: Fill, tile: Buffer) {
        let decl = &self.program.ports[port.index()];
        let to = self.plan.tiles[tile];
        if matches!(to.place, Place::Port(_)) {
            return;
        }
        let (d, s) = (self.place(tile), self.port(port));
        if decl.pace != Pace::Step {
            let copy = self.kernels.copy as usize;
            return self.rows(copy, d, to, s, Self::dense(&decl.dims));
        }
        let (stride, cols) = step_rows(&decl.dims, to);
        let outside = self.abi.port(port) + 1;
        let outside = self.argument(outside);
        let [stride, cols] = [stride, cols].map(|x| self.word(x));
        let copy = self.kernels.copy as usize;
        self.call(copy, &[d, stride, s, outside, self.valid, cols]);
        let size = self.word(i64::from(self.program.chunk));
        let short = self
            .builder
            .ins()
            .icmp(IntCC::SignedLessThan, self.valid, size);
        self.when(short, |e| {
            let repeat = e.word(i64::from(fill == Fill::Repeat));
            let kernel = e.kernels.fill as usize;
            e.call(kernel, &[d, stride, e.valid, size, cols, repeat]);
        });
    }

    fn compute(&mut self, tile: TileId, room: usize) {
        let program = self.program;
        let node = program.node(tile);
        let out = tile.index();
        match &node.op {
            Op::Load(port, fill) => self.load(*port, *fill, out),
            Op::Carry(carry) => {
                let to = self.plan.tiles[out];
                if !matches!(to.place, Place::Carry(_)) {
                    let from = Self::dense(&program.carries[carry.index()].dims);
                    let (d, s) = (self.place(out), self.carry(*carry));
                    self.rows(self.kernels.copy as usize, d, to, s, from);
                }
            }
            Op::HeadSum(_) => (),
            Op::Map {
                shape,
                operands,
                body,
                reduce,
            } => map::Map {
                shape,
                operands,
                body,
                reduce: *reduce,
                lower: self.plan.lower[out],
                out,
            }
            .emit(self),
            Op::Matmul {
                a,
                ta,
                b,
                tb,
                add,
                triangle,
            } => self.matmul(out, (*a, *ta), (*b, *tb), *add, *triangle),
            Op::Decay(interval, strict, l) => self.decay(out, *interval, *strict, l.index()),
            Op::Spread(interval, strict, x) => {
                self.spread(out, *interval, *strict, x.index(), room);
            }
            Op::Trilinear(partial, strict, operands, l) => {
                self.trilinear(out, *partial, *strict, operands, *l, room);
            }
        }
    }

    fn matmul(
        &mut self,
        out: Buffer,
        (a, ta): (TileId, bool),
        (b, tb): (TileId, bool),
        add: Option<TileId>,
        triangle: Triangle,
    ) {
        let shape = |tile: TileId| &self.program.node(tile).shape[..];
        let form = form(shape(a), ta, shape(b), tb);
        let (left, right) = (self.plan.tiles[a.index()], self.plan.tiles[b.index()]);
        let sum = self.plan.summed[out];
        let target = sum.unwrap_or(out);
        let result = self.plan.tiles[target];
        let (mut m, mut k) = (left.rows, left.cols);
        let (mut a_row, mut a_col) = (left.row, 1);
        if ta {
            (m, k) = (k, m);
            (a_row, a_col) = (a_col, a_row);
        }
        let n = if tb { right.rows } else { right.cols };
        let mut triangle = match (triangle, ta) {
            (Triangle::None, _) => Shape::Full,
            (Triangle::A, false) => Shape::LowerA,
            (Triangle::A, true) => Shape::UpperA,
            (Triangle::Out, _) => Shape::LowerC,
        };
        let (mut from, mut to) = (a.index(), b.index());
        let (mut b_row, mut width) = (right.row, n.next_multiple_of(16));
        let mut kernel = self.kernels.matmul as usize;
        match form {
            Form::Rows => (),
            Form::TurnedRows => {
                to = self.plan.turned[b.index()].unwrap_or(to);
                b_row = self.plan.tiles[to].row;
            }
            Form::Swapped => {
                (from, to) = (to, from);
                (a_row, a_col, b_row) = (0, 1, left.row);
                (m, width) = (1, m.next_multiple_of(16));
                triangle = Shape::Full;
            }
            Form::DotA => kernel = self.kernels.dot_rows as usize,
            Form::DotB => {
                (from, to) = (to, from);
                (a_row, m) = (right.row, n);
                kernel = self.kernels.dot_rows as usize;
            }
        }
        let added = sum.or(add.map(|add| add.index()));
        let add_row = added.map_or(0, |add| self.plan.tiles[add].row);
        let (from, to, result_at) = (self.place(from), self.place(to), self.place(target));
        let added = match added {
            Some(add) => self.place(add),
            None => self.word(0),
        };
        let [a_row, a_col, b_row, add_row, c_row, m, n, k] =
            [a_row, a_col, b_row, add_row, result.row, m, width, k].map(|x| self.word(x as i64));
        let words = [
            from, a_row, a_col, to, b_row, added, add_row, result_at, c_row, m, n, k,
        ];
        match form {
            Form::DotA | Form::DotB => self.call_with(kernel, &words, &[]),
            _ => {
                let triangle = self.word(triangle as i64);
                self.call_with(kernel, &words, &[triangle]);
            }
        }
    }

    /// A scan over the steps of `x`.
    fn scan(&mut self, out: Buffer, x: Buffer, flags: i64) {
        let (from, to) = (self.plan.tiles[x], self.plan.tiles[out]);
        let vector = self.program.nodes[x].shape.len() == 1;
        let (rows, cols, from_row, to_row) = match vector {
            true => (from.cols, 1, 1, 1),
            false => (from.rows, from.cols, from.row, to.row),
        };
        let (d, s) = (self.place(out), self.place(x));
        let [to_row, from_row, rows, cols] =
            [to_row, from_row, rows, cols].map(|x| self.word(x as i64));
        let flags = self.word(flags);
        self.call(
            self.kernels.scan as usize,
            &[d, to_row, s, from_row, rows, cols, flags],
        );
    }

    fn decay(&mut self, out: Buffer, interval: Interval, strict: bool, l: Buffer) {
        match interval {
            Interval::Between => {
                let (d, s) = (self.place(out), self.place(l));
                let row = self.plan.tiles[out].row as i64;
                let size = i64::from(self.program.chunk);
                let words = [row, 0, size, 0, i64::from(strict)].map(|x| self.word(x));
                let [row, none, size, no_room, strict] = words;
                self.call(
                    self.kernels.decay_between as usize,
                    &[d, row, s, none, size, no_room, strict],
                );
            }
            Interval::Start => self.scan(out, l, scan_flags(false, !strict, true, false)),
            Interval::End => self.scan(out, l, scan_flags(true, false, true, false)),
            Interval::Total => self.scan(out, l, scan_flags(false, true, true, true)),
        }
    }

    fn spread(&mut self, out: Buffer, interval: Interval, strict: bool, x: Buffer, room: usize) {
        match interval {
            Interval::Between => {
                let (d, s) = (self.place(out), self.place(x));
                let row = self.plan.tiles[x].row as i64;
                let size = i64::from(self.program.chunk);
                let [none, row, size, strict] =
                    [0, row, size, i64::from(strict)].map(|x| self.word(x));
                let room = self.room(room);
                self.call(
                    self.kernels.spread_between as usize,
                    &[d, none, s, row, size, room, strict],
                );
            }
            Interval::Start => self.scan(out, x, scan_flags(true, !strict, false, false)),
            Interval::End => self.scan(out, x, scan_flags(false, false, false, false)),
            Interval::Total => {
                let (d, s) = (self.place(out), self.place(x));
                let (from, to) = (self.plan.tiles[x], self.plan.tiles[out]);
                let number = self.program.nodes[x].shape.is_empty();
                let (stride, cols) = match number {
                    true => (NUMBER, 1),
                    false => (to.row as i64 * NUMBER, from.cols as i64),
                };
                let size = i64::from(self.program.chunk);
                let [stride, none, size, cols] =
                    [stride, 0, size, cols].map(|x| self.word(x));
                self.call(
                    self.kernels.copy as usize,
                    &[d, stride, s, none, size, cols],
                );
            }
        }
    }

    fn room(&mut self, room: usize) -> Value {
        let offset = room as i64 * NUMBER;
        self.builder.ins().iadd_imm_s(self.scratch, offset)
    }

    fn trilinear(
        &mut self,
        out: Buffer,
        partial: Partial,
        strict: bool,
        operands: &[TileId],
        l: TileId,
        room: usize,
    ) {
        // Positions of m, q and k among the operands.
        let (kernel, order) = match partial {
            Partial::Weights => (self.kernels.weights, [None, Some(0), Some(1)]),
            Partial::Query => (self.kernels.query, [Some(0), None, Some(1)]),
            Partial::Key => (self.kernels.key, [Some(0), Some(1), None]),
            Partial::LogDecay => (self.kernels.log_decay, [Some(0), Some(1), Some(2)]),
        };
        let tiles = order
            .map(|at| at.map(|i: usize| operands[i].index()))
            .into_iter()
            .chain([Some(l.index()), Some(out)]);
        let mut words = vec![];
        for tile in tiles {
            let row = tile.map_or(0, |tile| self.plan.tiles[tile].row as i64);
            words.push(match tile {
                Some(tile) => self.place(tile),
                None => self.scratch,
            });
            words.push(self.word(row));
        }
        let channels = self.plan.tiles[l.index()].cols as i64;
        for word in [i64::from(self.program.chunk), channels, i64::from(strict)] {
            words.push(self.word(word));
        }
        words.push(self.room(room));
        self.call_with(kernel as usize, &words, &[]);
    }
}

/// Stride in bytes and columns of the rows of a tile that a port gives for each step.
fn step_rows(dims: &[u32], tile: Tile) -> (i64, i64) {
    match dims {
        [] => (NUMBER, 1),
        _ => (tile.row as i64 * NUMBER, tile.cols as i64),
    }
}
