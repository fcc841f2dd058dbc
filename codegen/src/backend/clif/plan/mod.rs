//! Where every tile lies and in which order the work is done.
//!
//! A tile in the scratch has rows padded to 16 numbers; padding holds whatever was there and no
//! sum reads it, which `poison` is there to show. A carry, or a tile outside that comes whole, is used where it lies when its rows
//! are multiples of 16, so that vectors need no care at their ends. Where loops are exchanged a carry lies in the scratch as long
//! as its heads are under way.
//!
//! Work that only leads to new carries is moved behind all other work of the heads: then the old
//! carry has been read when the new one is made, and the new one is made in its place. An
//! elementwise result takes over the place of an operand that dies in it, and so does a product
//! with an addend, which it may scale by itself (`scale`); places in the scratch are shared by tiles that are never alive together.
//! Invariant: no step writes a place that a later step still reads as another tile.

mod order;
mod place;
mod scale;

use baton_ir::tile::{
    Along, CarryId, Effect, Gives, Node, Op, Pace, PortId, Region, TileId, TileProgram, gives,
};

/// Number of a buffer; those of nodes come first, in their order.
pub type Buffer = usize;

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// So many numbers into the scratch.
    Scratch(usize),
    /// A carry of the current head.
    Carry(CarryId),
    /// The tile of a port of this chunk and head.
    Port(PortId),
}

/// A tile in memory.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// 1 for vectors and numbers.
    pub rows: usize,
    /// 1 for numbers.
    pub cols: usize,
    /// Numbers from row to row.
    pub row: usize,
    /// Where it lies.
    pub place: Place,
}

impl Tile {
    fn padded(shape: &[u32]) -> Self {
        let (rows, cols) = extents(shape);
        Self {
            rows,
            cols,
            row: cols.next_multiple_of(16),
            place: Place::Scratch(0),
        }
    }

    /// Numbers it takes up.
    fn numbers(&self) -> usize {
        self.rows * self.row
    }
}

/// Rows and columns of a shape: a vector is one row.
pub fn extents(shape: &[u32]) -> (usize, usize) {
    match *shape {
        [] => (1, 1),
        [n] => (1, n as usize),
        [r, c, ..] => (r as usize, c as usize),
    }
}

/// What is done at one place in the order.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Computes a node.
    Compute(TileId),
    /// `to` becomes `from` transposed.
    Turn {
        /// The tile.
        from: Buffer,
        /// Its transpose.
        to: Buffer,
    },
    /// Adds a tile to a sum over heads.
    AddHead {
        /// The tile.
        from: Buffer,
        /// The sum.
        to: Buffer,
    },
    /// An effect.
    Effect(usize),
}

/// One step of the order.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Where in the loops it stands.
    pub region: Region,
    /// What is done.
    pub work: Work,
    /// Room for it, a place in the scratch.
    pub room: usize,
    /// Numbers of room.
    pub numbers: usize,
}

/// The order and the places.
#[derive(Debug)]
pub struct Plan {
    /// Order of work; regions do not decrease.
    pub steps: Vec<Step>,
    /// Every buffer.
    pub tiles: Vec<Tile>,
    /// For each node the transpose of it, where a product needs one.
    pub turned: Vec<Option<Buffer>>,
    /// For each product that adds a tile times another: both.
    pub scaled: Vec<Option<Scaled>>,
    /// For each node that a product adds up over the heads in place: the sum.
    pub summed: Vec<Option<Buffer>>,
    /// What is known of each node.
    pub gives: Vec<Gives>,
    /// Where loops are exchanged, the buffer of each carry.
    pub held: Vec<Buffer>,
    /// Numbers of scratch.
    pub scratch: usize,
}

impl Plan {
    /// The tiles that a node of the planned program reads.
    pub fn operands(&self, program: &TileProgram, tile: TileId) -> Vec<TileId> {
        let op = &program.node(tile).op;
        let mut operands = op.operands();
        if let (Some(scaled), Op::Matmul { add, .. }) = (self.scaled[tile.index()], op) {
            operands.retain(|operand| Some(*operand) != *add);
            operands.extend([scaled.tile, scaled.by]);
        }
        operands
    }
}

/// What a product adds: a tile, each row or column of it times a number.
#[derive(Clone, Copy, Debug)]
pub struct Scaled {
    /// The tile.
    pub tile: TileId,
    /// What it is multiplied by.
    pub by: TileId,
    /// How that stands to it: over nothing, its rows or its columns.
    pub along: Along,
}

/// A product in the form that the kernels take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Rows of B are contiguous.
    Rows,
    /// The same on the transpose of B.
    TurnedRows,
    /// A has one row, which meets the rows of B.
    Dot,
}

/// The form of a product with a left operand of shape `a`.
pub fn form(a: &[u32], ta: bool, tb: bool) -> Form {
    match tb {
        false => Form::Rows,
        true if !ta && a[0] == 1 => Form::Dot,
        true => Form::TurnedRows,
    }
}

/// Plans `program`.
pub fn plan(program: &TileProgram) -> Plan {
    let mut planner = Planner::new(program);
    planner.scale();
    planner.order();
    planner.live();
    planner.carries();
    planner.allocate();
    planner.plan
}

struct Planner<'a> {
    program: &'a TileProgram,
    plan: Plan,
    /// Step that writes each buffer first, and the last one that needs it.
    span: Vec<(usize, usize)>,
}

const UNUSED: usize = usize::MAX;

impl<'a> Planner<'a> {
    fn new(program: &'a TileProgram) -> Self {
        let nodes = program.nodes.len();
        let mut tiles: Vec<Tile> = program
            .nodes
            .iter()
            .map(|node| Tile::padded(&node.shape))
            .collect();
        if program.across {
            let carries = program.carries.iter();
            tiles.extend(carries.map(|carry| Tile::padded(&program.carry_shape(carry))));
        }
        let replaced = |port: PortId| {
            program.effects.iter().any(|effect| match *effect {
                Effect::Store(p, _) | Effect::Accumulate(p, _) => p == port,
                Effect::Carry(..) => false,
            })
        };
        let moved = |tile: TileId, carry: CarryId| {
            program
                .effects
                .iter()
                .any(|effect| matches!(*effect, Effect::Carry(c, t) if t == tile && c != carry))
        };
        for (i, (node, tile)) in program.nodes.iter().zip(&mut tiles).enumerate() {
            let whole = node.shape.is_empty() || tile.cols == tile.row;
            let held = whole || program.across;
            match node.op {
                Op::Load(port, _)
                    if whole
                        && program.ports[port.index()].pace != Pace::Step
                        && !replaced(port) =>
                {
                    tile.place = Place::Port(port);
                }
                Op::Carry(carry)
                    if held && node.region == Region::Heads && !moved(TileId(i as u32), carry) =>
                {
                    tile.place = Place::Carry(carry);
                }
                _ => (),
            }
        }
        Self {
            program,
            plan: Plan {
                steps: vec![],
                held: (nodes..tiles.len()).collect(),
                tiles,
                turned: vec![None; nodes],
                scaled: vec![None; nodes],
                summed: vec![None; nodes],
                gives: gives(program),
                scratch: 0,
            },
            span: vec![],
        }
    }

    fn node(&self, tile: TileId) -> &'a Node {
        self.program.node(tile)
    }

    fn operands(&self, tile: TileId) -> Vec<TileId> {
        self.plan.operands(self.program, tile)
    }
}
