//! The chain rule through pointwise functions, kept finite.
//!
//! A function may leave the range of numbers (`exp(89)` in f32) where what is made of it is
//! regular (`exp(-exp(89)) = 0`). An infinite factor would then meet an adjoint of zero, and their
//! product is NaN where the truth is zero. So no factor here is infinite (docs/numerics.md,
//! "Slopes"): what may overflow is bounded by the largest number at the place where it becomes a
//! factor, a divisor is kept away from zero, and slopes that are zero on one side are selections.
//! A NaN passes through all of these.
//!
//! What the caller gives counts as finite: an infinite input is a factor as it is. What cannot
//! overflow is found by [`Range`](super::range::Range), so programs whose functions are tame carry no bounds.

use super::Reverse;
use baton_ir::chunked::{Op, ValueId};
use baton_ir::pointwise::NORMAL;
use baton_ir::recurrence::{BinaryFn, UnaryFn};

impl Reverse {
    pub(super) fn pull_unary(
        &mut self,
        function: UnaryFn,
        x: ValueId,
        y: ValueId,
        adjoint: ValueId,
    ) {
        let (zero, one) = (self.build.number(0.0), self.build.number(1.0));
        let part = match function {
            UnaryFn::Neg => self.build.unary(UnaryFn::Neg, adjoint),
            UnaryFn::Exp => self.chain(adjoint, y),
            UnaryFn::Log => self.quotient(adjoint, x, true),
            UnaryFn::Sqrt => {
                let half = self.build.number(0.5);
                let half = self.build.mul(half, adjoint);
                self.quotient(half, y, true)
            }
            // The cube alone overflows long before the function does.
            UnaryFn::Rsqrt => {
                let y = self.finite(y);
                let half = self.build.number(-0.5);
                let part = self.build.mul(half, adjoint);
                let part = self.build.mul(part, y);
                let part = self.build.mul(part, y);
                let part = self.build.mul(part, y);
                self.finite_adjoint(part)
            }
            UnaryFn::Abs => {
                let down = self.build.unary(UnaryFn::Neg, adjoint);
                let down = self.build.select(zero, x, down, zero);
                self.build.select(x, zero, adjoint, down)
            }
            // What is left to one keeps its digits where the function saturates: of `1 - y` few remain.
            UnaryFn::Sigmoid => {
                let rest = self.build.unary(UnaryFn::Neg, x);
                let rest = self.build.unary(UnaryFn::Sigmoid, rest);
                let slope = self.build.mul(y, rest);
                self.build.mul(adjoint, slope)
            }
            UnaryFn::Softplus => {
                let slope = self.build.unary(UnaryFn::Sigmoid, x);
                self.build.mul(adjoint, slope)
            }
            UnaryFn::Silu => {
                let gate = self.build.unary(UnaryFn::Sigmoid, x);
                let rest = self.build.binary(BinaryFn::Sub, one, gate);
                let largest = self.build.number(f64::MAX);
                let y = self.build.binary(BinaryFn::Min, y, largest);
                let rest = self.build.mul(y, rest);
                let slope = self.build.plus(gate, rest);
                self.build.mul(adjoint, slope)
            }
            UnaryFn::Tanh => {
                let (two, four) = (self.build.number(2.0), self.build.number(4.0));
                let twice = self.build.mul(two, x);
                let above = self.build.unary(UnaryFn::Sigmoid, twice);
                let twice = self.build.unary(UnaryFn::Neg, twice);
                let below = self.build.unary(UnaryFn::Sigmoid, twice);
                let slope = self.build.mul(above, below);
                let slope = self.build.mul(four, slope);
                self.build.mul(adjoint, slope)
            }
            UnaryFn::Relu => self.build.select(x, zero, adjoint, zero),
            UnaryFn::Sin => {
                let slope = self.build.unary(UnaryFn::Cos, x);
                self.build.mul(adjoint, slope)
            }
            UnaryFn::Cos => {
                let sine = self.build.unary(UnaryFn::Sin, x);
                let part = self.build.mul(adjoint, sine);
                self.build.unary(UnaryFn::Neg, part)
            }
            UnaryFn::Wrap => adjoint,
            UnaryFn::Ndtr => {
                let half = self.build.number(-0.5);
                let power = self.build.mul(half, x);
                let power = self.build.mul(power, x);
                let bell = self.build.unary(UnaryFn::Exp, power);
                let peak = self.build.number(NORMAL);
                let slope = self.build.mul(peak, bell);
                self.build.mul(adjoint, slope)
            }
        };
        self.give(x, part);
    }

    pub(super) fn pull_binary(
        &mut self,
        function: BinaryFn,
        a: ValueId,
        b: ValueId,
        value: ValueId,
        adjoint: ValueId,
    ) {
        match function {
            BinaryFn::Add => {
                self.give(a, adjoint);
                self.give(b, adjoint);
            }
            BinaryFn::Sub => {
                self.give(a, adjoint);
                let part = self.build.unary(UnaryFn::Neg, adjoint);
                self.give(b, part);
            }
            BinaryFn::Mul => {
                for (x, y) in [(a, b), (b, a)] {
                    if !self.constant(x) {
                        let part = self.chain(adjoint, y);
                        self.give(x, part);
                    }
                }
            }
            BinaryFn::Div => {
                let part = self.quotient(adjoint, b, false);
                self.give(a, part);
                if !self.constant(b) {
                    let part = self.by_divisor(b, value, adjoint, part);
                    let part = self.build.unary(UnaryFn::Neg, part);
                    self.give(b, part);
                }
            }
            // At equality all of it goes to `a`.
            BinaryFn::Min | BinaryFn::Max => {
                let zero = self.build.number(0.0);
                let (high, low) = match function {
                    BinaryFn::Max => (b, a),
                    _ => (a, b),
                };
                let to_a = self.build.select(high, low, zero, adjoint);
                let to_b = self.build.select(high, low, adjoint, zero);
                self.give(a, to_a);
                self.give(b, to_b);
            }
        }
    }

    /// `adjoint * value / b`, where `part` is `adjoint / b`. What is multiplied first may overflow
    /// where the whole does not; with a divisor below one the product cannot, with another the
    /// quotient cannot.
    fn by_divisor(
        &mut self,
        b: ValueId,
        value: ValueId,
        adjoint: ValueId,
        part: ValueId,
    ) -> ValueId {
        if self.away_from_zero(b) {
            return self.build.mul(part, value);
        }
        let value = self.finite(value);
        let product = self.build.mul(adjoint, value);
        let small = self.quotient(product, b, false);
        let large = self.build.mul(part, value);
        let (one, size) = (self.build.number(1.0), self.build.unary(UnaryFn::Abs, b));
        self.build.select(one, size, small, large)
    }

    /// `adjoint * factor`, where an adjoint of zero gives zero.
    fn chain(&mut self, adjoint: ValueId, factor: ValueId) -> ValueId {
        let factor = self.finite(factor);
        self.build.mul(adjoint, factor)
    }

    /// `adjoint / divisor` within the range of numbers; an adjoint of zero gives zero. A divisor
    /// that is never negative may be said to be so.
    fn quotient(&mut self, adjoint: ValueId, divisor: ValueId, positive: bool) -> ValueId {
        if self.away_from_zero(divisor) {
            return self.build.binary(BinaryFn::Div, adjoint, divisor);
        }
        let least = self.build.number(f64::from_bits(1));
        let mut guarded = self.build.binary(BinaryFn::Max, divisor, least);
        if !positive {
            let (zero, below) = (
                self.build.number(0.0),
                self.build.number(-f64::from_bits(1)),
            );
            let below = self.build.binary(BinaryFn::Min, divisor, below);
            guarded = self.build.select(zero, divisor, below, guarded);
        }
        let quotient = self.build.binary(BinaryFn::Div, adjoint, guarded);
        self.finite_adjoint(quotient)
    }

    /// A forward value, bounded by the largest number where it can be infinite.
    fn finite(&mut self, value: ValueId) -> ValueId {
        let program = self.build.program();
        if !self.range.overflows(&program.ops, value) {
            return value;
        }
        match *program.op(value) {
            // The bound is then shared with the function's own slope.
            Op::Unary(UnaryFn::Neg, x) if !matches!(program.op(x), Op::Unary(UnaryFn::Neg, _)) => {
                let x = self.finite(x);
                self.build.unary(UnaryFn::Neg, x)
            }
            // `rsqrt` is negative at minus zero.
            Op::Unary(UnaryFn::Exp | UnaryFn::Sqrt | UnaryFn::Abs, _) => {
                let largest = self.build.number(f64::MAX);
                self.build.binary(BinaryFn::Min, value, largest)
            }
            _ => self.finite_adjoint(value),
        }
    }

    fn finite_adjoint(&mut self, value: ValueId) -> ValueId {
        let [largest, lowest] = [f64::MAX, f64::MIN].map(|bound| self.build.number(bound));
        let below = self.build.binary(BinaryFn::Min, value, largest);
        self.build.binary(BinaryFn::Max, below, lowest)
    }

    /// Whether a divisor is known to be a normal number in every arithmetic.
    fn away_from_zero(&self, mut value: ValueId) -> bool {
        let program = self.build.program();
        let normal = |x: f64| x.abs() >= f64::from(f32::MIN_POSITIVE);
        loop {
            match *program.op(value) {
                Op::Unary(UnaryFn::Neg | UnaryFn::Abs, x) => value = x,
                Op::Binary(BinaryFn::Max, a, b) => {
                    return [a, b].into_iter().any(
                        |bound| matches!(*program.op(bound), Op::Number(x) if x > 0.0 && normal(x)),
                    );
                }
                Op::Number(x) => return normal(x),
                Op::Size(_) => return true,
                _ => return false,
            }
        }
    }

    fn constant(&self, value: ValueId) -> bool {
        matches!(self.build.program().op(value), Op::Number(_) | Op::Size(_))
    }
}
