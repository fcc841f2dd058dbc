//! The pairs of one block: running products of at most 15 factors, several vectors of channels at
//! a time.

use super::super::vector::Vector;
use super::form::{BLOCK, Form, Parts};

/// Adds the pairs of reader `t`, lane by lane.
#[inline(always)]
pub unsafe fn pair_sums<V: Vector, const N: usize>(
    form: &Form,
    p: &Parts,
    start: usize,
    t: usize,
    sums: &mut [V; BLOCK],
    c: usize,
) {
    // SAFETY: start <= s <= t < steps; channels are inside the padding.
    unsafe {
        let mut d = form.q.side::<V, N>(t, c);
        let last = form.channels - c;
        for s in (start..=t).rev() {
            let k = form.k.side::<V, N>(s, c);
            let factor = p.factor.side::<V, N>(s, c);
            let mut sum = sums[s - start];
            for i in 0..N {
                sum = match N * V::WIDTH <= last {
                    true => d[i].fma(k[i], sum),
                    // Past the last channel stands padding.
                    false => sum.add(d[i].mul(k[i]).first(last, V::zero())),
                };
                d[i] = d[i].mul(factor[i]);
            }
            sums[s - start] = sum;
        }
    }
}

/// Adds the writers of reader `t`'s own block to what it read of earlier ones.
#[inline(always)]
pub unsafe fn read_within<V: Vector, const N: usize>(
    form: &Form,
    p: &Parts,
    start: usize,
    t: usize,
    c: usize,
) {
    // SAFETY: start <= s <= t < steps; channels are inside the padding.
    unsafe {
        let mut sum = [V::zero(); N];
        for s in start..=t {
            let m = V::splat(*form.m.at(t, s));
            let factor = p.factor.side::<V, N>(s, c);
            let k = form.k.side::<V, N>(s, c);
            for i in 0..N {
                sum[i] = sum[i].fma(factor[i], m.mul(k[i]));
            }
        }
        for (i, sum) in sum.iter().enumerate() {
            let c = c + i * V::WIDTH;
            let earlier = match start > 0 {
                true => p.enter.load::<V>(t, c).mul(form.out.load(t, c)),
                false => V::zero(),
            };
            form.out.store(t, c, sum.add(earlier));
        }
    }
}

/// Adds the readers up to `end` of writer `s`'s own block to what later ones read.
#[inline(always)]
pub unsafe fn write_within<V: Vector, const N: usize>(
    form: &Form,
    p: &Parts,
    s: usize,
    end: usize,
    later: bool,
    c: usize,
) {
    // SAFETY: s <= t < end <= steps; channels are inside the padding.
    unsafe {
        let mut sum = [V::zero(); N];
        for t in (s..end).rev() {
            // The decay from t to t + 1; of the last reader it meets a sum of zero.
            let next = (t + 1).min(end - 1);
            let m = V::splat(*form.m.at(t, s));
            let factor = p.factor.side::<V, N>(next, c);
            let q = form.q.side::<V, N>(t, c);
            for i in 0..N {
                sum[i] = match t + 1 < end {
                    true => sum[i].fma(factor[i], m.mul(q[i])),
                    false => m.mul(q[i]),
                };
            }
        }
        for (i, sum) in sum.iter().enumerate() {
            let c = c + i * V::WIDTH;
            let after = match later {
                true => p.leave.load::<V>(s, c).mul(form.out.load(s, c)),
                false => V::zero(),
            };
            form.out.store(s, c, sum.add(after));
        }
    }
}

/// The pairs of reader `t` with writers of its own block: what the writers up to each step left,
/// times what the reader sees of it.
#[inline(always)]
pub unsafe fn log_decay_within<V: Vector, const N: usize>(
    form: &Form,
    p: &Parts,
    start: usize,
    t: usize,
    c: usize,
) {
    // SAFETY: start <= r <= t < steps; channels are inside the padding.
    unsafe {
        // left[r - start]: the writers before r, decayed up to r - 1.
        let mut left = [[V::zero(); N]; BLOCK];
        let mut sum = [V::zero(); N];
        for s in start..t {
            let m = V::splat(*form.m.at(t, s));
            let factor = p.factor.side::<V, N>(s, c);
            let k = form.k.side::<V, N>(s, c);
            for i in 0..N {
                sum[i] = sum[i].fma(factor[i], m.mul(k[i]));
            }
            left[s + 1 - start] = sum;
        }
        let mut seen = form.q.side::<V, N>(t, c);
        for r in (start + 1..=t).rev() {
            let factor = p.factor.side::<V, N>(r, c);
            for i in 0..N {
                seen[i] = seen[i].mul(factor[i]);
                let c = c + i * V::WIDTH;
                let sum = seen[i].fma(left[r - start][i], form.out.load(r, c));
                form.out.store(r, c, sum);
            }
        }
    }
}
