//! Floating point as PTX defines it: narrow formats, the rounding modes, exact intermediate sums.
//!
//! Values travel as f64, which holds every narrow format exactly. An exact result that f64 cannot hold is
//! rounded to odd first: its last bit is set where anything was lost, so that a later rounding to 24 bits or
//! fewer is the rounding of the exact value, in every mode.

mod conversion;
mod float;
mod format;
pub(crate) mod tensor;

pub(crate) use conversion::Conversion;
pub(crate) use float::{Arithmetic, Brain, Directed, Flushed, Half, Pair, Root, flush};
pub(crate) use format::{BF16, F16, F32, Format, Rounding, TF32, f16_bits, f16_value};

/// a + b, to odd.
pub(crate) fn odd_sum(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if !sum.is_finite() {
        return sum;
    }
    let from_b = sum - a;
    let lost = (a - (sum - from_b)) + (b - from_b);
    to_odd(sum, lost)
}

/// a / b, to odd.
pub(crate) fn odd_quotient(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    if !quotient.is_finite() || quotient == 0.0 || b.is_infinite() {
        return quotient;
    }
    let rest = (-quotient).mul_add(b, a);
    to_odd(quotient, if b < 0.0 { -rest } else { rest })
}

/// The square root, to odd.
pub(crate) fn odd_root(a: f64) -> f64 {
    let root = a.sqrt();
    if !root.is_finite() || root == 0.0 {
        return root;
    }
    to_odd(root, (-root).mul_add(root, a))
}

/// The neighbour with an odd last bit on the side of what was lost, if anything was.
fn to_odd(value: f64, lost: f64) -> f64 {
    if lost == 0.0 || value.to_bits() & 1 == 1 {
        return value;
    }
    let away = (lost > 0.0) == (value > 0.0);
    let bits = value.to_bits();
    f64::from_bits(if away { bits + 1 } else { bits - 1 })
}

#[cfg(test)]
mod tests;
