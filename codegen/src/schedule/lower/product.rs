//! Products: which operand is transposed, what is added, and which triangles are known. Where an
//! operand is a vector, the product is a map that is summed.
//!
//! Triangles are claimed from the algebra: a causal value is zero above the diagonal, and a product
//! that is only ever masked need not be computed there.

use super::walk::Walk;
use super::{Lower, Needs};
use baton_ir::chunked::{Axis, Interval, Op, ValueId};
use baton_ir::recurrence::BinaryFn;
use baton_ir::tile::{self, Reduce, TileId, Triangle};

impl Lower<'_> {
    /// Of `a + b`: the addend and the product that can take it in, where there is one.
    pub(super) fn add_product(
        &self,
        sum: ValueId,
        a: ValueId,
        b: ValueId,
    ) -> Option<(ValueId, ValueId)> {
        let fits = |&(add, product): &(ValueId, ValueId)| {
            matches!(self.program.op(self.unnamed(product)), Op::Contract(..))
                && self.axes(product).len() == 2
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

    /// A sum of products over one axis.
    pub(super) fn contract_needs(
        &self,
        value: ValueId,
        a: ValueId,
        b: ValueId,
        over: Axis,
    ) -> Needs {
        if self.axes(value).len() == 2 {
            return Needs::Tiles(self.factors(value).to_vec());
        }
        let whole = [a, b]
            .map(|v| self.axes(v))
            .into_iter()
            .max_by_key(Vec::len);
        let axes = whole.unwrap_or_default();
        let reduce = match axes.as_slice() {
            [first, _] if *first == over => Reduce::First,
            [_, _] => Reduce::Second,
            _ => Reduce::All,
        };
        let map = self.map(axes, self.regions[value.index()]);
        Needs::Map(Walk::multiplying(map, a, b), reduce)
    }

    /// The factors of a product of matrices, in the order in which they are multiplied.
    pub(super) fn factors(&self, product: ValueId) -> [ValueId; 2] {
        let Op::Contract(a, b, over) = *self.program.op(product) else {
            unreachable!("only a contraction is a product")
        };
        let free = |v| self.axes(v).into_iter().find(|axis| *axis != over);
        match (free(a), free(b)) {
            (Some(x), Some(y)) if y < x => [b, a],
            _ => [a, b],
        }
    }

    /// A product of matrices whose factors have tiles.
    pub(super) fn matmul(&mut self, value: ValueId, add: Option<TileId>) -> TileId {
        let Op::Contract(_, _, over) = *self.program.op(value) else {
            unreachable!("only a contraction is a product")
        };
        let region = self.regions[value.index()];
        let result = self.axes(value);
        let [a, b] = self.factors(value);
        // `a` as [rows, over]: transposed when `over` comes first.
        let (axes_a, axes_b) = (self.axes(a), self.axes(b));
        let ta = axes_a[0] == over;
        let tb = axes_b[1] == over;
        let square = [Axis::Time, Axis::Source];
        let steps = |axis: &Axis| matches!(axis, Axis::Time | Axis::Middle | Axis::Source);
        let triangle = match () {
            () if axes_a.iter().all(steps) && self.is_causal(a) => Triangle::A,
            () if result == square && add.is_none() && self.only_masked(value) => Triangle::Out,
            () => Triangle::None,
        };
        let op = tile::Op::Matmul {
            a: self.made(a),
            ta,
            b: self.made(b),
            tb,
            add,
            triangle,
        };
        self.node(op, region, &result)
    }

    /// Whether a value over two axes of steps is zero above the diagonal.
    fn is_causal(&self, value: ValueId) -> bool {
        match *self.program.op(value) {
            Op::Causal(..) | Op::Decay(Interval::Between, ..) => true,
            Op::Relabel(a, ..) => self.is_causal(a),
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
                Some(Op::Solve(_, l, r)) => *l == value && *r != value,
                Some(Op::Binary(BinaryFn::Mul, a, b)) => {
                    let other = if *a == value { *b } else { *a };
                    self.is_causal(other) || user.is_some_and(|u| self.only_masked(u))
                }
                _ => false,
            })
    }
}
