//! Which values may leave the range of numbers, so that the chain rule bounds those and no others.

use baton_ir::chunked::{Op, ValueId};
use baton_ir::recurrence::{BinaryFn, UnaryFn};

/// Which values can be infinite though everything given is finite and of moderate size.
#[derive(Default)]
pub(super) struct Range {
    overflows: Vec<bool>,
}

/// Whether a product is one of a product with the same factor.
fn repeated(ops: &[Op], a: ValueId, b: ValueId) -> bool {
    let has = |product: ValueId, factor: ValueId| match ops[product.index()] {
        Op::Binary(BinaryFn::Mul, c, d) => c == factor || d == factor,
        _ => false,
    };
    has(a, b) || has(b, a)
}

impl Range {
    pub(super) fn overflows(&mut self, ops: &[Op], value: ValueId) -> bool {
        for op in &ops[self.overflows.len()..] {
            let any = |known: &[bool]| op.operands().iter().any(|v| known[v.index()]);
            let may = match op {
                Op::Unary(UnaryFn::Exp | UnaryFn::Log | UnaryFn::Rsqrt, _) => true,
                Op::Binary(BinaryFn::Div, ..) => true,
                // The third power of a number and higher ones.
                Op::Binary(BinaryFn::Mul, a, b) if repeated(ops, *a, *b) => true,
                Op::Unary(
                    UnaryFn::Sigmoid
                    | UnaryFn::Tanh
                    | UnaryFn::Sin
                    | UnaryFn::Cos
                    | UnaryFn::Wrap
                    | UnaryFn::Ndtr,
                    _,
                )
                | Op::Decay(..) => false,
                _ => any(&self.overflows),
            };
            self.overflows.push(may);
        }
        self.overflows[value.index()]
    }
}
