//! Placement: a chunk program becomes a tile program.
//!
//! Each value is placed in a region by the axes it has: with `h` it belongs to the heads; without,
//! it is computed once before them, or after them when it depends on a sum over heads. Here values
//! become nodes; `map` fuses pointwise ones and sums, `product` finds what is known of products,
//! `effects` stores results.
//!
//! A value is placed when something needs it, after all that it needs itself, in the order of need. What is
//! begun stands in a list and not on the stack, so a text may be as long as it likes.

mod effects;
mod map;
mod product;
mod walk;

use baton_ir::chunked::{Axis, Chunked, Direction, Op, ValueId};
use baton_ir::recurrence::{BinaryFn, DimId, Port};
use baton_ir::tile::{
    self, Builder, CarryDecl, CarryId, CarryRole, Fill, Held, Pace, PortDecl, PortId, Reduce,
    Region, Role, TileId, TileProgram,
};
use walk::Walk;

/// Lowers `program` for dims of `sizes` and chunks of `chunk` steps. With `keep`, a forward
/// program also stores the states that enter each chunk.
pub fn lower(
    program: &Chunked,
    sizes: &[usize],
    chunk: usize,
    keep: bool,
    name: String,
) -> TileProgram {
    lower_strip(program, sizes, chunk, keep, name, None)
}

/// The same of a strip of the dim that is cut, if one is: `sizes` are those of the strip.
pub(crate) fn lower_strip(
    program: &Chunked,
    sizes: &[usize],
    chunk: usize,
    keep: bool,
    name: String,
    cut: Option<DimId>,
) -> TileProgram {
    let mut users = vec![vec![]; program.ops.len()];
    for (i, op) in program.ops.iter().enumerate() {
        op.operands()
            .iter()
            .for_each(|v| users[v.index()].push(Some(ValueId(i as u32))));
    }
    program
        .results
        .iter()
        .for_each(|(_, v)| users[v.index()].push(None));
    let mut lower = Lower {
        program,
        sizes,
        chunk: chunk as u32,
        cut,
        users,
        regions: vec![],
        tiles: vec![None; program.ops.len()],
        out: Builder::new(name, chunk as u32, program.direction),
    };
    lower.regions();
    if keep {
        lower.keep_entering();
    }
    for &(target, value) in &program.results {
        lower.result(target, value);
    }
    lower.out.finish()
}

/// How the tensor of a role is held outside, `of` being the port of the recurrence that it belongs to.
/// In f32: params, numbers, and states that are no matrices, which cost little and often divide.
pub fn held(role: Role, of: &Port) -> Held {
    let narrow = match role {
        Role::Param(_) | Role::DParam(_) => false,
        Role::Input(_) | Role::Output(_) | Role::DOutput(_) | Role::DInput(_) => {
            !of.shape.is_empty()
        }
        Role::Entering(_) => of.shape.len() == 2,
    };
    match role {
        Role::DInput(_) | Role::DParam(_) if of.per_group => Held::Parts,
        _ if narrow => Held::Storage,
        _ => Held::F32,
    }
}

struct Lower<'a> {
    program: &'a Chunked,
    sizes: &'a [usize],
    chunk: u32,
    /// The dim of whose strips this is one.
    cut: Option<DimId>,
    /// Users of each value; `None` is a result.
    users: Vec<Vec<Option<ValueId>>>,
    regions: Vec<Region>,
    tiles: Vec<Option<TileId>>,
    out: Builder,
}

/// What stands between a value and its tile.
enum Needs {
    /// The tiles of other values, in the order of need.
    Tiles(Vec<ValueId>),
    /// A map, which finds its operands as it grows.
    Map(Walk, Reduce),
}

/// A value whose tile is begun.
struct Work {
    value: ValueId,
    needs: Needs,
}

impl Lower<'_> {
    fn regions(&mut self) {
        for i in 0..self.program.ops.len() {
            let op = &self.program.ops[i];
            let after = matches!(op, Op::Sum(_, Axis::Head))
                || op
                    .operands()
                    .iter()
                    .any(|v| self.regions[v.index()] == Region::After);
            let region = match (self.program.axes[i].contains(&Axis::Head), after) {
                (true, false) => Region::Heads,
                (false, true) => Region::After,
                (false, false) => Region::Before,
                (true, true) => unreachable!("no derivation uses a sum over heads for one head"),
            };
            self.regions.push(region);
        }
    }

    /// The axes of a value within one head.
    fn axes(&self, value: ValueId) -> Vec<Axis> {
        self.program
            .axes(value)
            .iter()
            .copied()
            .filter(|axis| *axis != Axis::Head)
            .collect()
    }

    fn extent(&self, axis: Axis) -> u32 {
        match axis {
            Axis::Head => unreachable!("a tile belongs to one head"),
            Axis::Time | Axis::Middle | Axis::Source => self.chunk,
            Axis::Dim(dim) | Axis::Prime(dim) => self.sizes[dim.index()] as u32,
        }
    }

    fn shape(&self, axes: &[Axis]) -> Vec<u32> {
        axes.iter().map(|&axis| self.extent(axis)).collect()
    }

    fn node(&mut self, op: tile::Op, region: Region, axes: &[Axis]) -> TileId {
        let tile = self.out.add(op, region);
        let shape = &self.out.program().node(tile).shape;
        debug_assert_eq!(*shape, self.shape(axes), "the op's own and the value's");
        tile
    }

    fn port(&mut self, role: Role, name: String, of: &Port, pace: Pace) -> PortId {
        let mut known = self.out.program().ports.iter();
        if let Some(i) = known.position(|port| port.role == role) {
            return PortId(i as u32);
        }
        let dims = of
            .shape
            .iter()
            .map(|dim| self.sizes[dim.index()] as u32)
            .collect();
        self.out.port(PortDecl {
            name,
            role,
            pace,
            per_head: !of.per_group,
            held: self.held(role, of),
            dims,
        })
    }

    /// As [`held`]; of what strips share each writes a part of the gradient.
    fn held(&self, role: Role, of: &Port) -> Held {
        let shares = self.cut.is_some_and(|dim| !of.shape.contains(&dim));
        match role {
            Role::DInput(_) if shares => Held::Parts,
            _ => held(role, of),
        }
    }

    fn carry(&mut self, role: CarryRole, name: String, dims: Vec<u32>) -> CarryId {
        let mut known = self.out.program().carries.iter();
        match known.position(|carry| carry.role == role) {
            Some(i) => CarryId(i as u32),
            None => self.out.carry(CarryDecl { name, role, dims }),
        }
    }

    fn state_carry(&mut self, index: usize) -> CarryId {
        let port = &self.program.states[index];
        let dims = port
            .shape
            .iter()
            .map(|dim| self.sizes[dim.index()] as u32)
            .collect();
        let (role, name) = match self.program.direction {
            Direction::Forward => (CarryRole::State(index as u32), port.name.clone()),
            Direction::Reverse => (CarryRole::DState(index as u32), format!("d_{}", port.name)),
        };
        self.carry(role, name, dims)
    }

    /// The tile of a value, computed at most once.
    fn tile(&mut self, value: ValueId) -> TileId {
        let mut open = vec![];
        if self.tiles[value.index()].is_none() {
            open.push(self.begin(value));
        }
        while let Some(work) = open.last_mut() {
            if let Some(next) = self.missing(&mut work.needs) {
                open.push(self.begin(next));
            } else if let Some(Work { value, needs }) = open.pop() {
                let tile = self.compute(value, needs);
                self.tiles[value.index()] = Some(tile);
            }
        }
        self.made(value)
    }

    /// The tile of a value that has one.
    fn made(&self, value: ValueId) -> TileId {
        self.tiles[value.index()].expect("what a value needs is made before it")
    }

    /// The first of the needs without a tile.
    fn missing(&mut self, needs: &mut Needs) -> Option<ValueId> {
        match needs {
            Needs::Tiles(values) => {
                let mut values = values.iter().copied();
                values.find(|value| self.tiles[value.index()].is_none())
            }
            Needs::Map(walk, _) => self.advance(walk),
        }
    }

    /// What a value needs.
    fn begin(&self, value: ValueId) -> Work {
        let needs = match *self.program.op(value) {
            Op::Input(_) | Op::Param(_) | Op::DOutput(_) | Op::State(_) | Op::DState(_) => {
                Needs::Tiles(vec![])
            }
            Op::Valid(x) if matches!(self.program.op(x), Op::Input(_)) => Needs::Tiles(vec![]),
            Op::Relabel(x, ..) | Op::Decay(.., x) | Op::Spread(.., x) | Op::Sum(x, Axis::Head) => {
                Needs::Tiles(vec![x])
            }
            Op::Contract(a, b, axis) => self.contract_needs(value, a, b, axis),
            Op::Binary(BinaryFn::Add, a, b)
                if let Some((add, product)) = self.add_product(value, a, b) =>
            {
                let [x, y] = self.factors(product);
                Needs::Tiles(vec![add, x, y])
            }
            Op::Trilinear(.., ref operands, l) => {
                Needs::Tiles(operands.iter().copied().chain([l]).collect())
            }
            Op::Solve(_, l, r) => Needs::Tiles(vec![l, r]),
            Op::Running(scan) => Needs::Tiles(scan.operands()),
            Op::Delay(_, x, border) => Needs::Tiles(vec![x, border]),
            Op::Edge(_, x) => Needs::Tiles(vec![x]),
            Op::Sum(x, axis) => self.sum_needs(value, x, axis),
            Op::Number(_)
            | Op::Size(_)
            | Op::Unary(..)
            | Op::Binary(..)
            | Op::Select(..)
            | Op::Valid(_)
            | Op::Broadcast(..)
            | Op::Causal(..) => {
                let map = self.map(self.axes(value), self.regions[value.index()]);
                Needs::Map(Walk::expanding(map, value), Reduce::None)
            }
        };
        Work { value, needs }
    }

    /// The tile of a value whose needs are made.
    fn compute(&mut self, value: ValueId, needs: Needs) -> TileId {
        if let Needs::Map(walk, reduce) = needs {
            return self.finish_map(walk.map, reduce);
        }
        let region = self.regions[value.index()];
        let axes = self.axes(value);
        match self.program.op(value).clone() {
            Op::Input(i) => self.load_input(i.index(), Fill::Repeat, region, &axes),
            Op::Valid(x) if let Op::Input(i) = *self.program.op(x) => {
                self.load_input(i.index(), Fill::Zero, region, &axes)
            }
            Op::Param(i) => {
                let of = self.program.params[i.index()].clone();
                let port = self.port(Role::Param(i.0), of.name.clone(), &of, Pace::Task);
                self.node(tile::Op::Load(port, Fill::Zero), region, &axes)
            }
            Op::DOutput(i) => {
                let of = self.program.outputs[i.index()].clone();
                let port = self.port(
                    Role::DOutput(i.0),
                    format!("d_{}", of.name),
                    &of,
                    Pace::Step,
                );
                self.node(tile::Op::Load(port, Fill::Zero), region, &axes)
            }
            Op::State(i) if self.program.direction == Direction::Reverse => {
                let of = self.program.states[i.index()].clone();
                let port = self.entering(i.0, &of);
                self.node(tile::Op::Load(port, Fill::Zero), region, &axes)
            }
            Op::State(i) | Op::DState(i) => {
                let carry = self.state_carry(i.index());
                self.node(tile::Op::Carry(carry), region, &axes)
            }
            Op::Relabel(x, from, to) => {
                let place = |axes: &[Axis], axis| axes.iter().position(|own| *own == axis);
                let old = self.axes(x);
                assert_eq!(
                    place(&old, from),
                    place(&axes, to),
                    "no tile is turned by a name"
                );
                self.made(x)
            }
            Op::Contract(..) => self.matmul(value, None),
            Op::Binary(BinaryFn::Add, a, b)
                if let Some((add, product)) = self.add_product(value, a, b) =>
            {
                let add = self.made(add);
                self.matmul(product, Some(add))
            }
            Op::Decay(interval, strict, l) => {
                let op = tile::Op::Decay(interval, strict, self.made(l));
                self.node(op, region, &axes)
            }
            Op::Spread(interval, strict, x) => {
                let op = tile::Op::Spread(interval, strict, self.made(x));
                self.node(op, region, &axes)
            }
            Op::Trilinear(partial, strict, operands, l) => {
                let operands = operands.into_iter().map(|v| self.made(v)).collect();
                let op = tile::Op::Trilinear(partial, strict, operands, self.made(l));
                self.node(op, region, &axes)
            }
            Op::Solve(transposed, l, r) => {
                let (l, r) = (self.made(l), self.made(r));
                self.node(tile::Op::Solve { transposed, l, r }, region, &axes)
            }
            Op::Running(scan) => {
                let op = tile::Op::Running(scan.map(|operand| self.made(operand)));
                self.node(op, region, &axes)
            }
            Op::Delay(reverse, x, border) => {
                let (x, border) = (self.made(x), self.made(border));
                let op = tile::Op::Delay { reverse, x, border };
                self.node(op, region, &axes)
            }
            Op::Edge(reverse, x) => {
                let op = tile::Op::Edge {
                    reverse,
                    x: self.made(x),
                };
                self.node(op, region, &axes)
            }
            Op::Sum(x, Axis::Head) => {
                let op = tile::Op::HeadSum(self.made(x));
                self.node(op, region, &axes)
            }
            Op::Sum(..)
            | Op::Number(_)
            | Op::Size(_)
            | Op::Unary(..)
            | Op::Binary(..)
            | Op::Select(..)
            | Op::Valid(_)
            | Op::Broadcast(..)
            | Op::Causal(..) => unreachable!("its needs are those of a map"),
        }
    }

    fn load_input(&mut self, i: usize, fill: Fill, region: Region, axes: &[Axis]) -> TileId {
        let of = self.program.inputs[i].clone();
        let port = self.port(Role::Input(i as u32), of.name.clone(), &of, Pace::Step);
        self.node(tile::Op::Load(port, fill), region, axes)
    }

    fn entering(&mut self, i: u32, of: &Port) -> PortId {
        self.port(
            Role::Entering(i),
            format!("{}_entering", of.name),
            of,
            Pace::Chunk,
        )
    }
}
