//! Maps: chains of pointwise ops fused into one.
//!
//! A value is fused into its only user when both run over the same axes in the same region; a value
//! over fewer axes is computed once and kept, an operand. Sums go into the maps that feed them.

use super::Lower;
use baton_ir::chunked::{Axis, Op, ValueId};
use baton_ir::recurrence::BinaryFn;
use baton_ir::tile::{self, Along, Reduce, Region, Scalar, TileId};

/// The parts of a map while it is being built.
pub(super) struct Map {
    pub(super) axes: Vec<Axis>,
    pub(super) region: Region,
    pub(super) operands: Vec<(TileId, Along)>,
    pub(super) body: Vec<Scalar>,
}

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
    pub(super) fn sum(&mut self, value: ValueId, x: ValueId, axis: Axis) -> TileId {
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
    pub(super) fn scalar(&mut self, value: ValueId, map: &mut Map) -> u32 {
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
            Op::Unary(..) | Op::Binary(..) | Op::Select(..) | Op::Valid(_) | Op::Causal(..) => {
                self.users[value.index()].len() == 1
                    && self.regions[value.index()] == map.region
                    && self.axes(value) == map.axes
            }
            _ => false,
        }
    }

    pub(super) fn expand(&mut self, value: ValueId, map: &mut Map) -> u32 {
        let scalar = match *self.program.op(value) {
            Op::Number(x) => Scalar::Number(x),
            Op::Size(dim) => Scalar::Number(self.sizes[dim.index()] as f64),
            Op::Unary(function, a) => Scalar::Unary(function, self.scalar(a, map)),
            Op::Binary(function, a, b) => {
                let (a, b) = (self.scalar(a, map), self.scalar(b, map));
                Scalar::Binary(function, a, b)
            }
            Op::Select(x, y, a, b) => {
                let [x, y, a, b] = [x, y, a, b].map(|value| self.scalar(value, map));
                Scalar::Select(x, y, a, b)
            }
            Op::Valid(a) => Scalar::Valid(self.scalar(a, map)),
            Op::Causal(a, strict) => Scalar::Causal(self.scalar(a, map), strict),
            Op::Broadcast(a, _) => return self.scalar(a, map),
            ref op => unreachable!("{op:?} is not pointwise"),
        };
        push(&mut map.body, scalar)
    }
}

pub(super) fn push(body: &mut Vec<Scalar>, scalar: Scalar) -> u32 {
    body.push(scalar);
    body.len() as u32 - 1
}
