//! The pointwise functions in f64, and their slopes: one meaning for every interpreter.
//!
//! A NaN operand gives NaN, in every function and every slope. At an infinity a function has its
//! limit. Slopes are written so that they are NaN for no operand that has a value, and [`chain`]
//! multiplies them so that what was saturated, cut off or masked (a slope or an adjoint of exactly
//! zero) stays zero however large the other factor is (docs/numerics.md, "Slopes").

use crate::recurrence::{BinaryFn, UnaryFn};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// `1 / sqrt(2 pi)`: the density of the normal distribution at zero, which is the steepest slope of `ndtr`.
pub const NORMAL: f64 = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

/// `function(x)`
pub fn unary(function: UnaryFn, x: f64) -> f64 {
    match function {
        UnaryFn::Neg => -x,
        UnaryFn::Exp => x.exp(),
        UnaryFn::Log => x.ln(),
        UnaryFn::Sqrt => x.sqrt(),
        UnaryFn::Rsqrt => 1.0 / x.sqrt(),
        UnaryFn::Abs => x.abs(),
        UnaryFn::Sigmoid => sigmoid(x),
        UnaryFn::Softplus => softplus(x),
        UnaryFn::Silu => chain(x, sigmoid(x)),
        UnaryFn::Tanh => x.tanh(),
        UnaryFn::Relu => binary(BinaryFn::Max, x, 0.0),
        UnaryFn::Sin => x.sin(),
        UnaryFn::Cos => x.cos(),
        UnaryFn::Wrap => wrap(x),
        UnaryFn::Ndtr => ndtr(x),
    }
}

/// `x` without whole turns, in half turns: from -1 to 1. By itself, as instructions of vectors are made of it.
#[inline(always)]
pub fn wrap(x: f64) -> f64 {
    x - 2.0 * (0.5 * x).round_ties_even()
}

/// `function(a, b)`
pub fn binary(function: BinaryFn, a: f64, b: f64) -> f64 {
    match function {
        BinaryFn::Add => a + b,
        BinaryFn::Sub => a - b,
        BinaryFn::Mul => a * b,
        BinaryFn::Div => a / b,
        BinaryFn::Min => select(a, b, b, a),
        BinaryFn::Max => select(b, a, b, a),
    }
}

/// `a` where `x > y`, else `b`; NaN where `x` or `y` is.
pub fn select(x: f64, y: f64, a: f64, b: f64) -> f64 {
    match x.partial_cmp(&y) {
        None => f64::NAN,
        Some(std::cmp::Ordering::Greater) => a,
        Some(_) => b,
    }
}

/// The derivative of a function at `x`, where it has the value `y`.
pub fn slope(function: UnaryFn, x: f64, y: f64) -> f64 {
    match function {
        UnaryFn::Neg => -1.0,
        UnaryFn::Exp => y,
        UnaryFn::Log => 1.0 / x,
        UnaryFn::Sqrt => 0.5 / y,
        UnaryFn::Rsqrt => -0.5 * y * y * y,
        UnaryFn::Abs => select(x, 0.0, 1.0, select(0.0, x, -1.0, 0.0)),
        UnaryFn::Sigmoid => y * sigmoid(-x),
        UnaryFn::Softplus => sigmoid(x),
        UnaryFn::Silu => {
            let gate = sigmoid(x);
            gate + chain(y, 1.0 - gate)
        }
        UnaryFn::Tanh => 4.0 * sigmoid(2.0 * x) * sigmoid(-2.0 * x),
        UnaryFn::Relu => select(x, 0.0, 1.0, 0.0),
        UnaryFn::Sin => x.cos(),
        UnaryFn::Cos => -x.sin(),
        UnaryFn::Wrap => 1.0,
        UnaryFn::Ndtr => NORMAL * (-0.5 * x * x).exp(),
    }
}

/// The derivatives of a function at `(a, b)` by both. At equality `min` and `max` are their first
/// operand.
pub fn slopes(function: BinaryFn, a: f64, b: f64) -> [f64; 2] {
    match function {
        BinaryFn::Add => [1.0, 1.0],
        BinaryFn::Sub => [1.0, -1.0],
        BinaryFn::Mul => [b, a],
        BinaryFn::Div => [1.0 / b, -chain(a / b, 1.0 / b)],
        BinaryFn::Min => [select(a, b, 0.0, 1.0), select(a, b, 1.0, 0.0)],
        BinaryFn::Max => [select(b, a, 0.0, 1.0), select(b, a, 1.0, 0.0)],
    }
}

/// The product of an adjoint and a slope: zero where one of them is, also when the other is
/// infinite. NaN stays NaN.
pub fn chain(adjoint: f64, slope: f64) -> f64 {
    let product = adjoint * slope;
    match product.is_nan() && !adjoint.is_nan() && !slope.is_nan() {
        true => 0.0,
        false => product,
    }
}

/// The f32 of a number in a program's text: what is finite stays finite and what is not zero
/// stays so. `f64::MAX` and the smallest f64 thus say "the largest" and "the smallest" in every
/// arithmetic.
pub fn narrow(x: f64) -> f32 {
    let near = x as f32;
    let least = f32::from_bits(1).copysign(near);
    match x.is_finite() {
        true if near.is_infinite() => f32::MAX.copysign(near),
        true if near == 0.0 && x != 0.0 => least,
        _ => near,
    }
}

fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x >= 0.0 {
        1.0 / (1.0 + e)
    } else {
        e / (1.0 + e)
    }
}

fn softplus(x: f64) -> f64 {
    binary(BinaryFn::Max, x, 0.0) + (-x.abs()).exp().ln_1p()
}

/// By the complement, which keeps its digits where little is left. What `-x / sqrt(2)` loses as it is rounded
/// would count `x^2` times; it is found exactly, and moves the result along its slope.
fn ndtr(x: f64) -> f64 {
    /// What `FRAC_1_SQRT_2` is too large by.
    const REST: f64 = 4.833_646_656_726_457e-17;
    // Zero and one, beyond which only infinities would be no numbers.
    let x = x.clamp(-40.0, 40.0);
    let z = -x * FRAC_1_SQRT_2;
    let lost = x.mul_add(-FRAC_1_SQRT_2, -z) + x * REST;
    0.5 * (libm::erfc(z) - lost * FRAC_2_SQRT_PI * (-z * z).exp())
}
