//! Pointwise functions over whole tiles, in vectors of full width.
//!
//! The same accuracy as the instructions of `math`: a relative error of about 2e-7, and 0, infinity and
//! NaN where the true function has them.

use super::vector::{LN2_HIGH, LN2_LOW, MAGIC, Vector, exp, exp_parts, polynomial};
use baton_ir::pointwise;
use baton_ir::recurrence::UnaryFn;

/// Whether a function has a kernel.
pub fn has_kernel(function: UnaryFn) -> bool {
    use UnaryFn::*;
    matches!(
        function,
        Exp | Sigmoid | Softplus | Log | Silu | Tanh | Sin | Cos
    )
}

/// Coefficients of `(log(1 + f) - f + f^2 / 2) / f^3` on `sqrt(1/2) <= 1 + f < sqrt(2)`, highest
/// power first.
pub const LOG: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_9e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_5e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];

/// Coefficients of `(tanh(x) - x) / x^3` in `x^2` on `|x| < 0.625`, highest power first.
pub const TANH: [f32; 5] = [
    -5.704_988_7e-3,
    2.063_908_8e-2,
    -5.373_971_6e-2,
    1.333_144_2e-1,
    -3.333_328e-1,
];

/// Coefficients of `(sin(r) - r) / r^3` in `r^2` on `|r| <= pi / 4`, highest power first: of the least greatest error.
const SIN: [f32; 3] = [-1.951_521_8e-4, 8.332_16e-3, -1.666_665_5e-1];

/// Coefficients of `(cos(r) - 1 + r^2 / 2) / r^4`, in the same way.
const COS: [f32; 3] = [2.443_308_2e-5, -1.388_731_5e-3, 4.166_664_6e-2];

/// Half of pi in three parts; the first two have 16 bits, so that their products with numbers below 256 are exact.
const QUARTER: [f32; 3] = [1.570_770_3, 2.606_306_2e-5, 6.077_101e-11];

/// Angles up to which the parts of half a pi have all digits that are needed.
const NEAR: f32 = 400.0;

/// Rows of numbers, and a factor for each row unless null.
#[derive(Clone, Copy)]
pub struct Rows {
    /// Results; may be `src`.
    pub dst: *mut f32,
    /// What the function is of.
    pub src: *const f32,
    /// Multiplies each row first.
    pub factors: *const f32,
    /// Rows, side by side.
    pub rows: usize,
    /// Numbers of a row, a multiple of 16.
    pub columns: usize,
}

/// A function of rows, of those that [`has_kernel`] names.
///
/// # Safety
///
/// The pointers name so many numbers; the CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn function<V: Vector>(rows: &Rows, function: UnaryFn) {
    // SAFETY: as the caller's.
    unsafe {
        match function {
            UnaryFn::Exp => each::<V>(rows, |x| exp(x)),
            UnaryFn::Sigmoid => each::<V>(rows, |x| sigmoid(x)),
            UnaryFn::Softplus => each::<V>(rows, |x| softplus(x)),
            UnaryFn::Log => each::<V>(rows, |x| log(x)),
            UnaryFn::Silu => each::<V>(rows, |x| silu(x)),
            UnaryFn::Tanh => each::<V>(rows, |x| tanh(x)),
            _ => each::<V>(rows, |x| turned(x, function)),
        }
    }
}

#[inline(always)]
unsafe fn each<V: Vector>(rows: &Rows, f: impl Fn(V) -> V) {
    let Rows {
        dst,
        src,
        factors,
        rows,
        columns,
    } = *rows;
    for r in 0..rows {
        for i in (r * columns..(r + 1) * columns).step_by(V::WIDTH) {
            // SAFETY: vectors end with the row, which has a factor where any has.
            unsafe {
                let x = V::load(src.add(i));
                let x = match factors.is_null() {
                    true => x,
                    false => x.mul(V::splat(*factors.add(r))),
                };
                f(x).store(dst.add(i));
            }
        }
    }
}

/// `|x|`
#[inline(always)]
unsafe fn size<V: Vector>(x: V) -> V {
    // SAFETY: as the caller's.
    unsafe { x.at_least(V::zero().sub(x)) }
}

/// `exp(-|x|)`
#[inline(always)]
unsafe fn exp_minus_abs<V: Vector>(x: V) -> V {
    // SAFETY: as the caller's.
    unsafe { exp(x.at_most(V::zero().sub(x))) }
}

#[inline(always)]
unsafe fn sigmoid<V: Vector>(x: V) -> V {
    // SAFETY: as the caller's.
    unsafe {
        let (one, small) = (V::splat(1.0), exp_minus_abs(x));
        let over = x.less(V::zero(), small, one);
        over.div(small.add(one))
    }
}

/// `x / (1 + exp(-x))`: `x exp(x)` for negative x, with x taken in before the power of two makes it subnormal.
#[inline(always)]
unsafe fn silu<V: Vector>(x: V) -> V {
    // SAFETY: as the caller's.
    unsafe {
        let (p, shifted) = exp_parts(x.at_most(V::zero().sub(x)));
        let small = x.at_least(V::splat(-126.0)).mul(p).scaled(shifted);
        let over = x.less(V::zero(), small, x);
        over.div(p.scaled(shifted).add(V::splat(1.0)))
    }
}

/// `max(x, 0) + log(1 + y)` with `y = exp(-|x|)`; small y keep their digits.
#[inline(always)]
unsafe fn softplus<V: Vector>(x: V) -> V {
    // SAFETY: as the caller's.
    unsafe {
        let (y, one) = (exp_minus_abs(x), V::splat(1.0));
        let root = V::splat(std::f32::consts::SQRT_2 - 1.0);
        let halved = y.sub(one).mul(V::splat(0.5));
        let (f, e) = (root.less(y, halved, y), root.less(y, one, V::zero()));
        log_parts(f, e).add(x.at_least(V::zero()))
    }
}

/// `log(1 + f) + e ln 2` for `sqrt(1/2) <= 1 + f < sqrt(2)`.
#[inline(always)]
unsafe fn log_parts<V: Vector>(f: V, e: V) -> V {
    // SAFETY: as the caller's.
    unsafe {
        let square = f.mul(f);
        let p = polynomial(f, &LOG).mul(square).mul(f);
        let p = square.fma(V::splat(-0.5), e.fma(V::splat(LN2_LOW), p));
        e.fma(V::splat(LN2_HIGH), f.add(p))
    }
}

#[inline(always)]
unsafe fn log<V: Vector>(x: V) -> V {
    // SAFETY: as the caller's.
    unsafe {
        // Subnormals are scaled into the normal range.
        let smallest = V::splat(f32::MIN_POSITIVE);
        let normal = x.less(smallest, x.mul(V::splat(8_388_608.0)), x);
        let shift = x.less(smallest, V::splat(-23.0), V::zero());
        let (m, e) = normal.split();
        let (f, e) = (m.sub(V::splat(1.0)), e.add(shift));
        let value = log_parts(f, e);
        // Infinity and NaN are their own logarithms.
        let value = x.less(V::splat(f32::INFINITY), value, x);
        let over_zero = V::zero().less(x, value, V::splat(f32::NEG_INFINITY));
        let value = x.less(V::splat(f32::INFINITY), over_zero, value);
        x.less(V::zero(), V::splat(f32::NAN), value)
    }
}

#[inline(always)]
unsafe fn tanh<V: Vector>(x: V) -> V {
    // SAFETY: as the caller's.
    unsafe {
        let (size, one) = (size(x), V::splat(1.0));
        let square = x.mul(x);
        let near = polynomial(square, &TANH).mul(square).fma(x, x);
        let far = one.sub(V::splat(2.0).div(exp(size.add(size)).add(one)));
        let far = x.less(V::zero(), V::zero().sub(far), far);
        size.less(V::splat(0.625), near, far)
    }
}

/// Sine or cosine. The angle is brought to within an eighth of a turn of the nearest quarter, with what its own digits do not
/// hold beside it; those that are too far for that are [`far`], each by itself, so that no number's value depends on its neighbours.
#[inline(always)]
unsafe fn turned<V: Vector>(x: V, function: UnaryFn) -> V {
    // SAFETY: as the caller's.
    unsafe {
        let (zero, one) = (V::zero(), V::splat(1.0));
        let nearest =
            |x: V, scale: f32| x.fma(V::splat(scale), V::splat(MAGIC)).sub(V::splat(MAGIC));
        let quarters = nearest(x, std::f32::consts::FRAC_2_PI);
        let [high, middle, low] = QUARTER.map(|part| quarters.mul(V::splat(part)));
        let left = x.sub(high).sub(middle);
        let r = left.sub(low);
        let rest = left.sub(r).sub(low);
        let square = r.mul(r);
        let sin = polynomial(square, &SIN).mul(square).fma(r, rest).add(r);
        let cos = polynomial(square, &COS)
            .mul(square)
            .fma(square, square.mul(V::splat(-0.5)));
        let cos = cos.add(one);
        // The sine of a quarter, of -2, -1, 0, 1 and 2 of them.
        let quarters = match function {
            UnaryFn::Cos => quarters.add(one),
            _ => quarters,
        };
        let q = nearest(quarters, 0.25).fma(V::splat(-4.0), quarters);
        let odd = q.mul(q).sub(one);
        let value = odd.mul(odd).less(V::splat(0.5), cos, sin);
        let negative = q.mul(q).sub(q);
        let value = one.less(negative, zero.sub(value), value);
        match V::splat(NEAR).less(size(x), one, zero).sum() == 0.0 {
            true => value,
            false => far(x, value, function),
        }
    }
}

/// The values with those of angles beyond [`NEAR`] in f64.
#[inline(never)]
unsafe fn far<V: Vector>(x: V, near: V, function: UnaryFn) -> V {
    let (mut angles, mut values) = ([0.0; 16], [0.0; 16]);
    // SAFETY: a vector has at most 16 numbers.
    unsafe {
        x.store(angles.as_mut_ptr());
        near.store(values.as_mut_ptr());
        for (x, value) in angles.iter().zip(&mut values) {
            if x.abs() > NEAR {
                *value = pointwise::unary(function, f64::from(*x)) as f32;
            }
        }
        V::load(values.as_ptr())
    }
}
