//! `cvt`: any number to any other, exactly, then rounded once.

use super::{BF16, F16, F32, Rounding, TF32, f16_bits, f16_value, flush, to_odd};
use crate::types::Type;

/// One conversion of a single number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Conversion {
    pub to: Type,
    pub from: Type,
    /// Bytes of the register written: narrower integers extend to it.
    pub register: u32,
    pub rounding: Rounding,
    /// Round to a whole number of the float type (`.rni` and kin, float to float).
    pub whole: bool,
    pub flushed: bool,
    pub saturated: bool,
    pub rectified: bool,
    pub finite: bool,
}

enum Number {
    Integer(i128),
    Float(f64),
}

fn integer_range(ty: Type) -> (i128, i128) {
    let bits = 8 * ty.bytes();
    if ty.signed() {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    }
}

impl Conversion {
    pub fn apply(&self, bits: u64) -> u64 {
        match (self.read(bits), self.to.float()) {
            (Number::Integer(value), false) => self.write_integer(value, self.saturated),
            (Number::Integer(value), true) => {
                let near = value as f64;
                // Beyond f64's 53 bits the remainder decides a directed rounding.
                let lost = (value - near as i128) as f64;
                if self.to == Type::F64 && self.rounding == Rounding::Nearest {
                    return near.to_bits();
                }
                self.write_float(to_odd(near, lost))
            }
            (Number::Float(value), false) if value.is_nan() => 0,
            (Number::Float(value), false) => {
                let whole = self.rounding.whole(value);
                let (low, high) = integer_range(self.to);
                let value = match whole {
                    _ if whole >= high as f64 => high,
                    _ if whole <= low as f64 => low,
                    _ => whole as i128,
                };
                self.write_integer(value, true)
            }
            (Number::Float(value), true) => {
                let whole = self.whole && value.is_finite();
                let value = if whole {
                    self.rounding.whole(value).copysign(value)
                } else {
                    value
                };
                self.write_float(value)
            }
        }
    }

    fn read(&self, bits: u64) -> Number {
        match self.from {
            Type::F64 => Number::Float(f64::from_bits(bits)),
            Type::F32 | Type::Tf32 => {
                let value = f32::from_bits(bits as u32);
                Number::Float(f64::from(if self.flushed { flush(value) } else { value }))
            }
            Type::F16 => Number::Float(f64::from(f16_value(bits as u16))),
            Type::Bf16 => Number::Float(f64::from(f32::from_bits((bits as u32) << 16))),
            ty => {
                let unused = 64 - 8 * ty.bytes();
                Number::Integer(if ty.signed() {
                    i128::from((bits << unused) as i64 >> unused)
                } else {
                    i128::from(bits << unused >> unused)
                })
            }
        }
    }

    fn write_integer(&self, value: i128, clamp: bool) -> u64 {
        let (low, high) = integer_range(self.to);
        let value = if clamp { value.clamp(low, high) } else { value };
        let narrow = (1u128 << (8 * self.to.bytes())) - 1;
        let mut bits = value as u128 & narrow;
        if self.to.signed() && bits >> (8 * self.to.bytes() - 1) == 1 {
            bits |= !narrow;
        }
        let register = self.register.clamp(self.to.bytes(), 8);
        (bits & ((1u128 << (8 * register)) - 1)) as u64
    }

    fn write_float(&self, value: f64) -> u64 {
        let mut value = value;
        if self.saturated {
            value = if value.is_nan() {
                0.0
            } else {
                value.clamp(0.0, 1.0)
            };
        }
        if self.rectified && value < 0.0 {
            value = 0.0;
        }
        let format = match self.to {
            Type::F64 => return value.to_bits(),
            Type::F32 => F32,
            Type::F16 => F16,
            Type::Bf16 => BF16,
            _ => TF32,
        };
        let rounding = if self.whole {
            Rounding::Nearest
        } else {
            self.rounding
        };
        let mut rounded = format.round(value, rounding);
        if self.finite && !rounded.is_nan() {
            rounded = rounded.clamp(-format.largest(), format.largest());
        }
        let single = rounded as f32;
        match self.to {
            Type::F16 => u64::from(f16_bits(single)),
            Type::Bf16 if single.is_nan() => 0x7fff,
            Type::Bf16 => u64::from(single.to_bits() >> 16),
            _ if single.is_nan() => 0x7fff_ffff,
            Type::F32 if self.flushed => u64::from(flush(single).to_bits()),
            _ => u64::from(single.to_bits()),
        }
    }
}
