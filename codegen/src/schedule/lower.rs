//! Placement: a chunk program becomes a tile program.
//!
//! Each value is placed in a region by the axes it has: with `h` it belongs to the heads; without,
//! it is computed once before them, or after them when it depends on a sum over heads. Then
//! chains of pointwise ops are fused into maps (a value is fused into its only user when both
//! run over the same axes; a value over fewer axes is computed once and kept), sums into the maps
//! that feed them, additions into the products beside them, masks of inputs into loads.
//!
//! Triangles are claimed from the algebra: a causal value is zero above the diagonal, and a
//! product that is only ever masked need not be computed there.

use baton_ir::chunked::{Axis, Chunked, Direction, Interval, Op, Target, ValueId};
use baton_ir::recurrence::{BinaryFn, Port};
use baton_ir::tile::{
    self, Along, CarryDecl, CarryId, CarryRole, Effect, Fill, Node, Pace, PortDecl, PortId, Reduce,
    Region, Role, Scalar, TileId, TileProgram, Triangle,
};

/// Lowers `program` for dims of `sizes` and chunks of `chunk` steps. With `keep`, a forward
/// program also stores the states that enter each chunk.
pub fn lower(
    program: &Chunked,
    sizes: &[usize],
    chunk: usize,
    keep: bool,
    name: String,
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
        users,
        regions: vec![],
        tiles: vec![None; program.ops.len()],
        out: TileProgram {
            name,
            chunk: chunk as u32,
            direction: program.direction,
            ports: vec![],
            carries: vec![],
            nodes: vec![],
            effects: vec![],
        },
    };
    lower.regions();
    if keep {
        lower.keep_entering();
    }
    for &(target, value) in &program.results {
        lower.result(target, value);
    }
    lower.sort();
    lower.out
}

struct Lower<'a> {
    program: &'a Chunked,
    sizes: &'a [usize],
    chunk: u32,
    /// Users of each value; `None` is a result.
    users: Vec<Vec<Option<ValueId>>>,
    regions: Vec<Region>,
    tiles: Vec<Option<TileId>>,
    out: TileProgram,
}

/// The parts of a map while it is being built.
struct Map {
    axes: Vec<Axis>,
    region: Region,
    operands: Vec<(TileId, Along)>,
    body: Vec<Scalar>,
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
            Axis::Time | Axis::Source => self.chunk,
            Axis::Dim(dim) | Axis::Prime(dim) => self.sizes[dim.index()] as u32,
        }
    }

    fn shape(&self, axes: &[Axis]) -> Vec<u32> {
        axes.iter().map(|&axis| self.extent(axis)).collect()
    }

    fn node(&mut self, op: tile::Op, region: Region, axes: &[Axis]) -> TileId {
        let shape = self.shape(axes);
        self.out.nodes.push(Node { op, region, shape });
        TileId(self.out.nodes.len() as u32 - 1)
    }

    fn port(&mut self, role: Role, name: String, of: &Port, pace: Pace) -> PortId {
        if let Some(i) = self.out.ports.iter().position(|port| port.role == role) {
            return PortId(i as u32);
        }
        let dims = of
            .shape
            .iter()
            .map(|dim| self.sizes[dim.index()] as u32)
            .collect();
        self.out.ports.push(PortDecl {
            name,
            role,
            pace,
            per_head: !of.per_group,
            dims,
        });
        PortId(self.out.ports.len() as u32 - 1)
    }

    fn carry(&mut self, role: CarryRole, name: String, dims: Vec<u32>) -> CarryId {
        if let Some(i) = self.out.carries.iter().position(|carry| carry.role == role) {
            return CarryId(i as u32);
        }
        self.out.carries.push(CarryDecl { name, role, dims });
        CarryId(self.out.carries.len() as u32 - 1)
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
        if let Some(tile) = self.tiles[value.index()] {
            return tile;
        }
        let tile = self.compute(value);
        self.tiles[value.index()] = Some(tile);
        tile
    }

    fn compute(&mut self, value: ValueId) -> TileId {
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
            Op::Relabel(x, ..) => {
                let old = self.axes(x);
                assert_eq!(old.len(), axes.len());
                self.tile(x)
            }
            Op::Contract(a, b, axis) => self.matmul(value, a, b, axis, None),
            Op::Binary(BinaryFn::Add, a, b)
                if let Some((add, product)) = self.add_product(value, a, b) =>
            {
                let Op::Contract(x, y, axis) = *self.program.op(product) else {
                    unreachable!("add_product gives a product")
                };
                let add = self.tile(add);
                self.matmul(product, x, y, axis, Some(add))
            }
            Op::Decay(interval, strict, l) => {
                let l = self.tile(l);
                self.node(tile::Op::Decay(interval, strict, l), region, &axes)
            }
            Op::Spread(interval, strict, x) => {
                let x = self.tile(x);
                self.node(tile::Op::Spread(interval, strict, x), region, &axes)
            }
            Op::Trilinear(partial, strict, operands, l) => {
                let operands = operands.into_iter().map(|v| self.tile(v)).collect();
                let l = self.tile(l);
                self.node(
                    tile::Op::Trilinear(partial, strict, operands, l),
                    region,
                    &axes,
                )
            }
            Op::Sum(x, Axis::Head) => {
                let x = self.tile(x);
                self.node(tile::Op::HeadSum(x), region, &axes)
            }
            Op::Sum(x, axis) => self.sum(value, x, axis),
            Op::Number(_)
            | Op::Size(_)
            | Op::Unary(..)
            | Op::Binary(..)
            | Op::Step(_)
            | Op::Valid(_)
            | Op::Broadcast(..)
            | Op::Causal(..) => {
                let mut map = self.map(axes, region);
                self.expand(value, &mut map);
                self.finish_map(map, Reduce::None)
            }
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

    fn map(&self, axes: Vec<Axis>, region: Region) -> Map {
        Map {
            axes,
            region,
            operands: vec![],
            body: vec![],
        }
    }

    fn finish_map(&mut self, map: Map, reduce: Reduce) -> TileId {
        let mut shape = self.shape(&map.axes);
        let (reduce, result) = match (reduce, &map.axes[..]) {
            // A number is a map over one element, summed.
            (_, []) => {
                shape = vec![1];
                (Reduce::All, vec![])
            }
            (Reduce::None, axes) => (reduce, axes.to_vec()),
            (Reduce::First, [_, second]) => (reduce, vec![*second]),
            (Reduce::Second, [first, _]) => (reduce, vec![*first]),
            _ => (Reduce::All, vec![]),
        };
        let op = tile::Op::Map {
            shape,
            operands: map.operands,
            body: map.body,
            reduce,
        };
        self.node(op, map.region, &result)
    }

    /// A sum over one axis, or over two when the inner sum has no other user.
    fn sum(&mut self, value: ValueId, x: ValueId, axis: Axis) -> TileId {
        let region = self.regions[value.index()];
        let (inner, axes) = match *self.program.op(x) {
            Op::Sum(inner, within) if within != Axis::Head && self.users[x.index()].len() == 1 => {
                (inner, self.axes(inner))
            }
            _ => (x, self.axes(x)),
        };
        let reduce = match (inner == x, axes.iter().position(|a| *a == axis), axes.len()) {
            (true, Some(0), 2) => Reduce::First,
            (true, Some(1), 2) => Reduce::Second,
            _ => Reduce::All,
        };
        let mut map = self.map(axes, region);
        self.scalar(inner, &mut map);
        self.finish_map(map, reduce)
    }

    /// The scalar of a value inside a map: fused, or an operand.
    fn scalar(&mut self, value: ValueId, map: &mut Map) -> u32 {
        if self.fuses(value, map) {
            return self.expand(value, map);
        }
        let tile = self.tile(value);
        let along = match (&self.axes(value)[..], &map.axes[..]) {
            ([], _) => Along::None,
            ([axis], [first, ..]) if axis == first => Along::First,
            ([_], _) => Along::Second,
            _ => Along::Both,
        };
        let operand = match map
            .operands
            .iter()
            .position(|known| *known == (tile, along))
        {
            Some(known) => known,
            None => {
                map.operands.push((tile, along));
                map.operands.len() - 1
            }
        };
        push(&mut map.body, Scalar::Operand(operand as u32))
    }

    fn fuses(&self, value: ValueId, map: &Map) -> bool {
        match *self.program.op(value) {
            Op::Number(_) | Op::Size(_) => true,
            Op::Broadcast(..) => self.tiles[value.index()].is_none(),
            Op::Valid(x) if matches!(self.program.op(x), Op::Input(_)) => false,
            Op::Binary(BinaryFn::Add, a, b) if self.add_product(value, a, b).is_some() => false,
            Op::Unary(..) | Op::Binary(..) | Op::Step(_) | Op::Valid(_) | Op::Causal(..) => {
                self.users[value.index()].len() == 1
                    && self.regions[value.index()] == map.region
                    && self.axes(value) == map.axes
            }
            _ => false,
        }
    }

    fn expand(&mut self, value: ValueId, map: &mut Map) -> u32 {
        let scalar = match *self.program.op(value) {
            Op::Number(x) => Scalar::Number(x),
            Op::Size(dim) => Scalar::Number(self.sizes[dim.index()] as f64),
            Op::Unary(function, a) => Scalar::Unary(function, self.scalar(a, map)),
            Op::Binary(function, a, b) => {
                let (a, b) = (self.scalar(a, map), self.scalar(b, map));
                Scalar::Binary(function, a, b)
            }
            Op::Step(a) => Scalar::Step(self.scalar(a, map)),
            Op::Valid(a) => Scalar::Valid(self.scalar(a, map)),
            Op::Causal(a, strict) => Scalar::Causal(self.scalar(a, map), strict),
            Op::Broadcast(a, _) => return self.scalar(a, map),
            ref op => unreachable!("{op:?} is not pointwise"),
        };
        push(&mut map.body, scalar)
    }

    /// Of `a + b`: the addend and the product that can take it in, where there is one.
    fn add_product(&self, sum: ValueId, a: ValueId, b: ValueId) -> Option<(ValueId, ValueId)> {
        let fits = |&(add, product): &(ValueId, ValueId)| {
            matches!(self.program.op(self.unnamed(product)), Op::Contract(..))
                && !self.axes(product).is_empty()
                && add != product
                && self.users[product.index()].len() == 1
                && self.regions[product.index()] == self.regions[sum.index()]
                && self.axes(product) == self.axes(sum)
                && self.axes(add) == self.axes(sum)
        };
        let found = [(a, b), (b, a)].into_iter().find(fits);
        found.map(|(add, product)| (add, self.unnamed(product)))
    }

    /// What a value is before its axes are renamed, where nothing else uses that.
    fn unnamed(&self, value: ValueId) -> ValueId {
        match *self.program.op(value) {
            Op::Relabel(x, ..) if self.users[x.index()].len() == 1 => x,
            _ => value,
        }
    }

    fn matmul(
        &mut self,
        value: ValueId,
        a: ValueId,
        b: ValueId,
        over: Axis,
        add: Option<TileId>,
    ) -> TileId {
        let region = self.regions[value.index()];
        let result = self.axes(value);
        if result.is_empty() {
            let mut map = self.map(vec![over], region);
            let (a, b) = (self.scalar(a, &mut map), self.scalar(b, &mut map));
            push(&mut map.body, Scalar::Binary(BinaryFn::Mul, a, b));
            return self.finish_map(map, Reduce::All);
        }
        let free = |lower: &Self, v| lower.axes(v).into_iter().find(|axis| *axis != over);
        let (a, b) = match (free(self, a), free(self, b)) {
            (Some(x), Some(y)) if y < x => (b, a),
            _ => (a, b),
        };
        // `a` as [rows, over]: transposed when `over` comes first; a vector is one row.
        let (axes_a, axes_b) = (self.axes(a), self.axes(b));
        let ta = axes_a.len() == 2 && axes_a[0] == over;
        let tb = axes_b.last() == Some(&over);
        let square = [Axis::Time, Axis::Source];
        let triangle = match () {
            () if axes_a == square && self.is_causal(a) => Triangle::A,
            () if result == square && add.is_none() && self.only_masked(value) => Triangle::Out,
            () => Triangle::None,
        };
        let (a, b) = (self.tile(a), self.tile(b));
        self.node(
            tile::Op::Matmul {
                a,
                ta,
                b,
                tb,
                add,
                triangle,
            },
            region,
            &result,
        )
    }

    /// Whether a `[t, s]` value is zero above the diagonal.
    fn is_causal(&self, value: ValueId) -> bool {
        match *self.program.op(value) {
            Op::Causal(..) | Op::Decay(Interval::Between, ..) => true,
            Op::Binary(BinaryFn::Mul, a, b) => self.is_causal(a) || self.is_causal(b),
            Op::Binary(BinaryFn::Add | BinaryFn::Sub, a, b) => {
                self.is_causal(a) && self.is_causal(b)
            }
            Op::Sum(a, Axis::Head) | Op::Unary(baton_ir::recurrence::UnaryFn::Neg, a) => {
                self.is_causal(a)
            }
            _ => false,
        }
    }

    /// Whether every user of a `[t, s]` value selects or zeroes what is above the diagonal.
    fn only_masked(&self, value: ValueId) -> bool {
        self.users[value.index()]
            .iter()
            .all(|user| match user.map(|u| self.program.op(u)) {
                Some(Op::Causal(..)) => true,
                Some(Op::Binary(BinaryFn::Mul, a, b)) => {
                    let other = if *a == value { *b } else { *a };
                    self.is_causal(other) || user.is_some_and(|u| self.only_masked(u))
                }
                _ => false,
            })
    }

    fn result(&mut self, target: Target, value: ValueId) {
        let effect = match target {
            Target::Output(o) => {
                let of = self.program.outputs[o.index()].clone();
                let tile = self.whole(value, &of, true);
                Effect::Store(
                    self.port(Role::Output(o.0), of.name.clone(), &of, Pace::Step),
                    tile,
                )
            }
            Target::DInput(i) => {
                let of = self.program.inputs[i.index()].clone();
                let tile = self.whole(value, &of, true);
                let name = format!("d_{}", of.name);
                Effect::Store(self.port(Role::DInput(i.0), name, &of, Pace::Step), tile)
            }
            Target::DParam(i) => {
                let of = self.program.params[i.index()].clone();
                let tile = self.whole(value, &of, false);
                let name = format!("d_{}", of.name);
                Effect::Accumulate(self.port(Role::DParam(i.0), name, &of, Pace::Task), tile)
            }
            Target::State(i) | Target::DState(i) => {
                let of = self.program.states[i.index()].clone();
                let tile = self.whole(value, &of, false);
                Effect::Carry(self.state_carry(i.index()), tile)
            }
            Target::LogScalar(i) => self.log(CarryRole::LogScalar(i.0), value),
            Target::LogRow(i) => self.log(CarryRole::LogRow(i.0), value),
            Target::LogCol(i) => self.log(CarryRole::LogCol(i.0), value),
        };
        self.out.effects.push(effect);
    }

    /// A log decay added to what earlier chunks had.
    fn log(&mut self, role: CarryRole, value: ValueId) -> Effect {
        let axes = self.axes(value);
        let dims = self.shape(&axes);
        let (suffix, state) = match role {
            CarryRole::LogScalar(i) => ("scalar", i),
            CarryRole::LogRow(i) => ("row", i),
            CarryRole::LogCol(i) => ("col", i),
            CarryRole::State(_) | CarryRole::DState(_) => unreachable!("no log decay"),
        };
        let name = format!("log_{suffix}_{}", self.program.states[state as usize].name);
        let carry = self.carry(role, name, dims);
        let old = self.node(tile::Op::Carry(carry), Region::Heads, &axes);
        let mut map = self.map(axes.clone(), Region::Heads);
        let along = if axes.is_empty() {
            Along::None
        } else {
            Along::First
        };
        map.operands = vec![(old, along), (self.tile(value), along)];
        map.body = vec![
            Scalar::Operand(0),
            Scalar::Operand(1),
            Scalar::Binary(BinaryFn::Add, 0, 1),
        ];
        Effect::Carry(carry, self.finish_map(map, Reduce::None))
    }

    /// The tile of a result with all axes of its port, in the port's region.
    fn whole(&mut self, value: ValueId, of: &Port, time: bool) -> TileId {
        let mut axes = of.axes(time);
        axes.retain(|axis| *axis != Axis::Head);
        let region = self.regions[value.index()];
        if self.axes(value) == axes && (of.per_group || region == Region::Heads) {
            return self.tile(value);
        }
        let mut map = self.map(axes, if of.per_group { region } else { Region::Heads });
        self.scalar(value, &mut map);
        self.finish_map(map, Reduce::None)
    }

    /// Stores the entering states of a forward program.
    fn keep_entering(&mut self) {
        for i in 0..self.program.states.len() {
            let of = self.program.states[i].clone();
            let carry = self.state_carry(i);
            let axes: Vec<_> = of
                .axes(false)
                .into_iter()
                .filter(|a| *a != Axis::Head)
                .collect();
            // One read of the carry serves the program and the store.
            let read = self
                .program
                .ops
                .iter()
                .position(|op| matches!(op, Op::State(s) if s.index() == i));
            let tile = match read {
                Some(value) => self.tile(ValueId(value as u32)),
                None => self.node(tile::Op::Carry(carry), Region::Heads, &axes),
            };
            let port = self.entering(i as u32, &of);
            self.out.effects.push(Effect::Store(port, tile));
        }
    }

    /// Orders nodes by region, keeping their order within one.
    fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.out.nodes.len()).collect();
        order.sort_by_key(|&i| self.out.nodes[i].region);
        let mut renamed = vec![TileId(0); order.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(new, &old)| renamed[old] = TileId(new as u32));
        let rename = |tile: &mut TileId| *tile = renamed[tile.index()];
        let mut nodes: Vec<Node> = order.iter().map(|&i| self.out.nodes[i].clone()).collect();
        for node in &mut nodes {
            node.op.operands_mut().into_iter().for_each(rename);
        }
        self.out.nodes = nodes;
        for effect in &mut self.out.effects {
            match effect {
                Effect::Store(_, t) | Effect::Accumulate(_, t) | Effect::Carry(_, t) => rename(t),
            }
        }
    }
}

fn push(body: &mut Vec<Scalar>, scalar: Scalar) -> u32 {
    body.push(scalar);
    body.len() as u32 - 1
}
