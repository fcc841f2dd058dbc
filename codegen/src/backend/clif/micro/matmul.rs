//! The matrix product on tiles: `C = add + A B`.
//!
//! A's elements are broadcast, so A has any strides and a transposed A costs nothing; B's and C's
//! rows are contiguous and padded to 16 numbers. A register block is ROWS x 2 vectors (four for a
//! single row, which is bound by memory); its sums run over k in order, so a result has one value
//! whatever surrounds it. Triangles skip work by whole register blocks.

use super::vector::Vector;

/// The operands of a product; strides count numbers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Product {
    /// Left operand.
    pub a: *const f32,
    /// From row to row of A.
    pub a_row: usize,
    /// From column to column of A.
    pub a_col: usize,
    /// Right operand.
    pub b: *const f32,
    /// From row to row of B.
    pub b_row: usize,
    /// Added; null for zero. May be C.
    pub add: *const f32,
    /// From row to row of what is added.
    pub add_row: usize,
    /// Result.
    pub c: *mut f32,
    /// From row to row of the result.
    pub c_row: usize,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C, a multiple of 16.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
}

/// What is known of the triangles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum Shape {
    /// Nothing.
    Full = 0,
    /// A is zero right of the diagonal.
    LowerA = 1,
    /// A is zero left of the diagonal.
    UpperA = 2,
    /// C is not needed right of the diagonal; zeros are written there.
    LowerC = 3,
}

/// The product.
///
/// # Safety
///
/// The pointers and strides name tiles of the given sizes (rows of B, C and `add` readable and
/// writable up to `n`); C overlaps neither A nor B; the CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn matmul<V: Vector>(p: &Product, shape: Shape) {
    let mut n = 0;
    // SAFETY: blocks stay inside m x n; as the caller vouches.
    unsafe {
        if p.m == 1 {
            while n + 4 * V::WIDTH <= p.n {
                single_row::<V>(p, shape, n);
                n += 4 * V::WIDTH;
            }
        }
        while n + 2 * V::WIDTH <= p.n {
            rows::<V, 2>(p, shape, n);
            n += 2 * V::WIDTH;
        }
        while n < p.n {
            rows::<V, 1>(p, shape, n);
            n += V::WIDTH;
        }
    }
}

/// Four vectors of columns of a product of one row.
#[inline(always)]
unsafe fn single_row<V: Vector>(p: &Product, shape: Shape, n: usize) {
    let last = match shape {
        Shape::LowerA => p.k.min(1),
        Shape::LowerC if n > 0 => 0,
        _ => p.k,
    };
    // SAFETY: columns n..n + 4 * WIDTH are inside.
    unsafe {
        let at = |i: usize| n + i * V::WIDTH;
        let mut sum = [V::zero(); 4];
        if !p.add.is_null() && (last > 0 || p.k == 0) {
            for (i, x) in sum.iter_mut().enumerate() {
                *x = V::load(p.add.add(at(i)));
            }
        }
        let [mut s, mut t, mut u, mut v] = sum;
        for k in 0..last {
            let left = V::splat(*p.a.add(k * p.a_col));
            let b = p.b.add(k * p.b_row);
            s = left.fma(V::load(b.add(at(0))), s);
            t = left.fma(V::load(b.add(at(1))), t);
            u = left.fma(V::load(b.add(at(2))), u);
            v = left.fma(V::load(b.add(at(3))), v);
        }
        for (i, x) in [s, t, u, v].into_iter().enumerate() {
            x.store(p.c.add(at(i)));
        }
    }
}

/// A panel of NV (one or two) vectors of columns.
#[inline(always)]
unsafe fn rows<V: Vector, const NV: usize>(p: &Product, shape: Shape, n: usize) {
    let mut m = 0;
    while m < p.m {
        let count = V::ROWS.min(p.m - m);
        let (mut first, mut last) = (0, p.k);
        match shape {
            Shape::Full => (),
            Shape::LowerA => last = p.k.min(m + count),
            Shape::UpperA => first = p.k.min(m),
            Shape::LowerC if n >= m + count => last = 0,
            Shape::LowerC => (),
        }
        let zero = shape == Shape::LowerC && last == 0;
        // SAFETY: rows m..m + count and columns n..n + NV * WIDTH are inside; first <= last <= k.
        unsafe {
            match count {
                8 => block::<V, 8, NV>(p, m, n, first, last, zero),
                7 => block::<V, 7, NV>(p, m, n, first, last, zero),
                6 => block::<V, 6, NV>(p, m, n, first, last, zero),
                5 => block::<V, 5, NV>(p, m, n, first, last, zero),
                4 => block::<V, 4, NV>(p, m, n, first, last, zero),
                3 => block::<V, 3, NV>(p, m, n, first, last, zero),
                2 => block::<V, 2, NV>(p, m, n, first, last, zero),
                _ => block::<V, 1, NV>(p, m, n, first, last, zero),
            }
        }
        m += count;
    }
}

/// The statement for every row of a register block, with the row's number as a constant: the sums
/// are registers only if every index is.
macro_rules! each_row {
    ($rows:ident, $i:ident => $body:expr) => {
        each_row!(@ $rows, $i => $body; 0 1 2 3 4 5 6 7)
    };
    (@ $rows:ident, $i:ident => $body:expr; $($number:literal)*) => {
        $(if $number < $rows {
            const $i: usize = $number;
            $body
        })*
    };
}

/// One register block.
#[inline(always)]
unsafe fn block<V: Vector, const MR: usize, const NV: usize>(
    p: &Product,
    m: usize,
    n: usize,
    first: usize,
    last: usize,
    zero: bool,
) {
    // SAFETY: rows m..m + MR, columns n..n + NV * WIDTH and k in first..last are inside the tiles.
    unsafe {
        let mut sum = [[V::zero(); NV]; 8];
        if !p.add.is_null() && !zero {
            let add = p.add.add(m * p.add_row + n);
            each_row!(MR, I => sum[I] = load::<V, NV>(add.add(I * p.add_row)));
        }
        let (a_row, a_col, b_row) = (p.a_row, p.a_col, p.b_row);
        let mut a = p.a.add(m * a_row + first * a_col);
        let mut b = p.b.add(first * b_row + n);
        for _ in first..last {
            let right = load::<V, NV>(b);
            each_row!(MR, I => sum[I] = fma(V::splat(*a.add(I * a_row)), right, sum[I]));
            a = a.wrapping_add(a_col);
            b = b.wrapping_add(b_row);
        }
        let c = p.c.add(m * p.c_row + n);
        each_row!(MR, I => store(sum[I], c.add(I * p.c_row)));
    }
}

#[inline(always)]
unsafe fn load<V: Vector, const NV: usize>(p: *const f32) -> [V; NV] {
    // SAFETY: the caller vouches for NV vectors.
    unsafe {
        let mut row = [V::zero(); NV];
        row[0] = V::load(p);
        if NV > 1 {
            row[1] = V::load(p.add(V::WIDTH));
        }
        row
    }
}

#[inline(always)]
unsafe fn fma<V: Vector, const NV: usize>(a: V, b: [V; NV], mut sum: [V; NV]) -> [V; NV] {
    // SAFETY: as the caller's.
    unsafe {
        sum[0] = a.fma(b[0], sum[0]);
        if NV > 1 {
            sum[1] = a.fma(b[1], sum[1]);
        }
        sum
    }
}

#[inline(always)]
unsafe fn store<V: Vector, const NV: usize>(row: [V; NV], p: *mut f32) {
    // SAFETY: the caller vouches for NV vectors.
    unsafe {
        row[0].store(p);
        if NV > 1 {
            row[1].store(p.add(V::WIDTH));
        }
    }
}

/// `c[i] = add[i] + sum over k of a[i, k] b[k]`: rows of A are contiguous.
///
/// # Safety
///
/// `a` has `m` rows of `k` numbers at distance `a_row`; `b` has `k`, `c` has `m` numbers, and so
/// has `add` unless null; the CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn dot_rows<V: Vector>(p: &Product) {
    let whole = p.k - p.k % V::WIDTH;
    for i in 0..p.m {
        // SAFETY: i < m, and vectors end at `whole` <= k.
        unsafe {
            let a = p.a.add(i * p.a_row);
            let mut sums = [V::zero(); 4];
            let mut k = 0;
            while k + 4 * V::WIDTH <= whole {
                for (j, sum) in sums.iter_mut().enumerate() {
                    let at = k + j * V::WIDTH;
                    *sum = V::load(a.add(at)).fma(V::load(p.b.add(at)), *sum);
                }
                k += 4 * V::WIDTH;
            }
            while k < whole {
                sums[0] = V::load(a.add(k)).fma(V::load(p.b.add(k)), sums[0]);
                k += V::WIDTH;
            }
            let [s, t, u, v] = sums;
            let mut sum = s.add(t).add(u.add(v)).sum();
            while k < p.k {
                sum += *a.add(k) * *p.b.add(k);
                k += 1;
            }
            if !p.add.is_null() {
                sum += *p.add.add(i);
            }
            *p.c.add(i) = sum;
        }
    }
}
