//! What a run of a tile program costs: the bytes it must move and the operations it does.
//!
//! Everything is counted from the program and the shape of the run, by walking its ports, carries
//! and nodes: nothing here knows a recurrence, so a new one is counted without a formula of its own, and what
//! one op takes is said where it is typed ([`tile::gives`]).
//! Bytes are those of every entry of a port or carry once, what a group shares once a group: what a
//! machine with enough cache would move, so a bound from below. Of products two numbers are given:
//! the terms that the algebra needs (of causal ones the half below the diagonal) and those that whole
//! tiles hold. A chunk that the sequence ends in counts as a whole one, as every kernel runs it.
//! Work that a run does again, for segments or checkpoints, is that of further programs.

pub use baton_ir::tile::Flops;

use baton_ir::tile::{self, CarryDecl, CarryRole, Op, Pace, PortDecl, Region, TileProgram};

/// The extents of a run that are outside of a recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunShape {
    /// B, sequences of one length.
    pub batch: usize,
    /// T, steps of each.
    pub time: usize,
    /// H
    pub heads: usize,
    /// G, a divisor of H; H where no input is per group.
    pub groups: usize,
    /// Whether states (of a reverse program: their gradients) are given; else they are zero and
    /// nothing of them is read.
    pub entering: bool,
}

/// What a run of one program costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of each port.
    pub ports: Vec<u64>,
    /// Bytes of each carry: what leaves, and what enters where it is given.
    pub carries: Vec<u64>,
    /// Operations.
    pub flops: Flops,
}

/// What a machine does in a second, at best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// What it is called.
    pub name: &'static str,
    /// Bytes of a copy, read and written.
    pub bytes: f64,
    /// Multiplies and adds of products of 16-bit numbers.
    pub products: f64,
}

/// GPUs whose figures are known: bytes as copies reach them, products as large ones do.
pub const GPUS: [Peak; 2] = [
    Peak {
        name: "H100",
        bytes: 3.0e12,
        products: 790e12,
    },
    Peak {
        name: "H200",
        bytes: 4.3e12,
        products: 790e12,
    },
];

impl Cost {
    /// Counts one sweep of `program`, whose ports hold numbers of `width` bytes.
    pub fn new(program: &TileProgram, run: RunShape, width: impl Fn(&PortDecl) -> u64) -> Cost {
        let bytes = |port: &PortDecl| width(port) * run.entries(program, port);
        Cost {
            ports: program.ports.iter().map(bytes).collect(),
            carries: (program.carries.iter())
                .map(|carry| run.carry_bytes(carry))
                .collect(),
            flops: flops(program, run),
        }
    }

    /// Bytes of all ports and carries.
    pub fn bytes(&self) -> u64 {
        self.ports.iter().chain(&self.carries).sum()
    }

    /// Needed products a byte.
    pub fn intensity(&self) -> f64 {
        self.flops.products as f64 / self.bytes() as f64
    }
}

impl RunShape {
    /// Chunks of all sequences.
    pub fn chunks(&self, chunk: u32) -> u64 {
        (self.batch * self.time.div_ceil(chunk as usize)) as u64
    }

    /// Entries of a port: one tensor, whatever a back end writes in parts.
    fn entries(&self, program: &TileProgram, port: &PortDecl) -> u64 {
        let rows = match port.pace {
            Pace::Step => (self.batch * self.time) as u64,
            Pace::Chunk => self.chunks(program.chunk),
            Pace::Task => 1,
        };
        rows * self.lanes(port.per_head) * size(&port.dims)
    }

    fn carry_bytes(&self, carry: &CarryDecl) -> u64 {
        let enters = match carry.role {
            CarryRole::State(_) | CarryRole::DState(_) => self.entering,
            // A log decay begins at zero.
            CarryRole::LogScalar(_) | CarryRole::LogRow(_) | CarryRole::LogCol(_) => false,
        };
        let times = if enters { 2 } else { 1 };
        times * size_of::<f32>() as u64 * (self.batch * self.heads) as u64 * size(&carry.dims)
    }

    fn lanes(&self, per_head: bool) -> u64 {
        (if per_head { self.heads } else { self.groups }) as u64
    }
}

/// Operations of a run: those of each node, as often as its region runs.
fn flops(program: &TileProgram, run: RunShape) -> Flops {
    let chunks = run.chunks(program.chunk);
    let mut all = Flops::default();
    for (node, gives) in program.nodes.iter().zip(tile::gives(program)) {
        let times = match node.op {
            // Of a group's heads the first is added to nothing.
            Op::HeadSum(_) => (run.heads - run.groups) as u64,
            _ => run.lanes(node.region == Region::Heads),
        };
        let (one, times) = (gives.flops, chunks * times);
        all.products += times * one.products;
        all.whole_products += times * one.whole_products;
        all.pointwise += times * one.pointwise;
        all.functions += times * one.functions;
    }
    all
}

fn size(dims: &[u32]) -> u64 {
    dims.iter().map(|&n| u64::from(n)).product()
}
