//! Decays and their adjoints: sums of logs over intervals of a chunk.
//!
//! No sum here is a difference of sums. An exponent of `Between` is the sum of exactly the steps
//! of its interval, built from the one of the row above by one addition; the adjoint of `Between`
//! adds rows from the last up and takes prefixes of what it has. `Start`, `End` and `Total` are
//! running sums from one end. Exponents are summed with compensation, as their absolute error is
//! the relative error of the decay; a step below -1e6 counts as -1e6 there, which forgets as well
//! as minus infinity and leaves no NaN.

use super::vector::{Vector, exp};

/// A sum and what its roundings lost.
#[derive(Clone, Copy)]
struct Exponent<V> {
    sum: V,
    lost: V,
}

impl<V: Vector> Exponent<V> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: as the caller's.
        unsafe {
            Self {
                sum: V::zero(),
                lost: V::zero(),
            }
        }
    }

    #[inline(always)]
    unsafe fn add(self, step: V) -> Self {
        // SAFETY: as the caller's.
        unsafe {
            let step = step.at_least(V::splat(-1e6)).sub(self.lost);
            let sum = self.sum.add(step);
            Self {
                sum,
                lost: sum.sub(self.sum).sub(step),
            }
        }
    }

    /// Only the first `n` lanes.
    #[inline(always)]
    unsafe fn first(self, n: usize) -> Self {
        // SAFETY: as the caller's.
        unsafe {
            Self {
                sum: self.sum.first(n, V::zero()),
                lost: self.lost.first(n, V::zero()),
            }
        }
    }
}

/// `exp` of the sums over `s < r <= t` (strict: `s < r < t`) as a `[C, C]` tile.
///
/// # Safety
///
/// `l` has `c` numbers; `out` has `c` rows, padded to 16 numbers; the CPU has `V`'s instruction
/// set.
#[inline(always)]
pub unsafe fn between<V: Vector>(
    out: *mut f32,
    out_row: usize,
    l: *const f32,
    c: usize,
    strict: bool,
) {
    let mut s = 0;
    while s < c {
        // SAFETY: rows and columns are inside the padded tile, l's index is below c.
        unsafe {
            // The first row with a pair in these columns.
            let start = s + usize::from(strict);
            for t in 0..start.min(c) {
                V::zero().store(out.add(t * out_row + s));
            }
            let mut sums = Exponent::<V>::zero();
            for t in start..c {
                // Pairs exist in columns s..s + pairs; the newest has an empty interval.
                let pairs = t - start + 1;
                let step = V::splat(*l.add(t - usize::from(strict)));
                sums = sums.add(step).first(pairs - 1);
                exp(sums.sum)
                    .first(pairs, V::zero())
                    .store(out.add(t * out_row + s));
            }
        }
        s += V::WIDTH;
    }
}

/// Running sums over the rows of `x`: up to and with each row (`inclusive`) or up to it only,
/// from the first row or from the last (`reverse`), `exp` taken on request.
#[derive(Clone, Copy)]
pub struct Scan {
    /// From the last row.
    pub reverse: bool,
    /// The row itself belongs to its sum.
    pub inclusive: bool,
    /// Takes `exp` of the sums.
    pub exp: bool,
    /// Only the sum over all rows, as one row.
    pub total: bool,
}

/// Running sums of the rows of a `[rows, cols]` tile; a vector is a tile with row stride 1 and
/// one column.
///
/// # Safety
///
/// Both tiles have `rows` rows (one, for the result of `total`) padded to 16 numbers, or are
/// vectors padded to 16 numbers; the CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn scan<V: Vector>(
    out: *mut f32,
    out_row: usize,
    x: *const f32,
    x_row: usize,
    rows: usize,
    cols: usize,
    kind: Scan,
) {
    let order = |i: usize| if kind.reverse { rows - 1 - i } else { i };
    if x_row == 1 {
        // SAFETY: indices stay below rows; vectors stay inside the padding.
        unsafe {
            let mut sum = 0.0;
            for r in (0..rows).map(order) {
                // In f64, as there is one sum only.
                let next = sum + f64::from(*x.add(r));
                if !kind.total {
                    *out.add(r) = if kind.inclusive { next } else { sum } as f32;
                }
                sum = next;
            }
            if kind.total {
                *out = sum as f32;
            }
            if kind.exp {
                let count = if kind.total { 1 } else { rows };
                for i in (0..count).step_by(V::WIDTH) {
                    exp(V::load(out.add(i))).store(out.add(i));
                }
            }
        }
        return;
    }
    for c in (0..cols).step_by(V::WIDTH) {
        // SAFETY: columns c..c + WIDTH are inside the padding.
        unsafe {
            let mut sum = Exponent::<V>::zero();
            for i in 0..rows {
                let r = if kind.reverse { rows - 1 - i } else { i };
                let step = V::load(x.add(r * x_row + c));
                let next = match kind.exp {
                    true => sum.add(step),
                    false => Exponent {
                        sum: sum.sum.add(step),
                        ..sum
                    },
                };
                let wanted = if kind.inclusive { next.sum } else { sum.sum };
                sum = next;
                if kind.total && i + 1 < rows {
                    continue;
                }
                let value = if kind.exp { exp(wanted) } else { wanted };
                let row = if kind.total { 0 } else { r };
                value.store(out.add(row * out_row + c));
            }
        }
    }
}

/// The adjoint of [`between`]'s exponents: `out[r]` is the sum of `x[t, s]` over `s < r <= t`
/// (strict: `s < r < t`).
///
/// # Safety
///
/// `x` has `c` rows padded to 16 numbers, `below` room for `c` numbers padded to 16; the CPU has
/// `V`'s instruction set.
#[inline(always)]
pub unsafe fn spread_between<V: Vector>(
    out: *mut f32,
    x: *const f32,
    x_row: usize,
    c: usize,
    strict: bool,
    below: *mut f32,
) {
    // SAFETY: rows and columns are inside the padded tile.
    unsafe {
        for s in (0..c).step_by(V::WIDTH) {
            V::zero().store(below.add(s));
        }
        for r in (0..c).rev() {
            // Strictly, row r itself does not count yet.
            let mut sum = V::zero();
            for s in (0..=r).step_by(V::WIDTH) {
                let old = V::load(below.add(s));
                let new = old.add(V::load(x.add(r * x_row + s)));
                new.store(below.add(s));
                let counted = if strict { old } else { new };
                sum = sum.add(counted.first(r - s, V::zero()));
            }
            *out.add(r) = sum.sum();
        }
    }
}
