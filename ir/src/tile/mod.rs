//! Level 3: a program over tiles of fixed size, ready for a back end.
//!
//! A [`TileProgram`] is one kernel. Its skeleton is fixed: a task is a range of time of one
//! sequence and a range of heads of one group; the task runs a loop over chunks (forward or
//! reverse), and each chunk runs three regions: [`Region::Before`] once, [`Region::Heads`] once
//! for each head of the task, [`Region::After`] once. What the heads of a group share is computed
//! in `Before`; what is summed over heads ([`Op::HeadSum`]) is used in `After`. Carries live for
//! the whole task, one tile for each head.
//!
//! Values are SSA tiles of rank 0 (a number), 1 or 2 with static sizes; C is the chunk. Ports give
//! the tensors outside with dynamic strides. A chunk may hold fewer than C steps: `len` is their
//! number, loads fill the rows past it, stores leave them alone.
//!
//! The loops of a program of single steps may be *exchanged* ([`Draft::across`]): what is called a step above is
//! then a head, a chunk a block of heads, and what is called a head is a step, in the program's direction. Ports
//! follow by their strides; a carry is one tile `[C, dims]` for each block, and goes from step to step.
//! So the rows of a tile are heads, `Before` is what no step changes, `After` what is summed over steps.
//!
//! Sums have one fixed order, decided by the back end, independent of threads and addresses.

mod build;
mod gives;
mod map;
pub(crate) mod typing;
pub mod zeros;

pub use build::Builder;
pub use gives::{Flops, Gives, Steps, Zeros};
pub use map::space_steps;
pub use typing::gives;

use crate::chunked::{Direction, Interval, Partial};
use crate::recurrence::{BinaryFn, UnaryFn, handle};
use crate::running::Scan;
use crate::verify::Verified;

handle!(
    /// A tile value; the node at the same index defines it.
    TileId
);
handle!(
    /// A tensor outside.
    PortId
);
handle!(
    /// A tile carried from chunk to chunk.
    CarryId
);

/// When a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Region {
    /// Once for each chunk, before the heads.
    Before,
    /// For each head of the task.
    Heads,
    /// Once for each chunk, after the heads.
    After,
}

/// How a port moves along time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// One row for each step: tiles are `[C, dims]`.
    Step,
    /// One tile for each chunk: tiles are `[dims]`.
    Chunk,
    /// One tile for the task: tiles are `[dims]`.
    Task,
}

/// What a port stands for outside; a back end does not look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Input number i.
    Input(u32),
    /// Param number i.
    Param(u32),
    /// Output number i.
    Output(u32),
    /// The gradient arriving for output i.
    DOutput(u32),
    /// The gradient of input i; summed over the tasks of a group when it is per group.
    DInput(u32),
    /// The gradient of param i, added up over chunks within a task.
    DParam(u32),
    /// The states that entered each chunk, of state i.
    Entering(u32),
}

/// How the numbers of a port are held outside: what a back end needs to know of a tensor's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// In the dtype in which matrices are stored.
    Storage,
    /// In f32, whatever that is.
    F32,
    /// In f32, and of what heads share every task writes a part of its own: parts are added outside.
    Parts,
}

/// A tensor outside. The innermost dims are contiguous; the strides over time and heads are
/// dynamic.
#[derive(Clone, Debug, PartialEq)]
pub struct PortDecl {
    /// Its name.
    pub name: String,
    /// What it stands for.
    pub role: Role,
    /// How it moves along time.
    pub pace: Pace,
    /// Whether each head has its own.
    pub per_head: bool,
    /// How its numbers are held.
    pub held: Held,
    /// Sizes of the dims of one head at one step (0 to 2).
    pub dims: Vec<u32>,
}

/// What a carry stands for outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CarryRole {
    /// State number i.
    State(u32),
    /// The gradient of state i.
    DState(u32),
    /// The log decay of state i so far: a number.
    LogScalar(u32),
    /// The same for each row.
    LogRow(u32),
    /// The same for each column.
    LogCol(u32),
}

/// A tile carried from chunk to chunk, one for each head of the task; where loops are exchanged, from step to
/// step, one with a row for each head of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct CarryDecl {
    /// Its name.
    pub name: String,
    /// What it stands for.
    pub role: CarryRole,
    /// Its sizes.
    pub dims: Vec<u32>,
}

/// How an operand of a map is indexed by the map's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Along {
    /// A number.
    None,
    /// A vector along the first axis.
    First,
    /// A vector along the second axis.
    Second,
    /// A tile of the map's own shape (rank 2).
    Both,
}

/// A scalar op of a map; operands are positions of earlier ones in the map's body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// Operand number i of the map.
    Operand(u32),
    /// A number.
    Number(f64),
    /// A pointwise function.
    Unary(UnaryFn, u32),
    /// A pointwise function.
    Binary(BinaryFn, u32, u32),
    /// `Select(x, y, a, b)`: `a` where `x > y`, else `b`; NaN where `x` or `y` is.
    Select(u32, u32, u32, u32),
    /// The value where the index along the map's first axis is below `len`, else zero (a select).
    Valid(u32),
    /// The value where first index >= second index (strict: >), else zero (a select).
    Causal(u32, bool),
}

impl Scalar {
    /// The operands, in order; those of the map are none.
    pub fn operands(&self) -> Vec<u32> {
        match *self {
            Scalar::Operand(_) | Scalar::Number(_) => vec![],
            Scalar::Unary(_, a) | Scalar::Valid(a) | Scalar::Causal(a, _) => vec![a],
            Scalar::Binary(_, a, b) => vec![a, b],
            Scalar::Select(x, y, a, b) => vec![x, y, a, b],
        }
    }

    /// The same on other operands.
    pub fn map_operands(self, f: impl Fn(u32) -> u32) -> Scalar {
        match self {
            Scalar::Operand(_) | Scalar::Number(_) => self,
            Scalar::Unary(function, a) => Scalar::Unary(function, f(a)),
            Scalar::Valid(a) => Scalar::Valid(f(a)),
            Scalar::Causal(a, strict) => Scalar::Causal(f(a), strict),
            Scalar::Binary(function, a, b) => Scalar::Binary(function, f(a), f(b)),
            Scalar::Select(x, y, a, b) => Scalar::Select(f(x), f(y), f(a), f(b)),
        }
    }
}

/// Which axes of a map are summed away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// None: the result has the map's shape.
    None,
    /// The first: the result is a vector along the second.
    First,
    /// The second: the result is a vector along the first.
    Second,
    /// All: the result is a number.
    All,
}

/// What rows past the end of the sequence hold after a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Zero.
    Zero,
    /// The last row of the sequence: pointwise functions stay finite.
    Repeat,
}

/// What is known of a `[C, C]` operand or result of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Triangle {
    /// Nothing.
    None,
    /// `a` (before any transposition) is zero above the diagonal. That part is left out of the
    /// product, so what stands against it in `b` may be anything.
    A,
    /// Above the diagonal the result may be any finite number.
    Out,
}

/// A tile operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The port's tile of this chunk and head: `[C, dims]` or `[dims]`.
    Load(PortId, Fill),
    /// The carry of this head, as the chunk before left it.
    Carry(CarryId),
    /// A fused pointwise expression over `shape` (rank 1 or 2), optionally summed.
    Map {
        /// The iteration space.
        shape: Vec<u32>,
        /// Operands and how they are indexed.
        operands: Vec<(TileId, Along)>,
        /// The expression; its last entry is the result.
        body: Vec<Scalar>,
        /// Which axes are summed.
        reduce: Reduce,
    },
    /// `add + a b`, with `a` and `b` transposed on request; all of rank 2. A product with a vector is a
    /// map that is summed.
    Matmul {
        /// Left operand.
        a: TileId,
        /// Use `a` transposed.
        ta: bool,
        /// Right operand.
        b: TileId,
        /// Use `b` transposed.
        tb: bool,
        /// Added to the product.
        add: Option<TileId>,
        /// What is known of the triangles.
        triangle: Triangle,
    },
    /// See `chunked::Op::Decay`; `l` is `[C]` or `[C, n]` (not for Between).
    Decay(Interval, bool, TileId),
    /// See `chunked::Op::Spread`. The flag is strictness. Its chunk length is C.
    Spread(Interval, bool, TileId),
    /// See `chunked::Op::Trilinear`: tiles `[C, C]` (m), `[C, n]` (q, k, l).
    Trilinear(Partial, bool, Vec<TileId>, TileId),
    /// See `chunked::Op::Solve`: `Solve { transposed, l, r }` with tiles `[C, C]` and `[C, n]`.
    Solve {
        /// Whether `l` is transposed.
        transposed: bool,
        /// The triangle, of which what is below the diagonal is read.
        l: TileId,
        /// What is solved for.
        r: TileId,
    },
    /// See `chunked::Op::Running`: tiles `[C]` or `[C, n]` (of the steps) and `[]` or `[n]` (entering).
    Running(Scan<TileId>),
    /// See `chunked::Op::Delay`: tiles `[C]` or `[C, n]`, and `[]` or `[n]`.
    Delay {
        /// Whether it is the step after.
        reverse: bool,
        /// The steps.
        x: TileId,
        /// What stands at the border.
        border: TileId,
    },
    /// See `chunked::Op::Edge`: `[]` or `[n]` of a tile `[C]` or `[C, n]`.
    Edge {
        /// Whether it is the first step.
        reverse: bool,
        /// The steps.
        x: TileId,
    },
    /// The value of region Heads summed over the heads of the task; a value of region After.
    HeadSum(TileId),
}

/// A node: an op with its place and type.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The op.
    pub op: Op,
    /// When it runs.
    pub region: Region,
    /// Sizes of the result (rank 0 to 2).
    pub shape: Vec<u32>,
}

/// An effect at the end of the region that computes its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Writes the valid rows to a port.
    Store(PortId, TileId),
    /// Adds to a port of pace Task.
    Accumulate(PortId, TileId),
    /// Replaces a carry.
    Carry(CarryId, TileId),
}

/// One kernel. It comes from a [`Builder`] or from the verifier ([`crate::verify::tile`]), so a back
/// end that takes one takes only what was verified.
pub type TileProgram = Verified<Draft>;

/// A kernel that nobody verified yet: what a text says and a builder holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// `recurrence_phase_direction_dtype_target`.
    pub name: String,
    /// Steps of a chunk, C.
    pub chunk: u32,
    /// Order of the chunks; where loops are exchanged, of the steps.
    pub direction: Direction,
    /// Whether the loops are exchanged: rows of tiles are heads, and the loop inside goes over steps.
    pub across: bool,
    /// Tensors outside.
    pub ports: Vec<PortDecl>,
    /// Tiles carried.
    pub carries: Vec<CarryDecl>,
    /// Nodes in order; regions do not decrease.
    pub nodes: Vec<Node>,
    /// Effects; each carry's old value is read before it is replaced.
    pub effects: Vec<Effect>,
}

impl Op {
    /// The operands, in order.
    pub fn operands(&self) -> Vec<TileId> {
        match self {
            Op::Load(..) | Op::Carry(_) => vec![],
            Op::Map { operands, .. } => operands.iter().map(|(tile, _)| *tile).collect(),
            Op::Matmul { a, b, add, .. } => [*a, *b].into_iter().chain(*add).collect(),
            Op::Decay(_, _, a) | Op::Spread(_, _, a) | Op::HeadSum(a) => vec![*a],
            Op::Trilinear(_, _, operands, l) => operands.iter().copied().chain([*l]).collect(),
            Op::Solve { l, r, .. } => vec![*l, *r],
            Op::Delay { x, border, .. } => vec![*x, *border],
            Op::Edge { x, .. } => vec![*x],
            Op::Running(scan) => scan.operands(),
        }
    }

    /// The operands, in order, to be renamed.
    pub fn operands_mut(&mut self) -> Vec<&mut TileId> {
        match self {
            Op::Load(..) | Op::Carry(_) => vec![],
            Op::Map { operands, .. } => operands.iter_mut().map(|(tile, _)| tile).collect(),
            Op::Matmul { a, b, add, .. } => [a, b].into_iter().chain(add).collect(),
            Op::Decay(_, _, a) | Op::Spread(_, _, a) | Op::HeadSum(a) => vec![a],
            Op::Trilinear(_, _, operands, l) => operands.iter_mut().chain([l]).collect(),
            Op::Solve { l, r, .. } => vec![l, r],
            Op::Delay { x, border, .. } => vec![x, border],
            Op::Edge { x, .. } => vec![x],
            Op::Running(scan) => scan.operands_mut(),
        }
    }
}

impl Effect {
    /// The tile that is written, to be renamed.
    pub fn tile_mut(&mut self) -> &mut TileId {
        match self {
            Effect::Store(_, tile) | Effect::Accumulate(_, tile) | Effect::Carry(_, tile) => tile,
        }
    }

    /// The tile that is written.
    pub fn tile(&self) -> TileId {
        match *self {
            Effect::Store(_, tile) | Effect::Accumulate(_, tile) | Effect::Carry(_, tile) => tile,
        }
    }
}

impl Draft {
    /// The node behind a value.
    pub fn node(&self, tile: TileId) -> &Node {
        &self.nodes[tile.index()]
    }

    /// Sizes of a port's tile.
    pub fn port_shape(&self, port: &PortDecl) -> Vec<u32> {
        self.with_rows(port.pace == Pace::Step, &port.dims)
    }

    /// Sizes of a carry's tile.
    pub fn carry_shape(&self, carry: &CarryDecl) -> Vec<u32> {
        self.with_rows(self.across, &carry.dims)
    }

    fn with_rows(&self, rows: bool, dims: &[u32]) -> Vec<u32> {
        let rows = rows.then_some(self.chunk);
        rows.into_iter().chain(dims.iter().copied()).collect()
    }
}
