//! Binary formats narrower than f64 and the rounding to them.

/// The rounding modes of PTX; `NearestAway` is `cvt.rna`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
    NearestAway,
}

impl Rounding {
    /// To a whole number.
    pub fn whole(self, x: f64) -> f64 {
        match self {
            Rounding::Nearest => x.round_ties_even(),
            Rounding::Zero => x.trunc(),
            Rounding::Down => x.floor(),
            Rounding::Up => x.ceil(),
            Rounding::NearestAway => x.round(),
        }
    }
}

/// A format by its bits of precision and its exponents of normal numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    precision: i32,
    lowest: i32,
    highest: i32,
}

pub(crate) const F16: Format = Format {
    precision: 11,
    lowest: -14,
    highest: 15,
};
pub(crate) const BF16: Format = Format {
    precision: 8,
    lowest: -126,
    highest: 127,
};
pub(crate) const TF32: Format = Format {
    precision: 11,
    lowest: -126,
    highest: 127,
};
pub(crate) const F32: Format = Format {
    precision: 24,
    lowest: -126,
    highest: 127,
};

/// Two to a power within f64's normal range.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

impl Format {
    pub fn largest(self) -> f64 {
        power(self.highest) * (2.0 - power(1 - self.precision))
    }

    /// The value of the format that the mode chooses for x.
    pub fn round(self, x: f64, rounding: Rounding) -> f64 {
        if x == 0.0 || !x.is_finite() {
            return x;
        }
        let exponent = ((x.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(self.lowest);
        let unit = power(exponent - self.precision + 1);
        let rounded = rounding.whole(x / unit) * unit;
        if rounded.abs() <= self.largest() {
            return rounded.copysign(x);
        }
        let toward_zero = match rounding {
            Rounding::Nearest | Rounding::NearestAway => false,
            Rounding::Zero => true,
            Rounding::Down => x > 0.0,
            Rounding::Up => x < 0.0,
        };
        let magnitude = if toward_zero {
            self.largest()
        } else {
            f64::INFINITY
        };
        magnitude.copysign(x)
    }
}

/// The value of f16 bits.
pub(crate) fn f16_value(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => {
            return (fraction as f32 * f32::from_bits(103 << 23))
                .copysign(f32::from_bits(sign | 1));
        }
        31 => 255 << 23 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// The bits of a value that f16 holds exactly.
pub(crate) fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = value.abs();
    if magnitude.is_nan() {
        return 0x7fff;
    }
    if magnitude.is_infinite() {
        return sign | 0x7c00;
    }
    if magnitude < f32::from_bits(113 << 23) {
        return sign | (magnitude * f32::from_bits(151 << 23)) as u16;
    }
    sign | (((bits >> 23 & 255) - 112) << 10) as u16 | (bits >> 13 & 0x3ff) as u16
}
