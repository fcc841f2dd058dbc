//! Partials of `T = sum over t >= s and c of m[t,s] q[t,c] k[s,c] D[t,s,c]`, where `D` is `exp` of
//! the log decays `l[r,c]` summed over `s < r <= t`.
//!
//! A strict form reads before its step's decay, which is the form above with readers (rows of q,
//! m and what is indexed by t) one step earlier: row 0 reads nothing.
//!
//! Steps stand in blocks of 16. For a reader t in block I and a writer s in an earlier block J the
//! decay is a product of three, each `exp` of a directly summed interval: from I's start to t
//! (`enter`), over the blocks between (`gap`), from s to J's end (`leave`). The first and the last
//! go into q and k, so a pair of blocks is a matrix product. Within a block the decay is a running
//! product of at most 15 factors. No factor is divided by and no sum is a difference, so what
//! decays is lost and nothing else.

mod form;
mod within;

use super::matmul::{Product, full};
use super::vector::Vector;
use form::{BLOCK, Parts};
use within::{log_decay_within, pair_sums, read_within, write_within};

pub use form::{Form, workspace};

/// Channel vectors that are worked on side by side, so that their chains of products overlap.
const SIDE: usize = 4;

/// The statement for every group of channel vectors: `c` is the first channel, `N` their number.
macro_rules! each_group {
    ($form:expr, $vector:ident, $kernel:ident($($argument:expr),*)) => {
        let mut c = 0;
        while c + SIDE * $vector::WIDTH <= $form.channels {
            $kernel::<$vector, SIDE>($form, $($argument,)* c);
            c += SIDE * $vector::WIDTH;
        }
        while c < $form.channels {
            $kernel::<$vector, 1>($form, $($argument,)* c);
            c += $vector::WIDTH;
        }
    };
}

/// By `m`: `out[t,s] = sum over c of q[t,c] k[s,c] D[t,s,c]`, zero where `t < s`.
///
/// # Safety
///
/// The tiles have their sizes, rows padded to 16 numbers, and do not overlap `out` or `work`; the
/// CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn weights<V: Vector>(
    form: &Form,
    transpose: impl Fn(*mut f32, usize, *const f32, usize, usize, usize),
) {
    // SAFETY: see each part; the caller vouches for the tiles.
    unsafe {
        let p = form.parts();
        form.zero::<V>(form.out, form.rows, form.rows);
        let form = form.shifted(true);
        form.prepare::<V>(&p, true, true);
        if form.blocks() > 1 {
            transpose(
                p.turned.at,
                p.turned.row,
                p.k.at,
                p.k.row,
                form.steps,
                form.channels,
            );
        }
        for i in 0..form.blocks() {
            for j in 0..if form.reading(i) > 0 { i } else { 0 } {
                form.gap::<V>(&p, i, j);
                for c in (0..form.channels).step_by(V::WIDTH) {
                    let gap = p.gap.load::<V>(0, c);
                    for r in 0..form.reading(i) {
                        let q = p.q.load::<V>(i * BLOCK + r, c);
                        p.product.store(r, c, q.mul(gap));
                    }
                }
                let product = Product {
                    a: p.product.at,
                    a_row: p.product.row,
                    b: p.turned.at(0, j * BLOCK),
                    b_row: p.turned.row,
                    c: form.out.at(i * BLOCK, j * BLOCK),
                    c_row: form.out.row,
                    m: form.reading(i),
                    n: BLOCK,
                    k: form.channels,
                    ..Product::EMPTY
                };
                full::<V>(&product);
            }
            weights_within::<V>(&form, &p, i);
        }
    }
}

/// The pairs of one block.
#[inline(always)]
unsafe fn weights_within<V: Vector>(form: &Form, p: &Parts, block: usize) {
    let start = block * BLOCK;
    for t in start..start + form.reading(block) {
        // SAFETY: start <= s <= t < steps.
        unsafe {
            let mut sums = [V::zero(); BLOCK];
            each_group!(form, V, pair_sums(p, start, t, &mut sums));
            for s in start..=t {
                *form.out.at(t, s) = sums[s - start].sum();
            }
        }
    }
}

/// By `q`: `out[t,c] = sum over s of m[t,s] k[s,c] D[t,s,c]`.
///
/// # Safety
///
/// As [`weights`].
#[inline(always)]
pub unsafe fn query<V: Vector>(form: &Form) {
    // SAFETY: see each part; the caller vouches for the tiles.
    unsafe {
        let p = form.parts();
        form.zero::<V>(form.out, form.rows, form.channels);
        let form = form.shifted(true);
        form.prepare::<V>(&p, false, true);
        for i in 0..form.blocks() {
            let (start, count) = (i * BLOCK, form.reading(i));
            for j in 0..if count > 0 { i } else { 0 } {
                form.gap::<V>(&p, i, j);
                form.read_block::<V>(&p, i, j);
                form.gather::<V>(&p, form.out, start, count);
            }
            for t in start..start + count {
                each_group!(&form, V, read_within(&p, start, t));
            }
        }
    }
}

/// By `k`: `out[s,c] = sum over t of m[t,s] q[t,c] D[t,s,c]`.
///
/// # Safety
///
/// As [`weights`].
#[inline(always)]
pub unsafe fn key<V: Vector>(form: &Form) {
    // SAFETY: see each part; the caller vouches for the tiles.
    unsafe {
        let p = form.parts();
        form.zero::<V>(form.out, form.rows, form.channels);
        let form = form.shifted(false);
        form.prepare::<V>(&p, true, false);
        for j in 0..form.blocks() {
            let (start, end) = (j * BLOCK, j * BLOCK + form.reading(j));
            for i in (j + 1..form.blocks()).filter(|&i| form.reading(i) > 0) {
                form.gap::<V>(&p, i, j);
                form.write_block::<V>(&p, i, j);
                form.gather::<V>(&p, form.out, start, BLOCK);
            }
            for s in start..start + form.writing(j) {
                each_group!(&form, V, write_within(&p, s, end, j + 1 < form.blocks()));
            }
        }
    }
}

/// By `l`: `out[r,c] = sum over s < r <= t of m[t,s] q[t,c] k[s,c] D[t,s,c]`.
///
/// # Safety
///
/// As [`weights`].
#[inline(always)]
pub unsafe fn log_decay<V: Vector>(form: &Form) {
    // SAFETY: see each part; the caller vouches for the tiles.
    unsafe {
        let p = form.parts();
        form.zero::<V>(form.out, form.rows, form.channels);
        let form = form.shifted(false);
        form.prepare::<V>(&p, true, true);
        let blocks = form.blocks();
        if blocks > 1 {
            form.zero::<V>(p.readers, form.steps, form.channels);
            form.zero::<V>(p.writers, form.steps, form.channels);
        }
        for i in 0..blocks {
            let (start, count) = (i * BLOCK, form.reading(i));
            for j in 0..if count > 0 { i } else { 0 } {
                form.gap::<V>(&p, i, j);
                form.read_block::<V>(&p, i, j);
                form.gather::<V>(&p, p.readers, start, count);
                over::<V>(&form, &p, i, j);
                form.write_block::<V>(&p, i, j);
                form.gather::<V>(&p, p.writers, j * BLOCK, BLOCK);
            }
            for t in start..start + count {
                each_group!(&form, V, log_decay_within(&p, start, t));
            }
        }
        if blocks == 1 {
            return;
        }
        for block in 0..blocks {
            let (start, count) = (block * BLOCK, form.writing(block));
            for c in (0..form.channels).step_by(V::WIDTH) {
                let mut sum = V::zero();
                if block > 0 {
                    for r in (start..start + form.reading(block)).rev() {
                        sum = p.q.load::<V>(r, c).fma(p.readers.load(r, c), sum);
                        form.out.accumulate(r, c, sum);
                    }
                }
                let mut sum = V::zero();
                for r in start..start + count {
                    form.out.accumulate(r, c, sum);
                    sum = p.k.load::<V>(r, c).fma(p.writers.load(r, c), sum);
                }
            }
        }
    }
}

/// Adds all pairs of blocks `i` and `j` to every step of the blocks between them.
#[inline(always)]
unsafe fn over<V: Vector>(form: &Form, p: &Parts, i: usize, j: usize) {
    if i == j + 1 {
        return;
    }
    for c in (0..form.channels).step_by(V::WIDTH) {
        // SAFETY: rows below `steps`, columns inside the padding.
        unsafe {
            let mut sum = V::zero();
            for r in 0..form.reading(i) {
                let q = p.q.load::<V>(i * BLOCK + r, c);
                sum = q.fma(p.product.load(r, c), sum);
            }
            let sum = sum.mul(p.gap.load(0, c));
            for r in (j + 1) * BLOCK..i * BLOCK {
                form.out.accumulate(r, c, sum);
            }
        }
    }
}
