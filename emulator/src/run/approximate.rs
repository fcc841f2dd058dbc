//! Approximate instructions at their worst: results moved within the errors that the manual allows them.

use super::order::mix;
use crate::number::{BF16, F16, Rounding, f16_bits, f16_value, flush};
use crate::op::{Bound, Result as Approximate};

/// A result moved within the bound, as a function of its bits; exact values of the manual's tables stay.
pub(super) fn perturb(bits: u64, bound: Bound, result: Approximate) -> u64 {
    let moved = |value: f64| {
        if value == 0.0 || value == 1.0 || !value.is_finite() {
            return value;
        }
        let chance = mix(value.to_bits()) as f64 / u64::MAX as f64 * 2.0 - 1.0;
        match bound {
            Bound::Relative(bound) => value * (1.0 + chance * bound),
            Bound::Absolute(bound) => value + chance * bound,
            Bound::Either(bound) => value + chance * bound * value.abs().max(1.0),
        }
    };
    let half = |bits: u64| {
        let value = moved(f64::from(f16_value(bits as u16)));
        u64::from(f16_bits(F16.round(value, Rounding::Nearest) as f32))
    };
    let brain = |bits: u64| {
        let value = moved(f64::from(f32::from_bits((bits as u32) << 16)));
        u64::from((BF16.round(value, Rounding::Nearest) as f32).to_bits() >> 16)
    };
    let single = f64::from(f32::from_bits(bits as u32));
    match result {
        Approximate::F32 => u64::from((moved(single) as f32).to_bits()),
        Approximate::FlushedF32 => u64::from(flush(moved(single) as f32).to_bits()),
        Approximate::F64 => moved(f64::from_bits(bits)).to_bits(),
        Approximate::F16 => half(bits),
        Approximate::F16x2 => half(bits & 0xffff) | half(bits >> 16) << 16,
        Approximate::Bf16 => brain(bits),
        Approximate::Bf16x2 => brain(bits & 0xffff) | brain(bits >> 16) << 16,
    }
}
