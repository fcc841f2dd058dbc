//! Systems with a unit lower triangle: `U = R + L U`, or with L transposed.
//!
//! Substitution by blocks of 16 steps: a block is R and the product of L with the blocks that are
//! done, by the kernel of products; then its steps follow one another. What is not below the diagonal of
//! L is not read, and neither is a step that has not been solved, so a NaN reaches no step before its own. Every sum has the order of the
//! steps, from the nearest border of the chunk on.

use super::matmul::{Product, full};
use super::vector::Vector;

/// Steps of a block.
const BLOCK: usize = 16;

/// The operands of a solve; strides count numbers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct System {
    /// The triangle.
    pub l: *const f32,
    /// From row to row of L.
    pub l_row: usize,
    /// The right side.
    pub r: *const f32,
    /// From row to row of R.
    pub r_row: usize,
    /// The unknowns. May be R.
    pub u: *mut f32,
    /// From row to row of U.
    pub u_row: usize,
    /// Rows that are solved for.
    pub steps: usize,
    /// Columns of R and U, a multiple of 16.
    pub n: usize,
}

/// Solves a system.
///
/// # Safety
///
/// The pointers and strides name tiles of the given sizes (rows of R and U readable and writable up
/// to `n`), L of `steps` rows and columns; U overlaps L nowhere, and R only as a whole; the CPU
/// has `V`'s instruction set.
#[inline(always)]
pub unsafe fn solve<V: Vector>(s: &System, transposed: bool) {
    let blocks = s.steps.div_ceil(BLOCK);
    for i in 0..blocks {
        let block = if transposed { blocks - 1 - i } else { i };
        let first = block * BLOCK;
        let end = (first + BLOCK).min(s.steps);
        // The steps that are done, and how L lies over them.
        let (from, count, a, [a_row, a_col]) = match transposed {
            false => (0, first, s.l.wrapping_add(first * s.l_row), [s.l_row, 1]),
            true => {
                let a = s.l.wrapping_add(end * s.l_row + first);
                (end, s.steps - end, a, [1, s.l_row])
            }
        };
        let done = Product {
            a,
            a_row,
            a_col,
            b: s.u.wrapping_add(from * s.u_row),
            b_row: s.u_row,
            add: s.r.wrapping_add(first * s.r_row),
            add_row: s.r_row,
            c: s.u.wrapping_add(first * s.u_row),
            c_row: s.u_row,
            m: end - first,
            n: s.n,
            k: count,
            ..Product::EMPTY
        };
        // SAFETY: rows first..end are solved from rows that are not among them.
        unsafe {
            full::<V>(&done);
            let mut n = 0;
            while n + 4 * V::WIDTH <= s.n {
                within::<V, 4>(s, transposed, first, end, n);
                n += 4 * V::WIDTH;
            }
            while n < s.n {
                within::<V, 1>(s, transposed, first, end, n);
                n += V::WIDTH;
            }
        }
    }
}

/// The steps of a block one after the other, in NV vectors of columns.
#[inline(always)]
unsafe fn within<V: Vector, const NV: usize>(
    s: &System,
    transposed: bool,
    first: usize,
    end: usize,
    n: usize,
) {
    // SAFETY: rows first..end and columns n..n + NV * WIDTH are inside, and so is L below its diagonal.
    unsafe {
        let at = |t: usize, i: usize| s.u.add(t * s.u_row + n + i * V::WIDTH);
        for step in 1..end - first {
            let t = if transposed {
                end - 1 - step
            } else {
                first + step
            };
            let mut sum = [V::zero(); NV];
            for (i, sum) in sum.iter_mut().enumerate() {
                *sum = V::load(at(t, i));
            }
            for before in 0..step {
                let (other, weight) = match transposed {
                    false => (first + before, s.l.add(t * s.l_row + first + before)),
                    true => (end - 1 - before, s.l.add((end - 1 - before) * s.l_row + t)),
                };
                let weight = V::splat(*weight);
                for (i, sum) in sum.iter_mut().enumerate() {
                    *sum = weight.fma(V::load(at(other, i)), *sum);
                }
            }
            for (i, sum) in sum.into_iter().enumerate() {
                sum.store(at(t, i));
            }
        }
    }
}
