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

/// Puts the function of `count` numbers at `src` to `dst`, which may be `src`.
///
/// # Safety
///
/// `count` is a multiple of 16, both hold as many numbers; the CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn function<V: Vector>(dst: *mut f32, src: *const f32, count: usize, which: i64) {
    // SAFETY: as the caller's.
    unsafe {
        match which {
            0 => each::<V>(dst, src, count, |x| exp(x)),
            1 => each::<V>(dst, src, count, |x| sigmoid(x)),
            _ => each::<V>(dst, src, count, |x| softplus(x)),
        }
    }
}

#[inline(always)]
unsafe fn each<V: Vector>(dst: *mut f32, src: *const f32, count: usize, f: impl Fn(V) -> V) {
    for i in (0..count).step_by(V::WIDTH) {
        // SAFETY: vectors end at `count`.
        unsafe { f(V::load(src.add(i))).store(dst.add(i)) }
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
        let square = z.mul(z);
        let mut sum = V::splat(2.0 / 15.0);
        for odd in [13, 11, 9, 7, 5, 3, 1] {
            sum = sum.fma(square, V::splat(2.0 / odd as f32));
        }
        sum.fma(z, x.at_least(V::zero()))
    }
}
