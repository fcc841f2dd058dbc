//! Pointwise functions over whole tiles, in vectors of full width.
//!
//! The same accuracy as the instructions of `math`: a relative error of about 2e-7, and 0, infinity and
//! NaN where the true function has them.

use super::vector::{Vector, exp};
use baton_ir::recurrence::UnaryFn;

/// A function that has a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum Function {
    Exp = 0,
    Sigmoid = 1,
    Softplus = 2,
}

impl Function {
    /// The kernel's function, where there is one.
    pub fn of(function: UnaryFn) -> Option<Function> {
        match function {
            UnaryFn::Exp => Some(Function::Exp),
            UnaryFn::Sigmoid => Some(Function::Sigmoid),
            UnaryFn::Softplus => Some(Function::Softplus),
            _ => None,
        }
    }
}

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

/// The function number `which` of rows.
///
/// # Safety
///
/// The pointers name so many numbers; the CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn function<V: Vector>(rows: &Rows, which: i64) {
    // SAFETY: as the caller's.
    unsafe {
        match which {
            0 => each::<V>(rows, |x| exp(x)),
            1 => each::<V>(rows, |x| sigmoid(x)),
            _ => each::<V>(rows, |x| softplus(x)),
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

/// `max(x, 0) + log(1 + y)` with `y = exp(-|x|)`; the logarithm is twice the inverse hyperbolic tangent of
/// `y / (2 + y)`, at most a third, by its series.
#[inline(always)]
unsafe fn softplus<V: Vector>(x: V) -> V {
    // SAFETY: as the caller's.
    unsafe {
        let y = exp_minus_abs(x);
        let z = y.div(y.add(V::splat(2.0)));
        let (square, twice) = (z.mul(z), z.add(z));
        let mut sum = V::splat(1.0 / 15.0);
        for odd in [13, 11, 9, 7, 5, 3] {
            sum = sum.fma(square, V::splat(1.0 / odd as f32));
        }
        let log = twice.fma(sum.mul(square), twice);
        log.add(x.at_least(V::zero()))
    }
}
