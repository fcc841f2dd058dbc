//! The sum that a tensor core makes, as published measurements describe it (docs/emulator.md, "Numbers").
//!
//! Products are exact. A group of products and the accumulator are aligned to the largest exponent among them,
//! each cut toward zero a few bits below f32's last bit, summed exactly, and the sum is cut to f32. So a
//! result does not depend on the order within a group, and is never better than the hardware's.

/// Bits kept below the 24 of f32 while a group is summed.
const GUARD: i32 = 2;

/// One group: the accumulator and exact products.
pub(crate) fn group<const N: usize>(accumulator: f32, products: &[f64; N]) -> f32 {
    let start = f64::from(accumulator);
    let (mut largest, mut plain) = (start.abs(), start);
    for product in products {
        largest = if product.abs() > largest {
            product.abs()
        } else {
            largest
        };
        plain += product;
    }
    // Nothing to align, or an infinity or NaN to pass on.
    if largest == 0.0 || !plain.is_finite() {
        return plain as f32;
    }
    let exponent = (largest.to_bits() >> 52) as i32 - 1023;
    let unit = power(exponent - 23 - GUARD);
    // Each term keeps at most 26 bits, so that some dozens of them sum exactly.
    let mut sum = truncate(start, unit);
    for product in products {
        sum += truncate(*product, unit);
    }
    cut(sum)
}

/// To a multiple of the unit, toward zero, for values below 2^51 units: adding a large number rounds to the
/// nearest multiple, and a step back undoes a rounding away from zero.
fn truncate(x: f64, unit: f64) -> f64 {
    let large = unit * (1u64 << 52) as f64;
    let magnitude = x.abs();
    let near = (magnitude + large) - large;
    let back = if near > magnitude { unit } else { 0.0 };
    (near - back).copysign(x)
}

/// Two to a power within f64's normal range.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent.max(-1022) + 1023) as u64) << 52)
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
