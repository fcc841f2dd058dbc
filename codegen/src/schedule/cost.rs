//! What a run of a tile program costs: the bytes it must move and the operations it does.
//!
//! Everything is counted from the program and the shape of the run, by walking its ports, carries
//! and nodes: nothing here knows a recurrence, so a new one is counted without a formula of its own.
//! Bytes are those of every entry of a port or carry once, what a group shares once a group: what a
//! machine with enough cache would move, so a bound from below. Of products two numbers are given:
//! the terms that the algebra needs (of causal ones the half below the diagonal) and those that whole
//! tiles hold. A chunk that the sequence ends in counts as a whole one, as every kernel runs it.
//! Work that a run does again, for segments or checkpoints, is that of further programs.

use baton_ir::chunked::Interval;
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use baton_ir::tile::{
    CarryDecl, CarryRole, Op, Pace, PortDecl, Reduce, Region, Scalar, TileProgram, Triangle,
};

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

/// Operations of a run, by the unit that does them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flops {
    /// Multiplies and adds of products that the algebra needs.
    pub products: u64,
    /// The same of whole tiles, masked halves included.
    pub whole_products: u64,
    /// Additions, multiplications, selections and comparisons of maps, decays and sums.
    pub pointwise: u64,
    /// Exponentials, roots, quotients and their kin.
    pub functions: u64,
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
    for node in &program.nodes {
        let mut one = of_node(program, &node.op);
        if let Op::HeadSum(_) = node.op {
            // The sum of a group's heads: one addition for each head but the first.
            one.pointwise = size(&node.shape);
            all.add(one, chunks * (run.heads - run.groups) as u64);
            continue;
        }
        all.add(one, chunks * run.lanes(node.region == Region::Heads));
    }
    all
}

impl Flops {
    fn add(&mut self, one: Flops, times: u64) {
        self.products += times * one.products;
        self.whole_products += times * one.whole_products;
        self.pointwise += times * one.pointwise;
        self.functions += times * one.functions;
    }
}

/// Operations of one node, once.
fn of_node(program: &TileProgram, op: &Op) -> Flops {
    let chunk = u64::from(program.chunk);
    let entries = |tile| size(&program.node(tile).shape);
    match op {
        Op::Matmul {
            a,
            ta,
            b,
            tb,
            triangle,
            ..
        } => {
            let [rows, inner] = matrix(&program.node(*a).shape, *ta);
            let [_, columns] = matrix(&program.node(*b).shape, *tb);
            let whole = 2 * rows * inner * columns;
            Flops {
                products: match triangle {
                    Triangle::None => whole,
                    Triangle::A | Triangle::Out => whole * (chunk + 1) / (2 * chunk),
                },
                whole_products: whole,
                ..Flops::default()
            }
        }
        Op::Trilinear(_, strict, _, l) => {
            let n = u64::from(program.node(*l).shape[1]);
            let pairs = pairs(chunk, *strict);
            Flops {
                products: 2 * pairs * n,
                whole_products: 2 * chunk * chunk * n,
                ..Flops::default()
            }
        }
        Op::Map {
            shape,
            body,
            reduce,
            ..
        } => {
            let space = size(shape);
            let functions = body.iter().filter(|scalar| is_function(scalar)).count() as u64;
            let all = body.iter().filter(|scalar| !is_leaf(scalar)).count() as u64;
            let summed = match reduce {
                Reduce::None => 0,
                Reduce::All => space - 1,
                Reduce::First => space - space / u64::from(shape[0]),
                Reduce::Second => space - space / u64::from(shape[1]),
            };
            Flops {
                pointwise: space * (all - functions) + summed,
                functions: space * functions,
                ..Flops::default()
            }
        }
        // A scan of the log decays; an exponential for each result, of pairs for those with s before t.
        Op::Decay(interval, strict, l) => Flops {
            pointwise: entries(*l),
            functions: match interval {
                Interval::Between => pairs(chunk, *strict),
                Interval::Start | Interval::End => entries(*l),
                Interval::Total => entries(*l) / chunk,
            },
            ..Flops::default()
        },
        Op::Spread(interval, _, x) => Flops {
            pointwise: match interval {
                Interval::Total => entries(*x) * chunk,
                _ => entries(*x),
            },
            ..Flops::default()
        },
        Op::Solve { r, .. } => {
            let n = u64::from(program.node(*r).shape[1]);
            Flops {
                products: 2 * pairs(chunk, true) * n,
                whole_products: 2 * chunk * chunk * n,
                ..Flops::default()
            }
        }
        Op::Running(scan) => Flops {
            pointwise: 2 * entries(scan.shift),
            ..Flops::default()
        },
        Op::Load(..) | Op::Carry(_) | Op::HeadSum(_) | Op::Delay { .. } | Op::Edge { .. } => {
            Flops::default()
        }
    }
}

/// Pairs of steps (t, s) with s before t, or t itself.
fn pairs(chunk: u64, strict: bool) -> u64 {
    chunk * (chunk + 1) / 2 - if strict { chunk } else { 0 }
}

fn is_leaf(scalar: &Scalar) -> bool {
    matches!(scalar, Scalar::Operand(_) | Scalar::Number(_))
}

/// Whether it is more than an addition, a multiplication or a selection.
fn is_function(scalar: &Scalar) -> bool {
    match scalar {
        Scalar::Unary(function, _) => {
            !matches!(function, UnaryFn::Neg | UnaryFn::Abs | UnaryFn::Relu)
        }
        Scalar::Binary(function, ..) => *function == BinaryFn::Div,
        _ => false,
    }
}

/// Rows and columns of an operand as it enters a product: a vector is one row, or one column
/// when transposed.
fn matrix(shape: &[u32], transposed: bool) -> [u64; 2] {
    let [rows, columns] = match *shape {
        [rows, columns] => [rows, columns],
        [n] => [1, n],
        _ => [1, 1],
    };
    match transposed {
        true => [columns.into(), rows.into()],
        false => [rows.into(), columns.into()],
    }
}

fn size(dims: &[u32]) -> u64 {
    dims.iter().map(|&n| u64::from(n)).product()
}
