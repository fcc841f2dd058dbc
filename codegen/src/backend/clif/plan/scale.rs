//! Products that scale what they add: a decayed state and what is written to it, in one pass over the state.
//!
//! A map that only multiplies a tile by a number, or its rows or columns by numbers, and that only one product adds, is left
//! out; the product's kernel multiplies as it reads. The order of operations is the same, so the bits are.

use super::{Form, Planner, Scaled, form};
use baton_ir::recurrence::BinaryFn;
use baton_ir::tile::{Along, Op, Reduce, Scalar, TileId, Zeros};

impl Planner<'_> {
    /// Finds them.
    pub fn scale(&mut self) {
        for (i, node) in self.program.nodes.iter().enumerate() {
            if let Op::Matmul {
                a,
                ta,
                b,
                tb,
                add: Some(add),
                ..
            } = node.op
                && form(&self.node(a).shape, ta, tb) != Form::Dot
                && self.node(add).region == node.region
                && ![a, b].contains(&add)
                && self.only_user(add)
            {
                self.plan.scaled[i] = self.scaling(add);
            }
        }
    }

    /// Whether one node reads a tile and no effect.
    fn only_user(&self, tile: TileId) -> bool {
        let nodes = self.program.nodes.iter();
        let reading = nodes.filter(|node| node.op.operands().contains(&tile));
        reading.count() == 1
            && self
                .program
                .effects
                .iter()
                .all(|effect| effect.tile() != tile)
    }

    /// What a map multiplies, where it does nothing else.
    fn scaling(&self, map: TileId) -> Option<Scaled> {
        let Op::Map {
            operands,
            body,
            reduce: Reduce::None,
            ..
        } = &self.node(map).op
        else {
            return None;
        };
        let &[
            Scalar::Operand(p),
            Scalar::Operand(q),
            Scalar::Binary(BinaryFn::Mul, a, b),
        ] = &body[..]
        else {
            return None;
        };
        let [(x, along_x), (y, along_y)] = [operands[p as usize], operands[q as usize]];
        if a == b {
            return None;
        }
        let (tile, by, along) = match (along_x, along_y) {
            (Along::Both, Along::Both) => return None,
            (Along::Both, along) => (x, y, along),
            (along, Along::Both) => (y, x, along),
            _ => return None,
        };
        let whole = self.plan.gives[map.index()].zeros == Zeros::Nowhere;
        whole.then_some(Scaled { tile, by, along })
    }
}
