//! Vectors of f32 as the micro-kernels see them, one implementation for each instruction set.
//!
//! Kernels are written once, generic over [`Vector`], and marked `#[inline(always)]` all the way
//! down; the entry points in `micro::entries` instantiate them inside a function that enables the
//! instruction set, so every operation here becomes one instruction there. Masks are made from
//! lane numbers only, so a mask is `lane < n` for some n.

/// A vector of `WIDTH` numbers.
///
/// # Safety
///
/// Every method may be called only where the CPU has the implementation's instruction set;
/// `load` and `store` touch `WIDTH` numbers from the pointer on (any alignment of 4).
pub unsafe trait Vector: Copy {
    /// Numbers in a vector; divides 16.
    const WIDTH: usize;
    /// Rows of the register block of the matrix product with two vectors to a row.
    const ROWS: usize;
    /// Rows of that with four vectors to a row; 0 where registers are too few for it.
    const WIDE: usize;
    /// Reads.
    unsafe fn load(p: *const f32) -> Self;
    /// Writes.
    unsafe fn store(self, p: *mut f32);
    /// The same number in every lane.
    unsafe fn splat(x: f32) -> Self;
    /// `self + b`
    unsafe fn add(self, b: Self) -> Self;
    /// `self - b`
    unsafe fn sub(self, b: Self) -> Self;
    /// `self * b`
    unsafe fn mul(self, b: Self) -> Self;
    /// `self / b`
    unsafe fn div(self, b: Self) -> Self;
    /// `self * b + c`, rounded once.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// `then` where it is less than `b`, else `other`.
    unsafe fn less(self, b: Self, then: Self, other: Self) -> Self;
    /// The larger; `self` when it is NaN.
    unsafe fn at_least(self, bound: Self) -> Self;
    /// The smaller; `self` when it is NaN.
    unsafe fn at_most(self, bound: Self) -> Self;
    /// `self * 2^n` for the integer n in -252..=254 that is in the low bits of `shifted`, which is
    /// n as a number with [`MAGIC`] added.
    unsafe fn scaled(self, shifted: Self) -> Self;
    /// `(m, e)` with `self = m * 2^e` and `sqrt(1/2) <= m < sqrt(2)`, of a normal number above zero.
    unsafe fn split(self) -> (Self, Self);
    /// The first `n` lanes of `self`, the others of `other`.
    unsafe fn first(self, n: usize, other: Self) -> Self;
    /// The sum of the lanes, in a fixed order.
    unsafe fn sum(self) -> f32;

    /// Zero.
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: as the caller's.
        unsafe { Self::splat(0.0) }
    }
}

/// Without an instruction set: the compiler's own vectors.
#[derive(Clone, Copy)]
pub struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

/// The bits of `sqrt(1/2)`, where [`Vector::split`] cuts.
const ROOT: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
/// The bits that say where a number stands between powers of two.
const FRACTION: u32 = 0x007f_ffff;

/// 1.5 * 2^23: adding it leaves the nearest integer in the low bits.
pub const MAGIC: f32 = 12_582_912.0;

// SAFETY: needs no instruction set.
unsafe impl Vector for Portable {
    const WIDTH: usize = 8;
    const ROWS: usize = 4;
    const WIDE: usize = 0;
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller vouches for 8 numbers.
        Self(unsafe { p.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller vouches for 8 numbers.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 8])
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self.zip(b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self.zip(b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self.zip(b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        self.zip(b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn less(self, b: Self, then: Self, other: Self) -> Self {
        Self(std::array::from_fn(|i| match self.0[i] < b.0[i] {
            true => then.0[i],
            false => other.0[i],
        }))
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // Not `mul_add`: without an instruction it is a call for each lane.
        Self(std::array::from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
    }
    #[inline(always)]
    unsafe fn at_least(self, bound: Self) -> Self {
        self.zip(bound, |a, b| if b > a { b } else { a })
    }
    #[inline(always)]
    unsafe fn at_most(self, bound: Self) -> Self {
        self.zip(bound, |a, b| if b < a { b } else { a })
    }
    #[inline(always)]
    unsafe fn scaled(self, shifted: Self) -> Self {
        let n = shifted
            .0
            .map(|x| (x.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32));
        let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
        // In two factors: 2^n alone may leave the range where the result does not.
        Self(std::array::from_fn(|i| {
            self.0[i] * power(n[i] >> 1) * power(n[i].wrapping_sub(n[i] >> 1))
        }))
    }
    #[inline(always)]
    unsafe fn split(self) -> (Self, Self) {
        let from_root = self.0.map(|x| x.to_bits().wrapping_sub(ROOT));
        (
            Self(from_root.map(|bits| f32::from_bits((bits & FRACTION).wrapping_add(ROOT)))),
            Self(from_root.map(|bits| (bits as i32 >> 23) as f32)),
        )
    }
    #[inline(always)]
    unsafe fn first(self, n: usize, other: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if i < n { self.0[i] } else { other.0[i] }
        }))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let a = self.0;
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{FRACTION, MAGIC, ROOT, Vector};
    use std::arch::x86_64::*;

    const LANES: [i32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    // SAFETY: every method is AVX2 and FMA code, for callers on a CPU that has both.
    unsafe impl Vector for __m256 {
        const WIDTH: usize = 8;
        const ROWS: usize = 6;
        const WIDE: usize = 0;
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm256_storeu_ps(p, self) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            unsafe { _mm256_add_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            unsafe { _mm256_sub_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            unsafe { _mm256_mul_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn div(self, b: Self) -> Self {
            unsafe { _mm256_div_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            unsafe { _mm256_fmadd_ps(self, b, c) }
        }
        #[inline(always)]
        unsafe fn less(self, b: Self, then: Self, other: Self) -> Self {
            unsafe { _mm256_blendv_ps(other, then, _mm256_cmp_ps::<_CMP_LT_OQ>(self, b)) }
        }
        #[inline(always)]
        unsafe fn at_least(self, bound: Self) -> Self {
            unsafe { _mm256_max_ps(bound, self) }
        }
        #[inline(always)]
        unsafe fn at_most(self, bound: Self) -> Self {
            unsafe { _mm256_min_ps(bound, self) }
        }
        #[inline(always)]
        unsafe fn scaled(self, shifted: Self) -> Self {
            unsafe {
                let n = _mm256_sub_epi32(
                    _mm256_castps_si256(shifted),
                    _mm256_set1_epi32(MAGIC.to_bits() as i32),
                );
                let half = _mm256_srai_epi32::<1>(n);
                let bias = _mm256_set1_epi32(127);
                let low = _mm256_add_epi32(half, bias);
                let high = _mm256_add_epi32(_mm256_sub_epi32(n, half), bias);
                let low = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(low));
                let high = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high));
                _mm256_mul_ps(_mm256_mul_ps(self, low), high)
            }
        }
        #[inline(always)]
        unsafe fn split(self) -> (Self, Self) {
            unsafe {
                let root = _mm256_set1_epi32(ROOT as i32);
                let from_root = _mm256_sub_epi32(_mm256_castps_si256(self), root);
                let m = _mm256_and_si256(from_root, _mm256_set1_epi32(FRACTION as i32));
                (
                    _mm256_castsi256_ps(_mm256_add_epi32(m, root)),
                    _mm256_cvtepi32_ps(_mm256_srai_epi32::<23>(from_root)),
                )
            }
        }
        #[inline(always)]
        unsafe fn first(self, n: usize, other: Self) -> Self {
            unsafe {
                let lanes = _mm256_loadu_si256(LANES.as_ptr().cast());
                let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), lanes);
                _mm256_blendv_ps(other, self, _mm256_castsi256_ps(mask))
            }
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe {
                let x = _mm_add_ps(
                    _mm256_castps256_ps128(self),
                    _mm256_extractf128_ps::<1>(self),
                );
                let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
                _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
            }
        }
    }

    // SAFETY: every method is AVX-512F code, for callers on a CPU that has it.
    unsafe impl Vector for __m512 {
        const WIDTH: usize = 16;
        const ROWS: usize = 8;
        const WIDE: usize = 6;
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            unsafe { _mm512_add_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            unsafe { _mm512_sub_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            unsafe { _mm512_mul_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn div(self, b: Self) -> Self {
            unsafe { _mm512_div_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, b, c) }
        }
        #[inline(always)]
        unsafe fn less(self, b: Self, then: Self, other: Self) -> Self {
            unsafe { _mm512_mask_mov_ps(other, _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self, b), then) }
        }
        #[inline(always)]
        unsafe fn at_least(self, bound: Self) -> Self {
            unsafe { _mm512_max_ps(bound, self) }
        }
        #[inline(always)]
        unsafe fn at_most(self, bound: Self) -> Self {
            unsafe { _mm512_min_ps(bound, self) }
        }
        #[inline(always)]
        unsafe fn scaled(self, shifted: Self) -> Self {
            unsafe { _mm512_scalef_ps(self, _mm512_sub_ps(shifted, _mm512_set1_ps(MAGIC))) }
        }
        #[inline(always)]
        unsafe fn split(self) -> (Self, Self) {
            unsafe {
                let root = _mm512_set1_epi32(ROOT as i32);
                let from_root = _mm512_sub_epi32(_mm512_castps_si512(self), root);
                let m = _mm512_and_si512(from_root, _mm512_set1_epi32(FRACTION as i32));
                (
                    _mm512_castsi512_ps(_mm512_add_epi32(m, root)),
                    _mm512_cvtepi32_ps(_mm512_srai_epi32::<23>(from_root)),
                )
            }
        }
        #[inline(always)]
        unsafe fn first(self, n: usize, other: Self) -> Self {
            unsafe {
                let lanes = _mm512_loadu_si512(LANES.as_ptr().cast());
                let mask = _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(n.min(16) as i32), lanes);
                _mm512_mask_mov_ps(other, mask, self)
            }
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe {
                let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self)));
                let x = _mm256_add_ps(_mm512_castps512_ps256(self), high);
                x.sum()
            }
        }
    }
}

/// `exp(x)`, relative error below 1.5e-7 where the result is normal; 0 and infinity at the ends,
/// NaN stays.
///
/// # Safety
///
/// As [`Vector`].
#[inline(always)]
pub unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: as the caller's.
    unsafe {
        let (p, shifted) = exp_parts(x);
        p.scaled(shifted)
    }
}

/// `exp(x)` as a number near one and the power of two that scales it.
///
/// # Safety
///
/// As [`Vector`].
#[inline(always)]
pub unsafe fn exp_parts<V: Vector>(x: V) -> (V, V) {
    // SAFETY: as the caller's.
    unsafe {
        let x = x.at_least(V::splat(-126.0)).at_most(V::splat(90.0));
        let shifted = x.fma(V::splat(std::f32::consts::LOG2_E), V::splat(MAGIC));
        let n = shifted.sub(V::splat(MAGIC));
        let r = n.fma(V::splat(-LN2_HIGH), x);
        let r = n.fma(V::splat(-LN2_LOW), r);
        let p = polynomial(r, &EXP);
        (p.mul(r).fma(r, r).add(V::splat(1.0)), shifted)
    }
}

/// The polynomial with these coefficients, highest power first.
///
/// # Safety
///
/// As [`Vector`].
#[inline(always)]
pub unsafe fn polynomial<V: Vector>(x: V, coefficients: &[f32]) -> V {
    // SAFETY: as the caller's.
    unsafe {
        let (first, rest) = coefficients.split_first().expect("a polynomial has a term");
        rest.iter()
            .fold(V::splat(*first), |p, &c| p.fma(x, V::splat(c)))
    }
}

/// ln 2 in two parts; the first has few bits, so that its products with small integers are exact.
pub const LN2_HIGH: f32 = 0.693_359_4;
/// The rest.
pub const LN2_LOW: f32 = -2.121_944_4e-4;

/// Coefficients of `(exp(r) - 1 - r) / r^2` on `|r| <= ln(2) / 2`, highest power first.
pub const EXP: [f32; 6] = [
    1.987_569_1e-4,
    1.398_2e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    5e-1,
];
