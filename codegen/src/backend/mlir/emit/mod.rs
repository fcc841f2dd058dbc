//! From the placed program to the text of a kernel.
//!
//! The skeleton is one: read the range, load the carries, fill the ring, then for each chunk wait,
//! ask for the chunk after next, and run the steps. What a step does is in the files beside this
//! one, by kind; all of them work on [`Machine`].

mod channel;
mod convert;
mod decay;
mod map;
mod matmul;
mod memory;
mod number;
mod trilinear;

use super::forms;
use super::layout::{Form, Grid, Swizzle};
use super::place::{Placement, Room, Step};
use super::text::{Text, Val};
use super::{Error, Options, Storage, abi};
use crate::schedule::SideBySide;
use baton_ir::chunked::Direction;
use baton_ir::tile::{Effect, Op, PortId, TileId, TileProgram};
use std::collections::HashMap;
use std::fmt::Write;

/// Everything that emission knows while it writes one kernel.
struct Machine<'a> {
    program: &'a TileProgram,
    options: &'a Options,
    placement: &'a Placement,
    text: Text,
    /// Registers of each tile in each form.
    held: HashMap<(TileId, Form), Vec<Val>>,
    /// For each port: address of this range's first step and this head, bytes a step or chunk.
    ports: Vec<(Val, Val)>,
    /// For each carry: what enters, what leaves, bytes from the start to this range and head.
    carries: Vec<(Val, Val, Val)>,
    shared: Val,
    /// The thread's number, and the same as of the last [`refresh`](Self::refresh).
    thread_id: Val,
    thread: Val,
    lane: Val,
    warp: Val,
    /// The lane's row in a piece, lane / 4.
    row: Val,
    /// The lane's pair of columns in a piece, lane % 4.
    pair: Val,
    /// Steps of the range.
    len: Val,
    /// Chunks of the range.
    chunks: Val,
    /// Inside the loop: the chunk, its steps, and the bytes to its stage of the ring.
    chunk: Val,
    valid: Val,
    stage: Val,
}

/// The text of the MLIR module with the one kernel: of the program `wide`, whose parameters are those of
/// `signature`.
pub fn module(
    signature: &TileProgram,
    wide: &SideBySide,
    options: &Options,
    placement: &Placement,
) -> Result<String, Error> {
    let mut text = Text::default();
    let mut parameters: Vec<(Val, &str)> = vec![
        (text.name(), "!llvm.ptr<1>"),
        (text.name(), "i32"),
        (text.name(), "i32"),
    ];
    for _ in &signature.ports {
        parameters.push((text.name(), "!llvm.ptr<1>"));
        parameters.extend([0; 3].map(|_| (text.name(), "i64")));
    }
    for _ in &signature.carries {
        parameters.extend([0; 2].map(|_| (text.name(), "!llvm.ptr<1>")));
    }
    let values: Vec<Val> = parameters.iter().map(|(name, _)| *name).collect();
    let mut machine = Machine::new(
        wide,
        signature.ports.len(),
        options,
        placement,
        text,
        &values,
    );
    machine.run()?;
    let body = machine.text.finish();
    let list: Vec<String> = parameters
        .iter()
        .map(|(name, ty)| format!("{name}: {ty}"))
        .collect();
    let mut module = String::new();
    let _ = write!(
        module,
        "module attributes {{gpu.container_module}} {{\n  \
         gpu.module @kernels [#nvvm.target<chip = \"{}\", features = \"{}\", O = 3>] {{\n    \
         llvm.mlir.global external @shared() {{addr_space = 3 : i32, alignment = 128 : i64}} : !llvm.array<0 x i8>\n    \
         llvm.func @{}({}) attributes {{nvvm.kernel, nvvm.maxntid = array<i32: {}>}} {{\n\
         {body}      llvm.return\n    }}\n  }}\n}}\n",
        options.chip,
        options.features,
        signature.name,
        list.join(", "),
        options.threads(),
    );
    Ok(module)
}

impl<'a> Machine<'a> {
    fn new(
        wide: &'a SideBySide,
        port_count: usize,
        options: &'a Options,
        placement: &'a Placement,
        mut text: Text,
        values: &[Val],
    ) -> Self {
        let program = &wide.program;
        let shared = text.def("llvm.mlir.addressof @shared : !llvm.ptr<3>");
        let thread = text.def("nvvm.read.ptx.sreg.tid.x : i32");
        let block = text.def("nvvm.read.ptx.sreg.ctaid.x : i32");
        let range = text.def("nvvm.read.ptx.sreg.ctaid.y : i32");
        let lane = text.int_op("and", thread, 31);
        let warp = text.int_op("lshr", thread, 5);
        let row = text.int_op("lshr", lane, 2);
        let pair = text.int_op("and", lane, 3);
        let head = match options.heads() {
            1 => block,
            heads => text.int_op("mul", block, heads as i32),
        };
        let group = text.binary("udiv", head, values[2], "i32");
        let [head_l, group_l, range_l] = [head, group, range].map(|v| text.widen(v));
        let mut heads_l = vec![head_l];
        for beside in 1..options.heads() {
            let head = text.int_op("add", head, beside as i32);
            heads_l.push(text.widen(head));
        }
        let block_l = match options.heads() {
            1 => head_l,
            _ => text.widen(block),
        };
        let entry = text.int_op("mul", range, 32);
        let entry = text.at(values[0], entry, 1, "i32");
        let entry: Vec<Val> = (0..4)
            .map(|i| {
                let offset = text.int(8 * i);
                let at = text.at(entry, offset, 1, "i32");
                text.load_input(at, "i64")
            })
            .collect();
        let len = text.def(format_args!("llvm.trunc {} : i64 to i32", entry[2]));
        let round = text.int_op("add", len, program.chunk as i32 - 1);
        let chunks = text.int_op("udiv", round, program.chunk as i32);
        let port = |text: &mut Text, i: usize| {
            use baton_ir::tile::Pace;
            let (decl, (of, beside)) = (&program.ports[i], wide.ports[i]);
            let &[base, batch, time, head] = &values[3 + 4 * of.index()..][..4] else {
                unreachable!("a port has four parameters");
            };
            let index = match (decl.per_head, abi::by_head(decl)) {
                (true, _) => heads_l[beside as usize],
                (false, true) => block_l,
                (false, false) => group_l,
            };
            let mut offset = text.binary("mul", index, head, "i64");
            let outer = match decl.pace {
                Pace::Step => Some((entry[0], Some(entry[1]))),
                Pace::Chunk => Some((entry[0], Some(entry[3]))),
                Pace::Task => Some((range_l, None)),
            };
            if let Some((outer, inner)) = outer {
                let far = text.binary("mul", outer, batch, "i64");
                offset = text.binary("add", offset, far, "i64");
                if let Some(inner) = inner {
                    let near = text.binary("mul", inner, time, "i64");
                    offset = text.binary("add", offset, near, "i64");
                }
            }
            (text.at(base, offset, 1, "i64"), time)
        };
        let ports = (0..program.ports.len())
            .map(|i| port(&mut text, i))
            .collect();
        let heads = text.widen(values[1]);
        let place = text.binary("mul", range_l, heads, "i64");
        let places: Vec<Val> = (heads_l.iter())
            .map(|&head| text.binary("add", place, head, "i64"))
            .collect();
        let first = 3 + 4 * port_count;
        let carries = (0..program.carries.len())
            .map(|i| {
                let (of, beside) = wide.carries[i];
                let entries: u32 = program.carries[i].dims.iter().product();
                let bytes = text.long(4 * entries as i64);
                let offset = text.binary("mul", places[beside as usize], bytes, "i64");
                let at = first + 2 * of.index();
                (values[at], values[at + 1], offset)
            })
            .collect();
        Machine {
            program,
            options,
            placement,
            held: HashMap::new(),
            ports,
            carries,
            shared,
            thread_id: thread,
            thread,
            lane,
            warp,
            row,
            pair,
            len,
            chunks,
            chunk: thread,
            valid: thread,
            stage: thread,
            text,
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        let program = self.program;
        let mut begin: Vec<Val> = Vec::new();
        let mut counts: Vec<usize> = Vec::new();
        for i in 0..program.carries.len() {
            let values = self.enter(i);
            counts.push(values.len());
            begin.extend(values);
        }
        let sums: Vec<(PortId, TileId)> = program
            .effects
            .iter()
            .filter_map(|effect| match *effect {
                Effect::Accumulate(port, tile) => Some((port, tile)),
                _ => None,
            })
            .collect();
        for (_, tile) in &sums {
            let registers = self.registers(&program.node(*tile).shape);
            let zero = self.text.float(0.0);
            begin.extend(vec![zero; registers]);
            counts.push(registers);
        }
        for ahead in 0..self.placement.stages as i32 - 1 {
            let ahead = self.text.int(ahead);
            self.request(ahead);
        }
        let mut failure = Ok(());
        let chunks = self.chunks;
        let mut text = std::mem::take(&mut self.text);
        let ends = text.count(chunks, &begin, |text, index, carried| {
            std::mem::swap(text, &mut self.text);
            let results = self.body(index, carried, &counts, &sums);
            std::mem::swap(text, &mut self.text);
            results.unwrap_or_else(|error| {
                failure = Err(error);
                vec![]
            })
        });
        self.text = text;
        failure?;
        self.refresh();
        let mut ends = ends.into_iter();
        for (i, count) in counts.iter().enumerate() {
            let values: Vec<Val> = ends.by_ref().take(*count).collect();
            match i.checked_sub(program.carries.len()) {
                None => self.leave(i, &values),
                Some(sum) => self.store_sum(sums[sum].0, sums[sum].1, &values),
            }
        }
        Ok(())
    }

    /// One chunk.
    fn body(
        &mut self,
        index: Val,
        carried: Vec<Val>,
        counts: &[usize],
        sums: &[(PortId, TileId)],
    ) -> Result<Vec<Val>, Error> {
        let program = self.program;
        self.refresh();
        self.chunk = self.nth(index);
        self.valid = self.steps_of(self.chunk);
        let stages = self.placement.stages as i32;
        if !self.placement.staged.is_empty() {
            self.text.op(format_args!(
                "nvvm.cp.async.wait.group {}",
                (stages - 2).max(0)
            ));
        }
        if stages > 1 {
            self.text.op("nvvm.barrier");
            let next = self.text.int_op("add", index, stages - 1);
            self.request(next);
        } else {
            self.text.op("nvvm.barrier");
            self.request(index);
            self.text.op("nvvm.cp.async.wait.group 0");
            self.text.op("nvvm.barrier");
        }
        let slot = self.text.int_op("urem", index, stages);
        self.stage = self
            .text
            .int_op("mul", slot, self.placement.stage_bytes as i32);
        let mut carried = carried.into_iter();
        let mut old: Vec<Vec<Val>> = counts
            .iter()
            .map(|count| carried.by_ref().take(*count).collect())
            .collect();
        for (at, node) in program.nodes.iter().enumerate() {
            if let Op::Carry(carry) = node.op {
                let tile = TileId(at as u32);
                let form = forms::gives(program, self.options, tile)?;
                self.held.insert((tile, form), old[carry.index()].clone());
            }
        }
        for step in &self.placement.steps {
            self.refresh();
            match *step {
                Step::Barrier => self.text.op("nvvm.barrier"),
                Step::Load(tile, form) => self.load(tile, form),
                Step::Convert(tile, from, to) => self.convert(tile, from, to),
                Step::Level(tile, level) => self.level(tile, level),
                Step::Compute(tile) => self.compute(tile)?,
                Step::Effect(i, form) => match program.effects[i] {
                    Effect::Store(port, tile) => self.store(port, tile, form),
                    Effect::Carry(carry, tile) => {
                        old[carry.index()] = self.held[&(tile, form)].clone();
                    }
                    Effect::Accumulate(port, tile) => {
                        let at = sums.iter().position(|sum| *sum == (port, tile));
                        let at = program.carries.len() + at.expect("every sum was counted");
                        let more = self.held[&(tile, form)].clone();
                        let pairs = old[at].iter().zip(more);
                        old[at] = pairs.map(|(a, b)| self.text.fadd(*a, b)).collect();
                    }
                },
            }
        }
        Ok(old.concat())
    }

    /// The thread's number once more, from where LLVM cannot see that it is the same: so addresses are
    /// computed anew where they are used, and are not kept in registers over the whole loop.
    fn refresh(&mut self) {
        self.thread = self.text.hide(self.thread_id);
        self.lane = self.text.int_op("and", self.thread, 31);
        self.warp = self.text.int_op("lshr", self.thread, 5);
        self.row = self.text.int_op("lshr", self.lane, 2);
        self.pair = self.text.int_op("and", self.lane, 3);
    }

    fn compute(&mut self, tile: TileId) -> Result<(), Error> {
        let node = self.program.node(tile);
        let form = forms::gives(self.program, self.options, tile)?;
        let values = match &node.op {
            Op::Map { .. } => self.map(tile),
            Op::Matmul { .. } => self.matmul(tile),
            Op::Decay(interval, strict, l) if self.program.node(*l).shape.len() == 2 => {
                self.channel_decay(*interval, *strict, tile, *l)
            }
            Op::Spread(interval, strict, x) if node.shape.len() == 2 => {
                self.channel_spread(*interval, *strict, tile, *x)
            }
            Op::Trilinear(..) => self.settle(tile),
            Op::Decay(interval, strict, l) => self.decay(*interval, *strict, *l),
            Op::Spread(interval, strict, x) => self.spread(*interval, *strict, tile, *x),
            Op::HeadSum(x) => self.held[&(*x, form)].clone(),
            Op::Load(..) | Op::Carry(_) => {
                return Err(Error::Unsupported(format!("{:?} is no step", node.op)));
            }
        };
        self.held.insert((tile, form), values);
        Ok(())
    }

    /// The chunk that is run as number `index`.
    fn nth(&mut self, index: Val) -> Val {
        match self.program.direction {
            Direction::Forward => index,
            Direction::Reverse => {
                let last = self.text.int_op("sub", self.chunks, 1);
                self.text.binary("sub", last, index, "i32")
            }
        }
    }

    /// Steps of a chunk.
    fn steps_of(&mut self, chunk: Val) -> Val {
        let before = self.text.int_op("mul", chunk, self.program.chunk as i32);
        let left = self.text.binary("sub", self.len, before, "i32");
        let whole = self.text.int(self.program.chunk as i32);
        self.text.def(format_args!(
            "llvm.intr.smin({left}, {whole}) : (i32, i32) -> i32"
        ))
    }

    fn grid(&self, shape: &[u32]) -> Grid {
        forms::grid(shape, self.options)
    }

    /// Registers of a value of `shape`.
    fn registers(&self, shape: &[u32]) -> usize {
        let grid = self.grid(shape);
        (match shape.len() {
            0 => 1,
            1 => 2 * grid.row_pieces,
            _ => 4 * grid.row_pieces * grid.column_pieces,
        }) as usize
    }

    /// This warp's number along the rows of a grid.
    fn row_warp(&mut self, row_warps: u32) -> Val {
        self.text.int_op("and", self.warp, row_warps as i32 - 1)
    }

    /// This warp's number along the columns of a grid.
    fn column_warp(&mut self, [row_warps, column_warps]: [u32; 2]) -> Val {
        let over = self
            .text
            .int_op("lshr", self.warp, row_warps.trailing_zeros() as i32);
        self.text.int_op("and", over, column_warps as i32 - 1)
    }

    /// The first row of each row piece.
    fn row_bases(&mut self, grid: Grid) -> Vec<Val> {
        let warp = self.row_warp(grid.row_warps);
        let first = self.text.int_op("mul", warp, 16 * grid.row_pieces as i32);
        (0..grid.row_pieces)
            .map(|p| self.text.int_op("add", first, 16 * p as i32))
            .collect()
    }

    /// The first column of each column piece.
    fn column_bases(&mut self, grid: Grid) -> Vec<Val> {
        let warp = self.column_warp([grid.row_warps, grid.column_warps]);
        let first = self.text.int_op("mul", warp, 8 * grid.column_pieces as i32);
        (0..grid.column_pieces)
            .map(|q| self.text.int_op("add", first, 8 * q as i32))
            .collect()
    }

    /// The rows of this thread: g and g + 8 of each piece.
    fn rows(&mut self, grid: Grid) -> Vec<Val> {
        let bases = self.row_bases(grid);
        let both = |machine: &mut Self, base| {
            let low = machine.text.add(base, machine.row);
            [low, machine.text.int_op("add", low, 8)]
        };
        bases
            .into_iter()
            .flat_map(|base| both(self, base))
            .collect()
    }

    /// The columns of this thread: 2 t and 2 t + 1 of each piece.
    fn columns(&mut self, grid: Grid) -> Vec<Val> {
        let pair = self.text.int_op("mul", self.pair, 2);
        let bases = self.column_bases(grid);
        let both = |machine: &mut Self, base| {
            let low = machine.text.add(base, pair);
            [low, machine.text.int_op("add", low, 1)]
        };
        bases
            .into_iter()
            .flat_map(|base| both(self, base))
            .collect()
    }

    /// An address in shared memory, `bytes` from the start.
    fn shared_at(&mut self, bytes: Val) -> Val {
        self.text.at(self.shared, bytes, 3, "i32")
    }

    /// Where `room` begins: of a staged tile, in the current stage.
    fn origin(&mut self, tile: TileId, form: Form) -> Val {
        let offset = self.room(tile, form).offset as i32;
        match form {
            Form::Staged => self.text.int_op("add", self.stage, offset),
            _ => self.text.int(offset),
        }
    }

    fn room(&self, tile: TileId, form: Form) -> Room {
        self.placement.rooms[&(tile, form)]
    }

    /// The place of unit `unit` (16 bytes) of row `row` in a swizzled tile of rows of `bytes`.
    fn unit_at(&mut self, origin: Val, row: Val, unit: Val, bytes: u32) -> Val {
        let Swizzle { shift, mask } = Swizzle::new(bytes);
        let turn = self.text.int_op("lshr", row, shift as i32);
        let turn = self.text.int_op("and", turn, mask as i32);
        let unit = self.text.binary("xor", unit, turn, "i32");
        let unit = self.text.int_op("shl", unit, 4);
        let row = self.text.int_op("mul", row, bytes as i32);
        let at = self.text.add(row, unit);
        self.text.add(origin, at)
    }

    /// Runs `then` in warps below `count` only, where there are more.
    fn in_warps(&mut self, count: u32, then: impl FnOnce(&mut Self)) {
        if count >= self.options.warps() {
            return then(self);
        }
        let limit = self.text.int(count as i32);
        let mine = self.text.icmp("slt", self.warp, limit);
        self.when(mine, then);
    }

    /// Runs `then` where `condition` holds.
    fn when(&mut self, condition: Val, then: impl FnOnce(&mut Self)) {
        let mut text = std::mem::take(&mut self.text);
        text.when(condition, |text| {
            std::mem::swap(text, &mut self.text);
            then(self);
            std::mem::swap(text, &mut self.text);
        });
        self.text = text;
    }

    /// Runs `then` in the lanes where `part` (a number of the lane) is zero.
    fn where_zero(&mut self, part: Val, then: impl FnOnce(&mut Self)) {
        let zero = self.text.int(0);
        let mine = self.text.icmp("eq", part, zero);
        self.when(mine, then);
    }

    fn storage(&self, port: PortId) -> Storage {
        match abi::in_f32(&self.program.ports[port.index()], self.options) {
            true => Storage::F32,
            false => self.options.storage,
        }
    }
}
