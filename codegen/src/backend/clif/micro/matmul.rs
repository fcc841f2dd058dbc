//! The matrix product on tiles: `C = scale add + A B`.
//!
//! A's elements are broadcast, so A has any strides and a transposed A costs nothing; B's and C's
//! rows are contiguous and padded to 16 numbers. A register block is ROWS x 2 vectors, or WIDE rows of four where there are
//! registers for that and columns (loads are fewer then); a single row has four, as it is bound by memory. Sums run over k in
//! order, so a result has one value whatever surrounds it.
//!
//! A triangle of A is exact: what it leaves out is not read, and neither is what stands against it
//! in B. Beyond the block on the diagonal whole register blocks are skipped, on it each k
//! goes to the rows that take it only, in code that is unrolled for that. A triangle that leaves out
//! the diagonal is the plain one of A, or B, a row further. A triangle of C skips whole blocks.

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
    /// What is added is multiplied by this first, unless null.
    pub scale: *const f32,
    /// From one row's number to the next: 0 where all have one.
    pub scale_row: usize,
    /// 1 where every column has a number of its own.
    pub scale_col: usize,
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

impl Product {
    /// A product of nothing yet, to which nothing is added.
    pub const EMPTY: Product = Product {
        a: std::ptr::null(),
        a_row: 0,
        a_col: 1,
        b: std::ptr::null(),
        b_row: 0,
        add: std::ptr::null(),
        add_row: 0,
        scale: std::ptr::null(),
        scale_row: 0,
        scale_col: 0,
        c: std::ptr::null_mut(),
        c_row: 0,
        m: 0,
        n: 0,
        k: 0,
    };

    /// What is added to NV vectors of columns of a row.
    #[inline(always)]
    unsafe fn addend<V: Vector, const NV: usize>(&self, m: usize, n: usize) -> [V; NV] {
        // SAFETY: the caller vouches for the row and the columns, and that something is added.
        unsafe {
            let row = load::<V, NV>(self.add.add(m * self.add_row + n));
            if self.scale.is_null() {
                return row;
            }
            let scale = match self.scale_col {
                0 => [V::splat(*self.scale.add(m * self.scale_row)); NV],
                _ => load::<V, NV>(self.scale.add(n)),
            };
            std::array::from_fn(|i| row[i].mul(scale[i]))
        }
    }
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
    /// C is not needed right of the diagonal; zeros are written in whole blocks there.
    LowerC = 3,
    /// A is zero right of the diagonal and on it.
    StrictLowerA = 4,
    /// A is zero left of the diagonal and on it.
    StrictUpperA = 5,
}

/// What the unrolled code of the kernel needs to know of a triangle.
const FULL: u8 = 0;
const LOWER: u8 = 1;
const UPPER: u8 = 2;
const LOWER_C: u8 = 3;

/// The product.
///
/// # Safety
///
/// The pointers and strides name tiles of the given sizes (rows of B, C and `add` readable and
/// writable up to `n`), with at least one row of A, and A of no fewer rows than columns where it is
/// a triangle; C overlaps neither A nor B; the CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn matmul<V: Vector>(p: &Product, shape: Shape) {
    // A strict triangle without its first row, or its first column, is a plain one.
    let (p, shape) = match shape {
        Shape::StrictLowerA => {
            // SAFETY: the first row is inside.
            unsafe { empty_row::<V>(p) };
            let next = Product {
                a: p.a.wrapping_add(p.a_row),
                add: match p.add.is_null() {
                    true => p.add,
                    false => p.add.wrapping_add(p.add_row),
                },
                scale: match p.scale.is_null() {
                    true => p.scale,
                    false => p.scale.wrapping_add(p.scale_row),
                },
                c: p.c.wrapping_add(p.c_row),
                m: p.m - 1,
                ..*p
            };
            (next, LOWER)
        }
        Shape::StrictUpperA => {
            let next = Product {
                a: p.a.wrapping_add(p.a_col),
                b: p.b.wrapping_add(p.b_row),
                k: p.k.saturating_sub(1),
                ..*p
            };
            (next, UPPER)
        }
        Shape::LowerA => (*p, LOWER),
        Shape::UpperA => (*p, UPPER),
        Shape::LowerC => (*p, LOWER_C),
        Shape::Full => (*p, FULL),
    };
    // SAFETY: as the caller vouches.
    unsafe {
        match shape {
            LOWER => panels::<V, LOWER>(&p),
            UPPER => panels::<V, UPPER>(&p),
            LOWER_C => panels::<V, LOWER_C>(&p),
            _ => panels::<V, FULL>(&p),
        }
    }
}

/// The first row of a product that sums nothing there.
#[inline(always)]
unsafe fn empty_row<V: Vector>(p: &Product) {
    for n in (0..p.n).step_by(V::WIDTH) {
        // SAFETY: the row is padded to `n` columns.
        unsafe {
            let [row] = match p.add.is_null() {
                true => [V::zero()],
                false => p.addend::<V, 1>(0, n),
            };
            row.store(p.c.add(n));
        }
    }
}

/// The product of which nothing is known.
///
/// # Safety
///
/// As [`matmul`].
#[inline(always)]
pub unsafe fn full<V: Vector>(p: &Product) {
    // SAFETY: as the caller's.
    unsafe { panels::<V, FULL>(p) }
}

#[inline(always)]
unsafe fn panels<V: Vector, const SHAPE: u8>(p: &Product) {
    let mut n = 0;
    // SAFETY: blocks stay inside m x n; as the caller vouches.
    unsafe {
        if p.m == 1 {
            while n + 4 * V::WIDTH <= p.n {
                single_row::<V, SHAPE>(p, n);
                n += 4 * V::WIDTH;
            }
        }
        while V::WIDE > 0 && n + 4 * V::WIDTH <= p.n {
            rows::<V, 4, SHAPE>(p, n);
            n += 4 * V::WIDTH;
        }
        while n + 2 * V::WIDTH <= p.n {
            rows::<V, 2, SHAPE>(p, n);
            n += 2 * V::WIDTH;
        }
        while n < p.n {
            rows::<V, 1, SHAPE>(p, n);
            n += V::WIDTH;
        }
    }
}

/// Four vectors of columns of a product of one row.
#[inline(always)]
unsafe fn single_row<V: Vector, const SHAPE: u8>(p: &Product, n: usize) {
    let last = match SHAPE {
        LOWER => p.k.min(1),
        LOWER_C if n > 0 => 0,
        _ => p.k,
    };
    // SAFETY: columns n..n + 4 * WIDTH are inside.
    unsafe {
        let at = |i: usize| n + i * V::WIDTH;
        let mut sum = [V::zero(); 4];
        if !p.add.is_null() && (last > 0 || SHAPE != LOWER_C || p.k == 0) {
            for (i, x) in sum.iter_mut().enumerate() {
                [*x] = p.addend::<V, 1>(0, at(i));
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

/// A panel of NV vectors of columns, in blocks of rows as equal as they can be.
#[inline(always)]
unsafe fn rows<V: Vector, const NV: usize, const SHAPE: u8>(p: &Product, n: usize) {
    let most = if NV > 2 { V::WIDE } else { V::ROWS };
    let mut m = 0;
    while m < p.m {
        let left = p.m - m;
        let mut count = left.div_ceil(left.div_ceil(most));
        // Where A ends on the diagonal's block, the rows go one by one.
        if (SHAPE == LOWER || SHAPE == UPPER) && m + count > p.k {
            count = 1;
        }
        // SAFETY: rows m..m + count and columns n..n + NV * WIDTH are inside; on the diagonal
        // m + count <= k, unless there is one row.
        unsafe {
            match count {
                8 if NV <= 2 => block::<V, 8, NV, SHAPE>(p, m, n),
                7 if NV <= 2 => block::<V, 7, NV, SHAPE>(p, m, n),
                6 => block::<V, 6, NV, SHAPE>(p, m, n),
                5 => block::<V, 5, NV, SHAPE>(p, m, n),
                4 => block::<V, 4, NV, SHAPE>(p, m, n),
                3 => block::<V, 3, NV, SHAPE>(p, m, n),
                2 => block::<V, 2, NV, SHAPE>(p, m, n),
                _ => block::<V, 1, NV, SHAPE>(p, m, n),
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

/// The value, of which the compiler knows nothing: so rows stand at two addresses and what an instruction adds to them, where it
/// would count from each row to the next, by as many additions as there are rows, for which some CPUs have the same units as for products.
macro_rules! opaque {
    ($value:expr) => {{
        #[allow(unused_mut)]
        let mut value = $value;
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        std::arch::asm!("/* {} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        value
    }};
}

/// One register block. Numbers of rows are constants, and the first is zero; nothing is read or written where a value is made opaque.
#[allow(
    clippy::absurd_extreme_comparisons,
    clippy::pointers_in_nomem_asm_block
)]
#[inline(always)]
unsafe fn block<V: Vector, const MR: usize, const NV: usize, const SHAPE: u8>(
    p: &Product,
    m: usize,
    n: usize,
) {
    let nothing = SHAPE == LOWER_C && n >= m + MR;
    // The k that all rows take; beside them, in a triangle, those of the block on the diagonal.
    let (first, last) = match SHAPE {
        LOWER => (0, m.min(p.k)),
        UPPER => ((m + MR).min(p.k), p.k),
        _ if nothing => (0, 0),
        _ => (0, p.k),
    };
    let diagonal = (SHAPE == LOWER || SHAPE == UPPER) && m + MR <= p.k;
    // SAFETY: rows m..m + MR, columns n..n + NV * WIDTH and k in first..last are inside the tiles,
    // and so is k in m..m + MR where there is a diagonal.
    unsafe {
        let mut sum = [[V::zero(); NV]; 8];
        if !p.add.is_null() && !nothing {
            each_row!(MR, I => sum[I] = p.addend::<V, NV>(m + I, n));
        }
        let (a_row, a_col, b_row) = (p.a_row, p.a_col, p.b_row);
        if SHAPE == UPPER && diagonal {
            let (a, b) = (p.a.add(m * a_row + m * a_col), p.b.add(m * b_row + n));
            each_row!(MR, K => {
                let right = load::<V, NV>(b.add(K * b_row));
                let a = a.add(K * a_col);
                each_row!(MR, I => if I <= K {
                    sum[I] = fma(V::splat(*a.add(I * a_row)), right, sum[I]);
                });
            });
        }
        let mut a = p.a.wrapping_add(m * a_row + first * a_col);
        let mut below = opaque!(a.wrapping_add(4 * a_row));
        let [one, three] = [opaque!(4 * a_row), opaque!(12 * a_row)];
        let mut b = p.b.wrapping_add(first * b_row + n);
        for _ in first..last {
            let right = load::<V, NV>(b);
            each_row!(MR, I => {
                let four = if I < 4 { a } else { below };
                let at = four.byte_add([0, one, 2 * one, three][I % 4]);
                sum[I] = fma(V::splat(*at), right, sum[I]);
            });
            a = a.wrapping_add(a_col);
            below = below.wrapping_add(a_col);
            b = b.wrapping_add(b_row);
        }
        if SHAPE == LOWER && diagonal {
            each_row!(MR, K => {
                let right = load::<V, NV>(b.wrapping_add(K * b_row));
                let a = a.wrapping_add(K * a_col);
                each_row!(MR, I => if I >= K {
                    sum[I] = fma(V::splat(*a.add(I * a_row)), right, sum[I]);
                });
            });
        }
        let c = p.c.add(m * p.c_row + n);
        each_row!(MR, I => store(sum[I], c.add(I * p.c_row)));
    }
}

/// The statement for each vector of a row, with its number as a constant, as for rows.
macro_rules! each_vector {
    ($count:ident, $i:ident => $body:expr) => {
        each_vector!(@ $count, $i => $body; 0 1 2 3)
    };
    (@ $count:ident, $i:ident => $body:expr; $($number:literal)*) => {
        $(if $number < $count {
            const $i: usize = $number;
            $body
        })*
    };
}

#[inline(always)]
unsafe fn load<V: Vector, const NV: usize>(p: *const f32) -> [V; NV] {
    // SAFETY: the caller vouches for NV vectors.
    unsafe {
        let mut row = [V::zero(); NV];
        each_vector!(NV, I => row[I] = V::load(p.add(I * V::WIDTH)));
        row
    }
}

#[inline(always)]
unsafe fn fma<V: Vector, const NV: usize>(a: V, b: [V; NV], mut sum: [V; NV]) -> [V; NV] {
    // SAFETY: as the caller's.
    unsafe {
        each_vector!(NV, I => sum[I] = a.fma(b[I], sum[I]));
        sum
    }
}

#[inline(always)]
unsafe fn store<V: Vector, const NV: usize>(row: [V; NV], p: *mut f32) {
    // SAFETY: the caller vouches for NV vectors.
    unsafe {
        each_vector!(NV, I => row[I].store(p.add(I * V::WIDTH)));
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
