//! From the placed program to the text of a kernel.
//!
//! The skeleton is one: read the range, load the carries, fill the ring, then for each chunk wait,
//! ask for the chunk after next, and run the steps. What a step does is in the files beside this
//! one, by kind; all of them work on [`Machine`].

mod angle;
mod begin;
mod channel;
mod convert;
mod decay;
mod indices;
mod map;
mod matmul;
mod memory;
mod number;
mod pairs;
mod steps;
mod trilinear;

use super::forms;
use super::layout::{Form, Grid};
use super::pad::Padded;
use super::place::{Placement, Step};
use super::text::{Text, Val};
use super::{Error, Gpu, Storage};
use crate::schedule::SideBySide;
use baton_ir::chunked::Direction;
use baton_ir::tile::{Effect, Op, PortId, TileId, TileProgram};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Everything that emission knows while it writes one kernel.
struct Machine<'a> {
    program: &'a TileProgram,
    padded: &'a Padded,
    options: &'a Gpu,
    placement: &'a Placement,
    text: Text,
    /// Registers of each tile in each form.
    held: BTreeMap<(TileId, Form), Vec<Val>>,
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

/// The text of the MLIR module with the one kernel: of the program `wide`, padded, whose parameters are those of
/// `signature`.
pub fn module(
    signature: &TileProgram,
    wide: &SideBySide,
    padded: &Padded,
    options: &Gpu,
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
        padded,
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

impl Machine<'_> {
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
            Op::Trilinear(..) => match form {
                Form::Exact => self.pairs(tile),
                _ => self.settle(tile),
            },
            Op::Decay(interval, strict, l) => self.decay(*interval, *strict, *l),
            Op::Spread(interval, strict, x) => self.spread(*interval, *strict, tile, *x),
            Op::HeadSum(x) => self.held[&(*x, form)].clone(),
            Op::Solve { transposed, l, r } => self.solve(tile, *transposed, *l, *r),
            Op::Running(scan) => self.running(tile, *scan),
            Op::Delay { reverse, x, border } => self.delay(tile, *reverse, *x, *border),
            Op::Edge { reverse, x } => self.edge(tile, *reverse, *x),
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

    fn storage(&self, port: PortId) -> Storage {
        self.options.dtype(self.program.ports[port.index()].held)
    }
}
