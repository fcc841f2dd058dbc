//! The float types that an instruction computes in, as Rust types with one trait of arithmetic.

use super::{BF16, F16, F32, Format, Rounding, f16_bits, f16_value};
use super::{odd_quotient, odd_root, odd_sum};
use crate::lanes::Word;

/// A subnormal number becomes zero of its sign (`.ftz`).
pub(crate) fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE {
        0f32.copysign(x)
    } else {
        x
    }
}

/// What float instructions do, correctly rounded in the type.
pub(crate) trait Arithmetic: Copy {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn fused(self, factor: Self, addend: Self) -> Self;
    fn negated(self) -> Self;
    fn magnitude(self) -> Self;
    /// The smaller; a NaN loses to a number, unless `nan` asks it to win.
    fn smaller(self, other: Self, nan: bool) -> Self;
    fn larger(self, other: Self, nan: bool) -> Self;
    /// Max with +0, NaN becoming a canonical NaN (`.relu`).
    fn rectified(self) -> Self;
}

/// What only scalar f32 and f64 have.
pub(crate) trait Root: Copy {
    fn over(self, divisor: Self) -> Self;
    fn root(self) -> Self;
    fn inverse(self) -> Self;
}

macro_rules! ordered {
    ($a:expr, $b:expr, $nan:expr, $first:expr) => {{
        let (a, b) = ($a, $b);
        match (a.is_nan(), b.is_nan()) {
            (true, true) => a,
            (true, false) => {
                if $nan {
                    a
                } else {
                    b
                }
            }
            (false, true) => {
                if $nan {
                    b
                } else {
                    a
                }
            }
            _ if a == b => {
                if a.is_sign_negative() == $first {
                    a
                } else {
                    b
                }
            }
            _ => {
                if (a < b) == $first {
                    a
                } else {
                    b
                }
            }
        }
    }};
}

macro_rules! arithmetic {
    ($name:ty, $raw:ty, $unwrap:expr, $wrap:expr, $fused:expr) => {
        impl Arithmetic for $name {
            fn plus(self, other: Self) -> Self {
                $wrap($unwrap(self) + $unwrap(other))
            }
            fn minus(self, other: Self) -> Self {
                $wrap($unwrap(self) - $unwrap(other))
            }
            fn times(self, other: Self) -> Self {
                $wrap($unwrap(self) * $unwrap(other))
            }
            fn fused(self, factor: Self, addend: Self) -> Self {
                $wrap($fused($unwrap(self), $unwrap(factor), $unwrap(addend)))
            }
            fn negated(self) -> Self {
                $wrap(-$unwrap(self))
            }
            fn magnitude(self) -> Self {
                $wrap($unwrap(self).abs())
            }
            fn smaller(self, other: Self, nan: bool) -> Self {
                $wrap(ordered!($unwrap(self), $unwrap(other), nan, true))
            }
            fn larger(self, other: Self, nan: bool) -> Self {
                $wrap(ordered!($unwrap(self), $unwrap(other), nan, false))
            }
            fn rectified(self) -> Self {
                let value: $raw = $unwrap(self);
                $wrap(if value.is_nan() || value > 0.0 {
                    value
                } else {
                    0.0
                })
            }
        }
    };
}

/// An f32 under `.ftz`: flushed where it enters and where it leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flushed(pub f32);

/// An f16 as the f32 of the same value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Half(pub f32);

/// A bf16 as the f32 of the same value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brain(pub f32);

/// Two narrow floats in one 32-bit register, low half first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<T>(pub T, pub T);

/// An f32 whose results are rounded in another mode than to nearest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directed<const MODE: u8, const FLUSH: bool>(pub f32);

fn native(x: f32) -> f32 {
    x
}

fn native64(x: f64) -> f64 {
    x
}

fn narrow_fused(format: Format, a: f32, b: f32, c: f32) -> f32 {
    let exact = odd_sum(f64::from(a) * f64::from(b), f64::from(c));
    format.round(exact, Rounding::Nearest) as f32
}

arithmetic!(f32, f32, native, native, f32::mul_add);
arithmetic!(f64, f64, native64, native64, f64::mul_add);
arithmetic!(
    Flushed,
    f32,
    |x: Flushed| flush(x.0),
    |x| Flushed(flush(x)),
    f32::mul_add
);
// The f32 result of one operation on f16 or bf16 has more than twice the bits plus two: rounding it
// again is innocuous. A fused product and sum is not covered by that rule and rounds once.
arithmetic!(
    Half,
    f32,
    |x: Half| x.0,
    |x: f32| Half(F16.round(f64::from(x), Rounding::Nearest) as f32),
    |a, b, c| narrow_fused(F16, a, b, c)
);
arithmetic!(
    Brain,
    f32,
    |x: Brain| x.0,
    |x: f32| Brain(BF16.round(f64::from(x), Rounding::Nearest) as f32),
    |a, b, c| narrow_fused(BF16, a, b, c)
);

impl<T: Arithmetic> Arithmetic for Pair<T> {
    fn plus(self, other: Self) -> Self {
        Pair(self.0.plus(other.0), self.1.plus(other.1))
    }
    fn minus(self, other: Self) -> Self {
        Pair(self.0.minus(other.0), self.1.minus(other.1))
    }
    fn times(self, other: Self) -> Self {
        Pair(self.0.times(other.0), self.1.times(other.1))
    }
    fn fused(self, factor: Self, addend: Self) -> Self {
        Pair(
            self.0.fused(factor.0, addend.0),
            self.1.fused(factor.1, addend.1),
        )
    }
    fn negated(self) -> Self {
        Pair(self.0.negated(), self.1.negated())
    }
    fn magnitude(self) -> Self {
        Pair(self.0.magnitude(), self.1.magnitude())
    }
    fn smaller(self, other: Self, nan: bool) -> Self {
        Pair(self.0.smaller(other.0, nan), self.1.smaller(other.1, nan))
    }
    fn larger(self, other: Self, nan: bool) -> Self {
        Pair(self.0.larger(other.0, nan), self.1.larger(other.1, nan))
    }
    fn rectified(self) -> Self {
        Pair(self.0.rectified(), self.1.rectified())
    }
}

impl<const MODE: u8, const FLUSH: bool> Directed<MODE, FLUSH> {
    const ROUNDING: Rounding = match MODE {
        0 => Rounding::Zero,
        1 => Rounding::Down,
        _ => Rounding::Up,
    };

    fn value(self) -> f64 {
        f64::from(if FLUSH { flush(self.0) } else { self.0 })
    }

    fn of(exact: f64) -> Self {
        let rounded = F32.round(exact, Self::ROUNDING) as f32;
        Directed(if FLUSH { flush(rounded) } else { rounded })
    }
}

impl<const MODE: u8, const FLUSH: bool> Arithmetic for Directed<MODE, FLUSH> {
    fn plus(self, other: Self) -> Self {
        Self::of(odd_sum(self.value(), other.value()))
    }
    fn minus(self, other: Self) -> Self {
        Self::of(odd_sum(self.value(), -other.value()))
    }
    fn times(self, other: Self) -> Self {
        Self::of(self.value() * other.value())
    }
    fn fused(self, factor: Self, addend: Self) -> Self {
        Self::of(odd_sum(self.value() * factor.value(), addend.value()))
    }
    fn negated(self) -> Self {
        Self::of(-self.value())
    }
    fn magnitude(self) -> Self {
        Self::of(self.value().abs())
    }
    fn smaller(self, other: Self, nan: bool) -> Self {
        Directed(self.0.smaller(other.0, nan))
    }
    fn larger(self, other: Self, nan: bool) -> Self {
        Directed(self.0.larger(other.0, nan))
    }
    fn rectified(self) -> Self {
        Directed(self.0.rectified())
    }
}

impl<const MODE: u8, const FLUSH: bool> Root for Directed<MODE, FLUSH> {
    fn over(self, divisor: Self) -> Self {
        Self::of(odd_quotient(self.value(), divisor.value()))
    }
    fn root(self) -> Self {
        Self::of(odd_root(self.value()))
    }
    fn inverse(self) -> Self {
        Self::of(odd_quotient(1.0, self.value()))
    }
}

macro_rules! root {
    ($name:ty, $unwrap:expr, $wrap:expr) => {
        impl Root for $name {
            fn over(self, divisor: Self) -> Self {
                $wrap($unwrap(self) / $unwrap(divisor))
            }
            fn root(self) -> Self {
                $wrap($unwrap(self).sqrt())
            }
            fn inverse(self) -> Self {
                $wrap(1.0 / $unwrap(self))
            }
        }
    };
}

root!(f32, native, native);
root!(f64, native64, native64);
root!(Flushed, |x: Flushed| flush(x.0), |x| Flushed(flush(x)));

impl Word for Flushed {
    fn take(bits: u64) -> Self {
        Flushed(flush(f32::take(bits)))
    }
    fn give(self) -> u64 {
        flush(self.0).give()
    }
}

impl<const MODE: u8, const FLUSH: bool> Word for Directed<MODE, FLUSH> {
    fn take(bits: u64) -> Self {
        Directed(f32::take(bits))
    }
    fn give(self) -> u64 {
        self.0.give()
    }
}

impl Word for Half {
    fn take(bits: u64) -> Self {
        Half(f16_value(bits as u16))
    }
    fn give(self) -> u64 {
        u64::from(f16_bits(self.0))
    }
}

impl Word for Brain {
    fn take(bits: u64) -> Self {
        Brain(f32::from_bits((bits as u32) << 16))
    }
    fn give(self) -> u64 {
        if self.0.is_nan() {
            return 0x7fff;
        }
        u64::from(self.0.to_bits() >> 16)
    }
}

impl<T: Word> Word for Pair<T> {
    fn take(bits: u64) -> Self {
        Pair(T::take(bits & 0xffff), T::take(bits >> 16 & 0xffff))
    }
    fn give(self) -> u64 {
        self.0.give() | self.1.give() << 16
    }
}
