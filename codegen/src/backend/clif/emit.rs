//! The skeleton of a compiled task: loops, addresses, loads and effects.
//!
//! The loops of the level as they stand there: chunks in their direction, in each the work before
//! the heads, for each head, and after them. Ops are emitted by `ops`. Loops are tested at their end, as a task has at least one step and one head.
//! Where loops are exchanged a chunk is a block of heads, whose carries are fetched before the loop inside and left after it.

use super::Checks;
use super::abi::{Abi, HEADS, LEN, SCRATCH};
use super::micro::Kernels;
use super::plan::{Buffer, Place, Plan, Step, Tile, Work, extents};
use baton_ir::chunked::Direction;
use baton_ir::tile::{CarryId, Effect, Fill, Op, Pace, PortId, Region, TileProgram};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    AbiParam, BlockArg, InstBuilder, MemFlagsData, SigRef, Signature, StackSlot, StackSlotData,
    StackSlotKind, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use std::collections::BTreeMap;

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
    /// The micro-kernels that are called.
    pub kernels: &'a Kernels,
    /// What is checked.
    pub checks: Checks,
    abi: Abi,
    /// How C functions are called.
    pub call_conv: CallConv,
    signatures: BTreeMap<usize, SigRef>,
    /// Memory for what is given to them by address.
    pub arguments: StackSlot,
    words: Value,
    /// The scratch.
    pub scratch: Value,
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
    checks: Checks,
    call_conv: CallConv,
    fma: bool,
) {
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let words = builder.block_params(entry)[0];
    let arguments =
        builder.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 16 * 8, 3));
    let zero = builder.ins().iconst(I64, 0);
    let mut emitter = Emitter {
        builder,
        program,
        plan,
        fma,
        valid: zero,
        kernels,
        checks,
        abi: Abi::new(program),
        call_conv,
        signatures: BTreeMap::new(),
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
            first
                .iter()
                .chain(rest)
                .map(|&v| BlockArg::Value(v))
                .collect()
        };
        self.builder
            .ins()
            .jump(turn, &arguments(Some(from), carried));
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
            let across = e.program.across;
            e.chunk = if across { i } else { e.ordered(i, chunks) };
            let start = e.builder.ins().imul_imm_s(e.chunk, size);
            let left = e.builder.ins().isub(len, start);
            let size = e.word(size);
            e.valid = e.builder.ins().smin(left, size);
            e.head = e.word(0);
            if e.checks.poison {
                e.poison_scratch();
            }
            e.hold(true);
            e.region(Region::Before);
            e.clear_sums();
            if e.plan.steps.iter().any(|s| s.region == Region::Heads) {
                let zero = e.word(0);
                e.repeat(zero, heads, 1, &[], |e, i, _| {
                    e.head = if across { e.ordered(i, heads) } else { i };
                    e.region(Region::Heads);
                    vec![]
                });
            }
            e.head = e.word(0);
            e.hold(false);
            e.after(heads);
            vec![]
        });
    }

    /// The number of turn `i` of `count` in the program's direction.
    fn ordered(&mut self, i: Value, count: Value) -> Value {
        match self.program.direction {
            Direction::Forward => i,
            Direction::Reverse => {
                let last = self.builder.ins().iadd_imm_s(count, -1);
                self.builder.ins().isub(last, i)
            }
        }
    }

    /// Fetches the carries of a block of heads, or leaves them where they came from. Rows past the last head
    /// are zero.
    fn hold(&mut self, fetch: bool) {
        for (i, &held) in self.plan.held.iter().enumerate() {
            let tile = self.plan.tiles[held];
            let at = self.abi.carry(CarryId(i as u32));
            let (base, outside) = (self.argument(at), self.argument(at + 1));
            let size = i64::from(self.program.chunk);
            let first = self.builder.ins().imul_imm_s(self.chunk, size);
            let offset = self.builder.ins().imul(first, outside);
            let there = self.builder.ins().iadd(base, offset);
            let here = self.place(held);
            let (stride, cols) = step_rows(&self.program.carries[i].dims, tile);
            let [stride, cols] = [stride, cols].map(|x| self.word(x));
            let copy = self.kernels.copy as usize;
            if fetch {
                self.call(copy, &[here, stride, there, outside, self.valid, cols]);
                self.past_the_end(here, stride, cols, Fill::Zero);
            } else {
                self.call(copy, &[there, outside, here, stride, self.valid, cols]);
            }
        }
    }

    fn region(&mut self, region: Region) {
        for step in self.plan.steps.iter().filter(|s| s.region == region) {
            self.step(*step);
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
                    e.step(*step);
                    vec![]
                });
                self.head = self.word(0);
            } else {
                self.step(*step);
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
                if self.checks.poison {
                    self.poison_padding(tile.index());
                }
            }
        }
    }

    fn step(&mut self, step: Step) {
        if self.checks.poison {
            self.poison_before(step);
        }
        match step.work {
            Work::Compute(tile) => self.compute(tile, step.room),
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
        if self.checks.poison {
            self.poison_after(step);
        }
    }

    /// The address of a buffer as one value.
    pub fn place(&mut self, buffer: Buffer) -> Value {
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

    /// The address of a carry of this head, or of this block of heads.
    pub fn carry(&mut self, carry: CarryId) -> Value {
        if let Some(&held) = self.plan.held.get(carry.index()) {
            return self.place(held);
        }
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
    pub fn call(&mut self, address: usize, arguments: &[Value]) {
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

    /// Calls a kernel with words laid out in memory, then more in registers.
    pub fn call_with(&mut self, kernel: usize, words: &[Value], more: &[Value]) {
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
    pub fn rows(&mut self, kernel: usize, d: Value, dst: Tile, s: Value, src: Tile) {
        let rows = self.word(src.rows as i64);
        let strides = [dst.row, src.row].map(|row| row as i64 * NUMBER);
        let [ds, ss] = strides.map(|x| self.word(x));
        let cols = self.word(src.cols as i64);
        self.call(kernel, &[d, ds, s, ss, rows, cols]);
    }

    /// A carry as it lies where the loops are.
    pub fn carried(&self, carry: CarryId) -> Tile {
        match self.plan.held.get(carry.index()) {
            Some(&held) => self.plan.tiles[held],
            None => Self::dense(&self.program.carries[carry.index()].dims),
        }
    }

    /// A tile outside, whose rows stand one after the other.
    pub fn dense(dims: &[u32]) -> Tile {
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
                let to = self.carried(carry);
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

    /// Loads a port's tile of this chunk and head.
    pub fn load(&mut self, port: PortId, fill: Fill, tile: Buffer) {
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
        self.past_the_end(d, stride, cols, fill);
    }

    /// Fills the rows of a tile past the last valid step.
    pub fn past_the_end(&mut self, tile: Value, stride: Value, cols: Value, fill: Fill) {
        let size = self.word(i64::from(self.program.chunk));
        let short = self
            .builder
            .ins()
            .icmp(IntCC::SignedLessThan, self.valid, size);
        self.when(short, |e| {
            let repeat = e.word(i64::from(fill == Fill::Repeat));
            let kernel = e.kernels.fill as usize;
            e.call(kernel, &[tile, stride, e.valid, size, cols, repeat]);
        });
    }
}

/// Stride in bytes and columns of the rows of a tile that a port gives for each step.
fn step_rows(dims: &[u32], tile: Tile) -> (i64, i64) {
    match dims {
        [] => (NUMBER, 1),
        _ => (tile.row as i64 * NUMBER, tile.cols as i64),
    }
}
