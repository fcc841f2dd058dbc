//! Where every tile lies and in which order the work is done.
//!
//! A tile in the scratch has rows padded to 16 numbers; padding holds whatever was there and no
//! sum reads it. A carry, or a tile outside that comes whole, is used where it lies when its rows
//! are multiples of 16, so that vectors need no care at their ends.
//!
//! Work that only leads to new carries is moved behind all other work of the heads: then the old
//! carry has been read when the new one is made, and the new one is made in its place. An
//! elementwise result takes over the place of an operand that dies in it, and so does a product
//! with an addend; places in the scratch are shared by tiles that are never alive together.
//! Invariant: no step writes a place that a later step still reads as another tile.

use super::micro::trilinear_workspace;
use baton_ir::chunked::Interval;
use baton_ir::tile::{
    Along, CarryId, Effect, Node, Op, Pace, PortId, Reduce, Region, TileId, TileProgram,
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
    /// For each node that a product adds up over the heads in place: the sum.
    pub summed: Vec<Option<Buffer>>,
    /// Whether a node's tile is zero above the diagonal.
    pub lower: Vec<bool>,
    /// Numbers of scratch.
    pub scratch: usize,
}

/// A product in the form that the kernels take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Rows of B are contiguous.
    Rows,
    /// The same on the transpose of B.
    TurnedRows,
    /// The result is a vector: columns of A against B as a row, so A's rows are B's part.
    Swapped,
    /// The result is a vector: rows of A against the vector B.
    DotA,
    /// The result is a vector: the vector A against rows of B.
    DotB,
}

/// The form of a product with operands of shapes `a` and `b`.
pub fn form(a: &[u32], ta: bool, b: &[u32], tb: bool) -> Form {
    let ((m, _), vector) = (extents(a), a.len() == 1);
    match (tb, b.len()) {
        (false, _) => Form::Rows,
        (true, 1) if vector && ta => Form::TurnedRows,
        (true, 1) if ta => Form::Swapped,
        (true, 1) => Form::DotA,
        (true, _) if !ta && m == 1 => Form::DotB,
        (true, _) => Form::TurnedRows,
    }
}

/// Plans `program`.
pub fn plan(program: &TileProgram) -> Plan {
    let mut planner = Planner::new(program);
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
        let mut tiles: Vec<Tile> = program
            .nodes
            .iter()
            .map(|node| Tile::padded(&node.shape))
            .collect();
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
            match node.op {
                Op::Load(port, _)
                    if whole && program.ports[port.index()].pace != Pace::Step && !replaced(port) =>
                {
                    tile.place = Place::Port(port);
                }
                Op::Carry(carry)
                    if whole
                        && node.region == Region::Heads
                        && !moved(TileId(i as u32), carry) =>
                {
                    tile.place = Place::Carry(carry);
                }
                _ => (),
            }
        }
        let nodes = program.nodes.len();
        Self {
            program,
            plan: Plan {
                steps: vec![],
                tiles,
                turned: vec![None; nodes],
                summed: vec![None; nodes],
                lower: lower_triangles(&program.nodes),
                scratch: 0,
            },
            span: vec![],
        }
    }

    fn node(&self, tile: TileId) -> &'a Node {
        self.program.node(tile)
    }

    /// Nodes that an effect needs, and of these the ones that only new carries need.
    fn needed(&self) -> (Vec<bool>, Vec<bool>) {
        let count = self.program.nodes.len();
        let (mut used, mut other) = (vec![false; count], vec![false; count]);
        for effect in &self.program.effects {
            let tile = effect.tile().index();
            used[tile] = true;
            other[tile] |= !matches!(effect, Effect::Carry(..));
        }
        for (i, node) in self.program.nodes.iter().enumerate().rev() {
            for operand in node.op.operands() {
                used[operand.index()] |= used[i];
                other[operand.index()] |= other[i];
            }
        }
        let late = used.iter().zip(&other).map(|(&u, &o)| u && !o).collect();
        (used, late)
    }

    fn push(&mut self, region: Region, work: Work) {
        self.plan.steps.push(Step {
            region,
            work,
            room: UNUSED,
        });
    }

    fn buffer(&mut self, shape: &[u32]) -> Buffer {
        self.plan.tiles.push(Tile::padded(shape));
        self.plan.tiles.len() - 1
    }

    fn order(&mut self) {
        let (used, late) = self.needed();
        let program = self.program;
        let users = |tile: TileId| {
            let reading = program
                .nodes
                .iter()
                .zip(&used)
                .filter(|(node, used)| **used && node.op.operands().contains(&tile))
                .count();
            reading + program.effects.iter().filter(|e| e.tile() == tile).count()
        };
        for region in [Region::Before, Region::Heads, Region::After] {
            self.early_effects(region);
            for pass in [false, true] {
                for (i, node) in program.nodes.iter().enumerate() {
                    let tile = TileId(i as u32);
                    if !used[i] || node.region != region || late[i] != pass {
                        continue;
                    }
                    let sums: Vec<usize> = (0..program.nodes.len())
                        .filter(|&j| {
                            used[j] && matches!(program.nodes[j].op, Op::HeadSum(of) if of == tile)
                        })
                        .collect();
                    if let (Op::Matmul { add: None, .. }, [sum], 1) =
                        (&node.op, &sums[..], users(tile))
                    {
                        self.plan.summed[i] = Some(*sum);
                    }
                    self.push(region, Work::Compute(tile));
                    if self.needs_turn(tile, &used) {
                        let (rows, cols) = extents(&node.shape);
                        let to = self.buffer(&[cols as u32, rows as u32]);
                        self.plan.turned[i] = Some(to);
                        self.push(region, Work::Turn { from: i, to });
                    }
                    if self.plan.summed[i].is_none() {
                        for to in sums {
                            self.push(region, Work::AddHead { from: i, to });
                        }
                    }
                    self.effects_of(tile, region);
                }
            }
            self.carry_effects(region);
        }
    }

    /// Whether a product needs the transpose of `tile`. It is made once, beside the tile.
    fn needs_turn(&self, tile: TileId, used: &[bool]) -> bool {
        let mut nodes = self.program.nodes.iter().zip(used);
        nodes.any(|(node, used)| match node.op {
            Op::Matmul { a, ta, b, tb, .. } if *used && b == tile => {
                form(&self.node(a).shape, ta, &self.node(b).shape, tb) == Form::TurnedRows
            }
            _ => false,
        })
    }

    /// A port with heads is written for each head, also with what the heads share.
    fn place_of_effect(&self, effect: Effect) -> Region {
        let region = self.node(effect.tile()).region;
        let per_head = match effect {
            Effect::Store(port, _) | Effect::Accumulate(port, _) => {
                self.program.ports[port.index()].per_head
            }
            Effect::Carry(..) => true,
        };
        match region {
            Region::Before if per_head => Region::Heads,
            region => region,
        }
    }

    /// Effects of the heads with values from before them.
    fn early_effects(&mut self, region: Region) {
        for (i, &effect) in self.program.effects.iter().enumerate() {
            let from = self.node(effect.tile()).region;
            let moved = from != region && self.place_of_effect(effect) == region;
            if moved && !matches!(effect, Effect::Carry(..)) {
                self.push(region, Work::Effect(i));
            }
        }
    }

    fn effects_of(&mut self, tile: TileId, region: Region) {
        for (i, &effect) in self.program.effects.iter().enumerate() {
            let here = effect.tile() == tile && self.place_of_effect(effect) == region;
            if here && !matches!(effect, Effect::Carry(..)) {
                self.push(region, Work::Effect(i));
            }
        }
    }

    fn carry_effects(&mut self, region: Region) {
        for (i, &effect) in self.program.effects.iter().enumerate() {
            if matches!(effect, Effect::Carry(..)) && self.place_of_effect(effect) == region {
                self.push(region, Work::Effect(i));
            }
        }
    }

    /// Buffers that a step reads.
    fn reads(&self, work: Work) -> Vec<Buffer> {
        match work {
            Work::Compute(tile) => {
                let node = self.node(tile);
                let mut reads: Vec<Buffer> = match node.op {
                    Op::HeadSum(_) => vec![],
                    _ => node.op.operands().iter().map(|t| t.index()).collect(),
                };
                if let Op::Matmul { a, ta, b, tb, .. } = node.op
                    && form(&self.node(a).shape, ta, &self.node(b).shape, tb) == Form::TurnedRows
                {
                    reads.extend(self.plan.turned[b.index()]);
                }
                reads.extend(self.plan.summed[tile.index()]);
                reads
            }
            Work::Turn { from, .. } => vec![from],
            Work::AddHead { from, to } => vec![from, to],
            Work::Effect(i) => vec![self.program.effects[i].tile().index()],
        }
    }

    fn live(&mut self) {
        self.span = vec![(UNUSED, 0); self.plan.tiles.len()];
        let steps = &self.plan.steps;
        let first = |region| steps.iter().position(|step| step.region >= region);
        let start = first(Region::Heads).unwrap_or(steps.len());
        let end = first(Region::After).unwrap_or(steps.len());
        for (at, step) in steps.iter().enumerate() {
            let written = match step.work {
                Work::Compute(tile) => Some(tile.index()),
                Work::Turn { to, .. } => Some(to),
                Work::AddHead { .. } | Work::Effect(_) => None,
            };
            if let Some(written) = written {
                let sum = matches!(
                    self.program.nodes.get(written).map(|node| &node.op),
                    Some(Op::HeadSum(_))
                );
                let from = if sum { at.min(start) } else { at };
                self.span[written] = (from, at);
            }
        }
        for (at, step) in steps.iter().enumerate() {
            for buffer in self.reads(step.work) {
                // What is alive before a loop and read in it is read in every turn of it.
                let (from, last) = &mut self.span[buffer];
                let looped = step.region == Region::Heads && *from < start;
                *last = (*last).max(if looped { end.max(1) - 1 } else { at }).max(at);
                if *from == UNUSED {
                    *from = start;
                }
            }
        }
        // A sum over heads is alive through all of them.
        for (i, node) in self.program.nodes.iter().enumerate() {
            if matches!(node.op, Op::HeadSum(_)) && self.span[i].0 != UNUSED {
                self.span[i].0 = start.min(self.span[i].0);
                self.span[i].1 = self.span[i].1.max(end.max(1) - 1);
            }
        }
    }

    /// Whether the step at `at` that makes `tile` may write over `operand`, which dies there.
    fn takes_over(&self, tile: TileId, operand: TileId) -> bool {
        let (node, from) = (self.node(tile), self.node(operand));
        let dies = self.span[operand.index()].1 == self.span[tile.index()].0;
        let once = node.op.operands().iter().filter(|t| **t == operand).count() == 1;
        let fits = match &node.op {
            Op::Map {
                shape,
                operands,
                reduce: Reduce::None,
                ..
            } => operands.iter().any(|&(t, along)| {
                let whole = match shape.len() {
                    1 => Along::First,
                    _ => Along::Both,
                };
                t == operand && along == whole
            }),
            Op::Matmul { add: Some(add), .. } => *add == operand,
            _ => false,
        };
        dies && once && fits && node.shape == from.shape && node.region == from.region
            && !matches!(from.op, Op::HeadSum(_))
    }

    /// Makes new carries in the place of the old ones.
    fn carries(&mut self) {
        for effect in &self.program.effects {
            let Effect::Carry(carry, value) = *effect else {
                continue;
            };
            let mut next = Some(value);
            while let Some(tile) = next.filter(|&tile| self.fits_carry(carry, tile)) {
                self.plan.tiles[tile.index()].place = Place::Carry(carry);
                let operands = self.node(tile).op.operands();
                next = operands
                    .into_iter()
                    .find(|&operand| self.takes_over(tile, operand));
            }
        }
    }

    fn fits_carry(&self, carry: CarryId, tile: TileId) -> bool {
        let node = self.node(tile);
        let place = &self.plan.tiles[tile.index()];
        let at = self.span[tile.index()].0;
        let old_is_read = self.program.nodes.iter().enumerate().all(|(i, old)| {
            let old_tile = TileId(i as u32);
            let copied = self.plan.tiles[i].place != Place::Carry(carry);
            !matches!(old.op, Op::Carry(c) if c == carry)
                || self.span[i].0 == UNUSED
                || (copied && self.span[i].0 < at)
                || self.span[i].1 < at
                || (self.span[i].1 == at && self.takes_over(tile, old_tile))
        });
        // Another tile may already live in the carry's place from here on.
        let free = self.program.effects.iter().all(|other| match *other {
            Effect::Carry(c, t) => c == carry || t != tile,
            _ => true,
        });
        let once = self
            .program
            .effects
            .iter()
            .filter(|e| matches!(e, Effect::Carry(c, _) if *c == carry))
            .count()
            == 1;
        node.region == Region::Heads
            && !matches!(node.op, Op::Carry(_) | Op::Load(..) | Op::HeadSum(_))
            && self.plan.summed[tile.index()].is_none()
            && place.place == Place::Scratch(0)
            && place.cols == place.row
            && !node.shape.is_empty()
            && old_is_read
            && free
            && once
    }

    fn allocate(&mut self) {
        // (first step, last step, from, to) of what lies in the scratch.
        let mut taken: Vec<(usize, usize, usize, usize)> = vec![];
        let mut fixed = vec![false; self.plan.tiles.len()];
        let mut order: Vec<Buffer> = (0..self.plan.tiles.len())
            .filter(|&i| {
                self.span[i].0 != UNUSED && matches!(self.plan.tiles[i].place, Place::Scratch(_))
            })
            .collect();
        order.sort_by_key(|&i| (self.span[i].0, i));
        for i in order {
            let (from, last) = self.span[i];
            let over = (i < self.program.nodes.len()).then(|| {
                let tile = TileId(i as u32);
                let operands = self.node(tile).op.operands();
                operands.into_iter().find(|operand| {
                    fixed[operand.index()]
                        && self.plan.summed[i].is_none()
                        && self.takes_over(tile, *operand)
                })
            });
            if self.plan.summed.get(i).is_some_and(|sum| sum.is_some()) {
                continue;
            }
            if let Some(Some(operand)) = over
                && let Place::Scratch(start) = self.plan.tiles[operand.index()].place
            {
                self.plan.tiles[i].place = Place::Scratch(start);
                let end = start + self.plan.tiles[i].numbers();
                taken.push((from + 1, last.max(from + 1), start, end));
            } else {
                let start = first_fit(&taken, from, last, self.plan.tiles[i].numbers());
                self.plan.tiles[i].place = Place::Scratch(start);
                taken.push((from, last, start, start + self.plan.tiles[i].numbers()));
            }
            fixed[i] = true;
        }
        for at in 0..self.plan.steps.len() {
            let numbers = self.room(self.plan.steps[at].work);
            if numbers > 0 {
                let start = first_fit(&taken, at, at, numbers);
                taken.push((at, at, start, start + numbers));
                self.plan.steps[at].room = start;
            }
        }
        self.plan.scratch = taken.iter().map(|t| t.3).max().unwrap_or(0);
    }

    /// Numbers of room that a step needs.
    fn room(&self, work: Work) -> usize {
        let Work::Compute(tile) = work else { return 0 };
        let chunk = self.program.chunk as usize;
        match &self.node(tile).op {
            Op::Spread(Interval::Between, ..) => chunk.next_multiple_of(16),
            Op::Trilinear(_, _, _, l) => {
                trilinear_workspace(chunk, extents(&self.node(*l).shape).1)
            }
            _ => 0,
        }
    }
}

/// The first place of `numbers` that is free from step `from` to step `last`.
fn first_fit(
    taken: &[(usize, usize, usize, usize)],
    from: usize,
    last: usize,
    numbers: usize,
) -> usize {
    let mut busy: Vec<(usize, usize)> = taken
        .iter()
        .filter(|t| t.0 <= last && from <= t.1)
        .map(|t| (t.2, t.3))
        .collect();
    busy.sort();
    let mut start = 0;
    for (from, to) in busy {
        if start + numbers <= from {
            break;
        }
        start = start.max(to);
    }
    start
}

/// Which tiles are zero above the diagonal.
fn lower_triangles(nodes: &[Node]) -> Vec<bool> {
    use baton_ir::recurrence::{BinaryFn, UnaryFn};
    use baton_ir::tile::Scalar;
    let mut lower: Vec<bool> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let is = match &node.op {
            Op::Decay(Interval::Between, ..) => true,
            Op::Trilinear(baton_ir::chunked::Partial::Weights, ..) => true,
            Op::Map {
                shape,
                operands,
                body,
                reduce: Reduce::None,
            } if shape.len() == 2 => {
                let mut zero: Vec<bool> = vec![];
                for scalar in body {
                    let of = |i: u32| zero[i as usize];
                    zero.push(match *scalar {
                        Scalar::Operand(i) => {
                            let (tile, along) = operands[i as usize];
                            along == Along::Both && lower[tile.index()]
                        }
                        Scalar::Number(x) => x == 0.0,
                        Scalar::Causal(..) => true,
                        Scalar::Valid(a) | Scalar::Step(a) => of(a),
                        Scalar::Unary(function, a) => {
                            of(a)
                                && matches!(
                                    function,
                                    UnaryFn::Neg
                                        | UnaryFn::Abs
                                        | UnaryFn::Sqrt
                                        | UnaryFn::Silu
                                        | UnaryFn::Tanh
                                        | UnaryFn::Relu
                                )
                        }
                        Scalar::Binary(BinaryFn::Mul, a, b) => of(a) || of(b),
                        Scalar::Binary(BinaryFn::Div, a, _) => of(a),
                        Scalar::Binary(_, a, b) => of(a) && of(b),
                    });
                }
                zero.last().copied().unwrap_or(false)
            }
            _ => false,
        };
        lower.push(is);
    }
    lower
}
