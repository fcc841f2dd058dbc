//! Compiled programs against the f64 interpreter of the tile level, on every micro-kernel table
//! that this CPU can run.
//!
//! Memory is hostile: every tensor has gaps between rows, heads and chunks filled with NaN, what
//! is stored to is NaN before, the scratch is full of NaN. Gaps must still be NaN afterwards.

mod across;
mod decay;
mod functions;
mod loops;
mod map;
mod poison;
mod product;
mod products;
mod running;
mod solve;

use super::micro::Kernels;
use super::{Abi, Checks, compile_with};
use baton_ir::chunked::Direction;
use baton_ir::interp::tile::{CarryPlace, Memory, PortPlace, run_task};
use baton_ir::tile::{
    Builder, CarryDecl, CarryId, CarryRole, Effect, Fill, Held, Node, Op, Pace, PortDecl, PortId,
    Region, Role, TileId, TileProgram,
};

/// Numbers from a seed: the same on every run.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Uniform in `low..high`.
    pub fn next(&mut self, low: f32, high: f32) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + (high - low) * ((self.0 >> 40) as f32 / (1 << 24) as f32)
    }
}

/// A program under construction.
pub struct Draft {
    pub build: Builder,
    /// Range of the values of each loaded port.
    pub ranges: Vec<(f32, f32)>,
    /// Numbers to stand at an entry of a loaded port instead.
    pub planted: Vec<(PortId, usize, f32)>,
    pub region: Region,
}

impl Draft {
    pub fn new(chunk: usize, direction: Direction) -> Self {
        Self {
            build: Builder::new("test".into(), chunk as u32, direction),
            ranges: vec![],
            planted: vec![],
            region: Region::Heads,
        }
    }

    /// A whole program.
    pub fn of(program: &TileProgram) -> Self {
        let mut build = Builder::like(program);
        for node in &program.nodes {
            build.add(node.op.clone(), node.region);
        }
        program
            .effects
            .iter()
            .for_each(|&effect| build.effect(effect));
        Self {
            build,
            ranges: vec![(-1.0, 1.0); program.ports.len()],
            planted: vec![],
            region: Region::Heads,
        }
    }

    pub fn program(&self) -> TileProgram {
        self.build.clone().finish()
    }

    pub fn port(
        &mut self,
        role: fn(u32) -> Role,
        pace: Pace,
        per_head: bool,
        dims: &[usize],
    ) -> PortId {
        let number = self.ranges.len() as u32;
        self.ranges.push((-1.0, 1.0));
        self.build.port(PortDecl {
            name: format!("p{number}"),
            role: role(number),
            pace,
            per_head,
            held: Held::Storage,
            dims: dims.iter().map(|&d| d as u32).collect(),
        })
    }

    pub fn node(&mut self, op: Op, shape: &[usize]) -> TileId {
        let tile = self.build.add(op, self.region);
        assert_eq!(self.shape(tile), shape);
        tile
    }

    /// A tile of any shape from a port of its own.
    pub fn tile(&mut self, shape: &[usize], low: f32, high: f32) -> TileId {
        let port = self.port(
            Role::Input,
            Pace::Chunk,
            self.region == Region::Heads,
            shape,
        );
        self.ranges[port.index()] = (low, high);
        self.node(Op::Load(port, Fill::Zero), shape)
    }

    /// A tile of rows of steps.
    pub fn steps(&mut self, dims: &[usize], fill: Fill) -> TileId {
        let port = self.port(Role::Input, Pace::Step, self.region == Region::Heads, dims);
        let shape: Vec<usize> = [self.build.program().chunk as usize]
            .iter()
            .chain(dims)
            .copied()
            .collect();
        self.node(Op::Load(port, fill), &shape)
    }

    pub fn shape(&self, tile: TileId) -> Vec<usize> {
        let node = self.build.program().node(tile);
        node.shape.iter().map(|&d| d as usize).collect()
    }

    /// Stores a tile whole, to a port of its own.
    pub fn keep(&mut self, tile: TileId) {
        let per_head = self.region == Region::Heads;
        let port = self.port(Role::Output, Pace::Chunk, per_head, &self.shape(tile));
        self.build.effect(Effect::Store(port, tile));
    }

    /// Stores a tile's valid rows.
    pub fn keep_steps(&mut self, tile: TileId) {
        let per_head = self.region == Region::Heads;
        let port = self.port(Role::Output, Pace::Step, per_head, &self.shape(tile)[1..]);
        self.build.effect(Effect::Store(port, tile));
    }

    pub fn carry(&mut self, dims: &[usize]) -> (CarryId, TileId) {
        let number = self.build.program().carries.len() as u32;
        let id = self.build.carry(CarryDecl {
            name: format!("c{number}"),
            role: CarryRole::State(number),
            dims: dims.iter().map(|&d| d as u32).collect(),
        });
        (id, self.node(Op::Carry(id), dims))
    }
}

/// A tensor with gaps.
struct Tensor {
    data: Vec<f32>,
    base: usize,
    time: usize,
    head: usize,
    /// Index of each number that is part of the tensor.
    inside: Vec<usize>,
}

impl Tensor {
    fn new(times: usize, heads: usize, entries: usize) -> Self {
        let head = entries + 3;
        let time = head * heads + 5;
        let base = 7;
        let mut inside = vec![];
        for t in 0..times {
            for h in 0..heads {
                inside.extend((0..entries).map(|i| base + t * time + h * head + i));
            }
        }
        Self {
            data: vec![f32::NAN; base + times * time + 9],
            base,
            time,
            head,
            inside,
        }
    }
}

/// Runs `draft` compiled and interpreted on a task of `len` steps and `heads` heads; every port
/// that is stored to and every carry must agree to `tolerance` (norm of the difference over norm,
/// where each number counts at least 1/2 in the norm, as sums of both signs may cancel).
pub fn check(draft: &Draft, len: usize, heads: usize, tolerance: f64) {
    for kernels in Kernels::available() {
        check_on(draft, (len, heads), tolerance, 0.5, kernels, Checks::new());
    }
}

/// The same with the bare norm.
pub fn check_strictly(draft: &Draft, len: usize, heads: usize, tolerance: f64) {
    for kernels in Kernels::available() {
        check_on(draft, (len, heads), tolerance, 0.0, kernels, Checks::new());
    }
}

fn check_on(
    draft: &Draft,
    (len, heads): (usize, usize),
    tolerance: f64,
    floor: f64,
    kernels: &Kernels,
    checks: Checks,
) {
    let program = &draft.program();
    let mut numbers = Numbers::new(len as u64 * 31 + heads as u64);
    let mut tensors = vec![];
    let mut inputs = vec![];
    for (i, port) in program.ports.iter().enumerate() {
        let times = match port.pace {
            Pace::Step => len,
            Pace::Chunk => len.div_ceil(program.chunk as usize),
            Pace::Task => 1,
        };
        let entries = port.dims.iter().product::<u32>() as usize;
        let mut tensor = Tensor::new(times, if port.per_head { heads } else { 1 }, entries);
        let reads = |node: &Node| matches!(node.op, Op::Load(p, _) if p.index() == i);
        let adds = |e: &Effect| matches!(e, Effect::Accumulate(p, _) if p.index() == i);
        let given = program.nodes.iter().any(reads) || program.effects.iter().any(adds);
        if given {
            let (low, high) = draft.ranges[i];
            for &at in &tensor.inside {
                tensor.data[at] = numbers.next(low, high);
            }
            for &(port, at, value) in &draft.planted {
                if port.index() == i {
                    tensor.data[tensor.inside[at]] = value;
                }
            }
        }
        inputs.push(given && !program.effects.iter().any(adds));
        tensors.push(tensor);
    }
    for carry in &program.carries {
        let entries = carry.dims.iter().product::<u32>() as usize;
        let heads = if program.across { len } else { heads };
        let mut tensor = Tensor::new(1, heads, entries);
        for &at in &tensor.inside {
            tensor.data[at] = numbers.next(-1.0, 1.0);
        }
        inputs.push(false);
        tensors.push(tensor);
    }

    let mut exact: Vec<Vec<f64>> = tensors
        .iter()
        .map(|t| t.data.iter().map(|&x| f64::from(x)).collect())
        .collect();
    let places = |range: std::ops::Range<usize>| {
        tensors[range.clone()]
            .iter()
            .zip(range)
            .map(|(t, buffer)| (buffer, t.base, t.time, t.head))
            .collect::<Vec<_>>()
    };
    let ports = program.ports.len();
    let mut memory = Memory {
        buffers: exact.iter_mut().map(|b| &mut b[..]).collect(),
        ports: places(0..ports)
            .into_iter()
            .map(|(buffer, base, time, head)| PortPlace {
                buffer,
                base,
                time,
                head,
            })
            .collect(),
        carries: places(ports..tensors.len())
            .into_iter()
            .map(|(buffer, base, _, head)| CarryPlace { buffer, base, head })
            .collect(),
        len,
        heads,
    };
    run_task(program, &mut memory).expect("the interpreter runs it");

    let code = compile_with(program, kernels, checks).expect("it compiles");
    let given: Vec<Vec<f32>> = tensors.iter().map(|t| t.data.clone()).collect();
    let mut runs = vec![];
    // Twice from other addresses, with other junk in the scratch: the bits stay.
    for junk in [f32::NAN, -3e38] {
        let mut data: Vec<Vec<f32>> = given
            .iter()
            .map(|d| {
                let mut copy = Vec::with_capacity(d.len() + runs.len() * 64);
                copy.extend_from_slice(d);
                copy
            })
            .collect();
        let abi = Abi::new(program);
        let size = code.scratch_bytes() / 4;
        let mut scratch = vec![junk; size + 16];
        let skip = scratch.as_ptr().align_offset(64);
        let mut words = abi.task(len, heads, scratch[skip..].as_mut_ptr().cast());
        for (i, tensor) in tensors.iter().enumerate() {
            // SAFETY: base lies inside the tensor.
            let base = unsafe { data[i].as_mut_ptr().add(tensor.base) }.cast();
            let (time, head) = (4 * tensor.time as i64, 4 * tensor.head as i64);
            match i < ports {
                true => abi.set_port(&mut words, PortId(i as u32), base, time, head),
                false => abi.set_carry(&mut words, CarryId((i - ports) as u32), base, head),
            }
        }
        // SAFETY: the words describe the tensors above.
        unsafe { code.call(words.as_ptr()) };
        assert!(
            scratch[skip + size..]
                .iter()
                .all(|x| x.to_bits() == junk.to_bits())
        );
        runs.push(data);
    }
    for (i, tensor) in tensors.iter().enumerate() {
        let name = match program.ports.get(i) {
            Some(port) => &port.name,
            None => &program.carries[i - ports].name,
        };
        let what = || {
            format!(
                "`{name}` at len {len}, heads {heads}, chunk {}, {}: {:?}",
                program.chunk, kernels.name, program.nodes
            )
        };
        let bits = |d: &[f32]| d.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            bits(&runs[0][i]),
            bits(&runs[1][i]),
            "same bits: {}",
            what()
        );
        if inputs[i] {
            assert_eq!(bits(&runs[0][i]), bits(&given[i]), "unchanged: {}", what());
            continue;
        }
        let mut inside = vec![false; tensor.data.len()];
        tensor.inside.iter().for_each(|&at| inside[at] = true);
        let (mut difference, mut norm) = (0.0, 0.0);
        for (at, inside) in inside.into_iter().enumerate() {
            let (got, expected) = (f64::from(runs[0][i][at]), exact[i][at]);
            if inside && !expected.is_nan() {
                difference += (got - expected).powi(2);
                norm += expected.powi(2).max(floor * floor);
            } else {
                assert!(got.is_nan(), "{got} written at {at}: {}", what());
            }
        }
        let error = (difference / f64::max(norm, 1e-30)).sqrt();
        assert!(error <= tolerance, "error {error:e}: {}", what());
    }
}
