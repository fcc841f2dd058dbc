//! A number and the size of its terms, with one rule for each function.

use baton_ir::pointwise;
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use std::ops::{Add, Mul};

/// What f32 cannot hold: below this, absolute errors are not looked at.
const SMALLEST: f64 = 1e-32;

/// Above this size of a term f32 may overflow on the way: two of them have a product that it cannot hold, and the
/// gradient of a decay, which is kept as a logarithm, is multiplied by it before it is divided by it.
const LARGEST: f64 = 1e24;

/// A value and the size of the terms that it is a sum of; an infinite size says that nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Term {
    /// The value.
    pub value: f64,
    /// The same computation on absolute values.
    pub size: f64,
    /// The sizes that it had as it was carried from step to step, added up: one rounding each.
    pub carried: f64,
}

impl Add for Term {
    type Output = Term;

    fn add(self, other: Term) -> Term {
        let size = self.size + other.size;
        Term::new(self.value + other.value, size, self.carried + other.carried)
    }
}

impl Mul for Term {
    type Output = Term;

    fn mul(self, other: Term) -> Term {
        let value = self.value * other.value;
        // What underflows is lost entirely; a zero is exact, but not beside what overflows.
        let known = self.size.is_finite() && other.size.is_finite();
        match known && (self.size == 0.0 || other.size == 0.0) {
            true => Term::default(),
            false => {
                let carried = self.size * other.carried + other.size * self.carried;
                Term::new(value, self.size * other.size + UNDERFLOW, carried)
            }
        }
    }
}

/// The size at which a bound of 1e-6 allows [`SMALLEST`].
const UNDERFLOW: f64 = SMALLEST * 1e6;

impl Term {
    /// A number that was given.
    pub fn exact(value: f64) -> Term {
        Term::new(value, value.abs(), 0.0)
    }

    /// A value, its size and what it had when carried, where f32 holds these.
    fn new(value: f64, size: f64, carried: f64) -> Term {
        let size = match value.is_finite() && size <= LARGEST && carried.is_finite() {
            true => size,
            false => f64::INFINITY,
        };
        Term {
            value,
            size,
            carried,
        }
    }

    /// The value after it was carried on: into the next step, or into a sum over steps.
    pub fn rounded(self) -> Term {
        Term::new(self.value, self.size, self.carried + self.size)
    }

    /// A number whose every digit is unknown.
    fn unknown(value: f64, bound: f64) -> Term {
        let size = value.abs().max(1.0) / bound;
        Term::new(value, size, 0.0)
    }

    /// `-x`
    pub fn negated(self) -> Term {
        Term {
            value: -self.value,
            ..self
        }
    }

    /// `function(x)`
    pub fn unary(self, function: UnaryFn, bound: f64) -> Term {
        let (x, away) = (self.value, bound * self.size);
        let value = pointwise::unary(function, x);
        let steepest = match function {
            UnaryFn::Neg => return self.negated(),
            UnaryFn::Abs | UnaryFn::Relu => {
                return match function == UnaryFn::Relu && x < -away {
                    true => Term::default(),
                    false => Term { value, ..self },
                };
            }
            UnaryFn::Log | UnaryFn::Sqrt | UnaryFn::Rsqrt if x - away <= 0.0 => {
                return Term::new(value, f64::INFINITY, 0.0);
            }
            // On which side of the cut it lies.
            UnaryFn::Wrap if turns(x - away) != turns(x + away) => {
                return Term::new(value, f64::INFINITY, 0.0);
            }
            UnaryFn::Wrap => return Term { value, ..self },
            UnaryFn::Sin | UnaryFn::Cos => 1.0,
            _ => {
                let slope = |x: f64| slopes(function, x)[0].abs();
                slope(x).max(slope(x - away)).max(slope(x + away))
            }
        };
        let size = value.abs() + steepest * self.size + UNDERFLOW;
        Term::new(value, size, steepest * self.carried)
    }

    /// The derivative of a function here.
    pub fn slope(self, function: UnaryFn, bound: f64) -> Term {
        let (x, away) = (self.value, bound * self.size);
        let edge = matches!(function, UnaryFn::Abs | UnaryFn::Relu);
        if x.is_nan() || edge && !self.size.is_finite() {
            return Term::new(x, f64::INFINITY, 0.0);
        }
        if edge {
            let [value, ..] = slopes(function, x);
            return match x.abs() <= away && !exactly_zero(self) {
                true => Term::unknown(value, bound),
                false => Term::exact(value),
            };
        }
        let domain = matches!(function, UnaryFn::Log | UnaryFn::Sqrt | UnaryFn::Rsqrt);
        let [value, bend, own] = slopes(function, x);
        if domain && x - away <= 0.0 {
            return Term::new(value, f64::INFINITY, 0.0);
        }
        // That of a sine may be steepest between.
        let bent = |x: f64| match function {
            UnaryFn::Sin | UnaryFn::Cos => 1.0,
            _ => slopes(function, x)[1].abs(),
        };
        let bend = bend.abs().max(bent(x - away)).max(bent(x + away));
        let size = value.abs() + own + bend * self.size + UNDERFLOW;
        Term::new(value, size, bend * self.carried)
    }

    /// `function(a, b)`
    pub fn binary(self, function: BinaryFn, other: Term, bound: f64) -> Term {
        match function {
            BinaryFn::Add => self + other,
            BinaryFn::Sub => self + other.negated(),
            BinaryFn::Mul => self * other,
            BinaryFn::Div => {
                let Term { size, carried, .. } = self * other.inverse(bound);
                Term::new(self.value / other.value, size, carried)
            }
            BinaryFn::Min | BinaryFn::Max => {
                let value = pointwise::binary(function, self.value, other.value);
                let near = (self.value - other.value).abs() <= bound * (self.size + other.size);
                let of = match near {
                    true if self.size < other.size => other,
                    true => self,
                    false if value == self.value => self,
                    false => other,
                };
                Term::new(value, of.size, of.carried)
            }
        }
    }

    /// `1 / x`
    pub fn inverse(self, bound: f64) -> Term {
        let value = 1.0 / self.value;
        let nearest = self.value.abs() - bound * self.size;
        let slope = match nearest > 0.0 {
            true => 1.0 / (nearest * nearest),
            false => f64::INFINITY,
        };
        Term::new(value, value.abs() + self.size * slope, self.carried * slope)
    }

    /// `self` where the first of a pair is greater, else `other`.
    pub fn selected(self, other: Term, [x, y]: [Term; 2], bound: f64) -> Term {
        match y.chosen(BinaryFn::Max, x, bound) {
            Term {
                value: 0.0,
                size: 0.0,
                ..
            } => self,
            Term {
                value: 1.0,
                size: 1.0,
                ..
            } => other,
            _ => Term::new(
                pointwise::select(x.value, y.value, self.value, other.value),
                f64::INFINITY,
                0.0,
            ),
        }
    }

    /// What of an arriving gradient goes to the first operand of `min` or `max`, as a weight.
    pub fn chosen(self, function: BinaryFn, other: Term, bound: f64) -> Term {
        let (a, b) = (self.value, other.value);
        // What f32 cannot hold may be NaN there, and so is what is chosen beside it.
        let known = self.size.is_finite() && other.size.is_finite();
        if a.is_nan() || b.is_nan() || !known {
            return Term::new(f64::NAN, f64::INFINITY, 0.0);
        }
        let first = if function == BinaryFn::Min {
            a <= b
        } else {
            a >= b
        };
        let near = (a - b).abs() <= bound * (self.size + other.size);
        let equal = self == other || (exactly_zero(self) && exactly_zero(other));
        match near && !equal {
            true => Term::unknown(f64::from(first), bound),
            false => Term::exact(f64::from(first)),
        }
    }
}

/// A zero that no rounding made.
fn exactly_zero(term: Term) -> bool {
    term.value == 0.0 && term.size <= 1e6 * UNDERFLOW
}

/// The multiple of 2 that `wrap` takes away.
fn turns(x: f64) -> f64 {
    (0.5 * x).round_ties_even()
}

/// First and second derivative, and the terms of the first where it is a difference.
fn slopes(function: UnaryFn, x: f64) -> [f64; 3] {
    let f = |function| pointwise::unary(function, x);
    match function {
        UnaryFn::Neg => [-1.0, 0.0, 0.0],
        UnaryFn::Exp => [f(UnaryFn::Exp), f(UnaryFn::Exp), 0.0],
        UnaryFn::Log => [1.0 / x, 1.0 / (x * x), 0.0],
        UnaryFn::Sqrt => [0.5 * x.powf(-0.5), 0.25 * x.powf(-1.5), 0.0],
        UnaryFn::Rsqrt => [-0.5 * x.powf(-1.5), 0.75 * x.powf(-2.5), 0.0],
        UnaryFn::Abs if x == 0.0 => [0.0; 3],
        UnaryFn::Abs => [x.signum(), 0.0, 0.0],
        UnaryFn::Relu => [f64::from(x > 0.0), 0.0, 0.0],
        UnaryFn::Sigmoid => {
            let y = f(UnaryFn::Sigmoid);
            let rest = pointwise::unary(UnaryFn::Sigmoid, -x);
            [y * rest, y * rest * (1.0 - 2.0 * y).abs(), y]
        }
        UnaryFn::Softplus => {
            let y = f(UnaryFn::Sigmoid);
            [y, y * pointwise::unary(UnaryFn::Sigmoid, -x), 0.0]
        }
        UnaryFn::Silu => {
            let y = f(UnaryFn::Sigmoid);
            let slope = y * pointwise::unary(UnaryFn::Sigmoid, -x);
            let bend = 2.0 * slope + x.abs() * slope * (1.0 - 2.0 * y).abs();
            [y + x * slope, bend, y + x.abs() * y]
        }
        UnaryFn::Tanh => {
            let y = f(UnaryFn::Tanh);
            let slope = 1.0 / x.cosh().powi(2);
            [slope, 2.0 * y.abs() * slope, 1.0 + y * y]
        }
        UnaryFn::Sin => [x.cos(), -x.sin(), 0.0],
        UnaryFn::Cos => [-x.sin(), -x.cos(), 0.0],
        UnaryFn::Wrap => [1.0, 0.0, 0.0],
        UnaryFn::Ndtr => {
            let slope = pointwise::slope(function, x, 0.0);
            [slope, x.abs() * slope, 0.0]
        }
    }
}
