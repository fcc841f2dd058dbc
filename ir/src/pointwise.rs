//! The pointwise functions in f64: one meaning for every interpreter.

use crate::recurrence::{BinaryFn, UnaryFn};

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
        UnaryFn::Silu => x * sigmoid(x),
        UnaryFn::Tanh => x.tanh(),
        UnaryFn::Relu => x.max(0.0),
    }
}

/// `function(a, b)`
pub fn binary(function: BinaryFn, a: f64, b: f64) -> f64 {
    match function {
        BinaryFn::Add => a + b,
        BinaryFn::Sub => a - b,
        BinaryFn::Mul => a * b,
        BinaryFn::Div => a / b,
        BinaryFn::Min => a.min(b),
        BinaryFn::Max => a.max(b),
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
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
