//! The sum that a tensor core makes, as published measurements describe it (docs/emulator.md, "Numbers").
//!
//! Products are exact. A group of products and the accumulator are aligned to the largest exponent among them,
//! each cut toward zero a few bits below f32's last bit, summed exactly, and the sum is cut to f32. So a
//! result does not depend on the order within a group, and is never better than the hardware's.

/// Bits kept below the 24 of f32 while a group is summed.
const GUARD: i32 = 2;

/// One group: the accumulator and exact products.
pub(crate) fn group(accumulator: f32, products: &[f64]) -> f32 {
    let start = f64::from(accumulator);
    let largest = products.iter().fold(start.abs(), |m, p| m.max(p.abs()));
    if !largest.is_finite() || products.iter().any(|p| p.is_nan()) || start.is_nan() {
        return products.iter().fold(start, |sum, p| sum + p) as f32;
    }
    if largest == 0.0 {
        return products.iter().fold(start, |sum, p| sum + p) as f32;
    }
    let exponent = (largest.to_bits() >> 52) as i32 - 1023;
    let shift = 23 + GUARD - exponent;
    let scale = power(shift);
    // Each term has at most 26 bits here: a group of some dozens sums exactly in i64.
    let mut sum = (start * scale) as i64;
    for product in products {
        sum += (product * scale) as i64;
    }
    cut(sum as f64 / scale)
}

/// Two to a power, by halves where f64's range needs it.
fn power(exponent: i32) -> f64 {
    let exponent = exponent.clamp(-1022, 1023);
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// To f32, toward zero.
fn cut(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near.abs()) > x.abs() {
        return f32::from_bits(near.to_bits() - 1);
    }
    near
}

/// The upper 19 bits of an f32: what the tensor core reads of a tf32 operand.
pub(crate) fn tf32_value(bits: u32) -> f32 {
    f32::from_bits(bits & 0xffff_e000)
}
