//! Maps: chains of pointwise ops fused into one.
//!
//! A value is fused into its only user when both run over the same axes in the same region; a value
//! over fewer axes is computed once and kept, an operand. Sums go into the maps that feed them.
//!
//! A map grows by a [`Walk`](super::walk::Walk), which stops where it meets an operand that has no tile yet.

use super::walk::{Map, Step, Walk};
use super::{Lower, Needs};
use baton_ir::chunked::{Axis, Op, ValueId};
use baton_ir::recurrence::BinaryFn;
use baton_ir::tile::{self, Along, Reduce, Region, Scalar, TileId};

impl Lower<'_> {
    pub(super) fn map(&self, axes: Vec<Axis>, region: Region) -> Map {
        Map {
            axes,
            region,
            operands: vec![],
            body: vec![],
        }
    }

    pub(super) fn finish_map(&mut self, map: Map, reduce: Reduce) -> TileId {
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
    pub(super) fn sum_needs(&self, value: ValueId, x: ValueId, axis: Axis) -> Needs {
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
        let map = self.map(axes, self.regions[value.index()]);
        Needs::Map(Walk::visiting(map, inner), reduce)
    }

    /// A whole map, with the tiles that it needs.
    pub(super) fn walked(&mut self, mut walk: Walk) -> Map {
        while let Some(missing) = self.advance(&mut walk) {
            self.tile(missing);
        }
        walk.map
    }

    /// Grows a map as far as it goes: to its end, or to an operand that has no tile.
    pub(super) fn advance(&mut self, walk: &mut Walk) -> Option<ValueId> {
        while let Some(&step) = walk.steps.last() {
            match step {
                Step::Visit(value) if !self.fuses(value, &walk.map) => {
                    match self.tiles[value.index()] {
                        Some(tile) => self.operand(value, tile, walk),
                        None => return Some(value),
                    }
                    walk.steps.pop();
                }
                Step::Visit(value) | Step::Expand(value) => {
                    walk.steps.pop();
                    self.expand(value, walk);
                }
                Step::Make(value) => {
                    walk.steps.pop();
                    self.make(value, walk);
                }
                Step::Multiply => {
                    walk.steps.pop();
                    let (b, a) = (walk.pop(), walk.pop());
                    walk.push(Scalar::Binary(BinaryFn::Mul, a, b));
                }
            }
        }
        None
    }

    fn operand(&self, value: ValueId, tile: TileId, walk: &mut Walk) {
        let along = match (&self.axes(value)[..], &walk.map.axes[..]) {
            ([], _) => Along::None,
            ([axis], [first, ..]) if axis == first => Along::First,
            ([_], _) => Along::Second,
            _ => Along::Both,
        };
        let operands = &mut walk.map.operands;
        let known = operands.iter().position(|known| *known == (tile, along));
        let number = known.unwrap_or(operands.len());
        if known.is_none() {
            operands.push((tile, along));
        }
        walk.push(Scalar::Operand(number as u32));
    }

    fn fuses(&self, value: ValueId, map: &Map) -> bool {
        match *self.program.op(value) {
            Op::Number(_) | Op::Size(_) => true,
            Op::Broadcast(..) => self.tiles[value.index()].is_none(),
            Op::Valid(x) if matches!(self.program.op(x), Op::Input(_)) => false,
            Op::Binary(BinaryFn::Add, a, b) if self.add_product(value, a, b).is_some() => false,
            Op::Unary(..) | Op::Binary(..) | Op::Select(..) | Op::Valid(_) | Op::Causal(..) => {
                self.users[value.index()].len() == 1
                    && self.regions[value.index()] == map.region
                    && self.axes(value) == map.axes
            }
            _ => false,
        }
    }

    /// Asks for the operands of a fused value, then for its function.
    fn expand(&self, value: ValueId, walk: &mut Walk) {
        if let Op::Broadcast(a, _) = *self.program.op(value) {
            walk.steps.push(Step::Visit(a));
            return;
        }
        walk.steps.push(Step::Make(value));
        let operands = self.program.op(value).operands();
        let visits = operands.iter().rev().map(|&operand| Step::Visit(operand));
        walk.steps.extend(visits);
    }

    fn make(&self, value: ValueId, walk: &mut Walk) {
        let scalar = match *self.program.op(value) {
            Op::Number(x) => Scalar::Number(x),
            Op::Size(dim) => Scalar::Number(self.sizes[dim.index()] as f64),
            Op::Unary(function, _) => Scalar::Unary(function, walk.pop()),
            Op::Binary(function, ..) => {
                let (b, a) = (walk.pop(), walk.pop());
                Scalar::Binary(function, a, b)
            }
            Op::Select(..) => {
                let (b, a, y, x) = (walk.pop(), walk.pop(), walk.pop(), walk.pop());
                Scalar::Select(x, y, a, b)
            }
            Op::Valid(_) => Scalar::Valid(walk.pop()),
            Op::Causal(_, strict) => Scalar::Causal(walk.pop(), strict),
            ref op => unreachable!("{op:?} is not pointwise"),
        };
        walk.push(scalar);
    }
}
