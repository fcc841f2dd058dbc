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

use super::matmul::{Product, Shape, matmul};
use super::vector::{Vector, exp};

/// Steps of a block.
const BLOCK: usize = 16;
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

/// A matrix in memory: first number and distance of rows in numbers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Rows {
    /// The first number.
    pub at: *mut f32,
    /// From row to row.
    pub row: usize,
}

impl Rows {
    /// `self[r, c]`
    #[inline(always)]
    unsafe fn at(self, r: usize, c: usize) -> *mut f32 {
        // SAFETY: the caller vouches for the index.
        unsafe { self.at.add(r * self.row + c) }
    }

    #[inline(always)]
    unsafe fn load<V: Vector>(self, r: usize, c: usize) -> V {
        // SAFETY: as the caller's.
        unsafe { V::load(self.at(r, c)) }
    }

    #[inline(always)]
    unsafe fn store<V: Vector>(self, r: usize, c: usize, x: V) {
        // SAFETY: as the caller's.
        unsafe { x.store(self.at(r, c)) }
    }

    /// Vectors side by side.
    #[inline(always)]
    unsafe fn side<V: Vector, const N: usize>(self, r: usize, c: usize) -> [V; N] {
        // SAFETY: as the caller's.
        unsafe {
            let mut side = [V::zero(); N];
            for (i, x) in side.iter_mut().enumerate() {
                *x = self.load(r, c + i * V::WIDTH);
            }
            side
        }
    }

    #[inline(always)]
    unsafe fn accumulate<V: Vector>(self, r: usize, c: usize, x: V) {
        // SAFETY: as the caller's.
        unsafe { self.store(r, c, self.load::<V>(r, c).add(x)) }
    }
}

/// The operands of a partial; the one that it is a partial by is not read.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Form {
    /// `[C, C]`
    pub m: Rows,
    /// `[C, n]`
    pub q: Rows,
    /// `[C, n]`
    pub k: Rows,
    /// `[C, n]`
    pub l: Rows,
    /// The result.
    pub out: Rows,
    /// C.
    pub steps: usize,
    /// n.
    pub channels: usize,
    /// 1 for a strict form.
    pub strict: usize,
    /// Room for [`workspace`] numbers.
    pub work: *mut f32,
}

/// Numbers of room that a partial needs.
pub fn workspace(steps: usize, channels: usize) -> usize {
    let (steps, channels) = (
        steps.next_multiple_of(BLOCK),
        channels.next_multiple_of(BLOCK),
    );
    // factor, enter, leave, q, k, sums of readers and of writers; k transposed; block sums, gap,
    // a product of two blocks.
    channels * (8 * steps + steps / BLOCK + 1 + BLOCK)
}

/// The parts of the workspace.
#[derive(Clone, Copy)]
struct Parts {
    factor: Rows,
    enter: Rows,
    leave: Rows,
    q: Rows,
    k: Rows,
    readers: Rows,
    writers: Rows,
    turned: Rows,
    sums: Rows,
    gap: Rows,
    product: Rows,
}

impl Form {
    /// The rows that read.
    #[inline(always)]
    fn readers(&self) -> usize {
        self.steps - self.strict
    }

    #[inline(always)]
    fn blocks(&self) -> usize {
        self.steps.div_ceil(BLOCK)
    }

    /// Readers of a block.
    #[inline(always)]
    fn reading(&self, block: usize) -> usize {
        self.readers().saturating_sub(block * BLOCK).min(BLOCK)
    }

    /// Steps of a block.
    #[inline(always)]
    fn writing(&self, block: usize) -> usize {
        (self.steps - block * BLOCK).min(BLOCK)
    }

    /// Readers moved to the step after whose decay they read.
    #[inline(always)]
    unsafe fn shifted(mut self, out: bool) -> Self {
        if self.strict == 1 {
            self.q.at = self.q.at.wrapping_add(self.q.row);
            self.m.at = self.m.at.wrapping_add(self.m.row);
            if out {
                self.out.at = self.out.at.wrapping_add(self.out.row);
            }
        }
        self
    }

    #[inline(always)]
    unsafe fn parts(&self) -> Parts {
        let row = self.channels.next_multiple_of(BLOCK);
        let steps = self.steps.next_multiple_of(BLOCK);
        let mut next = self.work;
        let mut take = |rows: usize, row: usize| {
            let part = Rows { at: next, row };
            next = next.wrapping_add(rows * row);
            part
        };
        Parts {
            factor: take(steps, row),
            enter: take(steps, row),
            leave: take(steps, row),
            q: take(steps, row),
            k: take(steps, row),
            readers: take(steps, row),
            writers: take(steps, row),
            turned: take(row, steps),
            sums: take(steps / BLOCK, row),
            gap: take(1, row),
            product: take(BLOCK, row),
        }
    }

    /// Fills `factor`, and with more than one block `enter`, `leave`, `sums` and the scaled `q`
    /// and `k`.
    #[inline(always)]
    unsafe fn prepare<V: Vector>(&self, p: &Parts, need_q: bool, need_k: bool) {
        // SAFETY: rows below `steps`, columns inside the padding.
        unsafe {
            for c in (0..self.channels).step_by(V::WIDTH) {
                for r in 0..self.steps {
                    p.factor.store(r, c, exp(self.l.load::<V>(r, c)));
                }
                if self.blocks() == 1 {
                    continue;
                }
                for block in 0..self.blocks() {
                    let (start, count) = (block * BLOCK, self.writing(block));
                    let mut sum = V::zero();
                    for r in start..start + count {
                        sum = sum.add(self.l.load::<V>(r, c));
                        if block > 0 && r < self.readers() {
                            let enter = exp(sum);
                            p.enter.store(r, c, enter);
                            if need_q {
                                p.q.store(r, c, enter.mul(self.q.load(r, c)));
                            }
                        }
                    }
                    p.sums.store(block, c, sum);
                    let mut sum = V::zero();
                    for r in (start..start + count).rev() {
                        let leave = exp(sum);
                        p.leave.store(r, c, leave);
                        if need_k {
                            p.k.store(r, c, leave.mul(self.k.load(r, c)));
                        }
                        sum = sum.add(self.l.load::<V>(r, c));
                    }
                }
            }
        }
    }

    /// Fills `gap` with the decay over the blocks between `i` and `j < i`.
    #[inline(always)]
    unsafe fn gap<V: Vector>(&self, p: &Parts, i: usize, j: usize) {
        for c in (0..self.channels).step_by(V::WIDTH) {
            // SAFETY: blocks below the number of blocks, columns inside the padding.
            unsafe {
                let mut sum = V::zero();
                for block in j + 1..i {
                    sum = sum.add(p.sums.load::<V>(block, c));
                }
                p.gap.store(0, c, exp(sum));
            }
        }
    }

    /// `product = m[I, J] k` (rows: the readers of I).
    #[inline(always)]
    unsafe fn read_block<V: Vector>(&self, p: &Parts, i: usize, j: usize) {
        // SAFETY: block J is whole, as block I > J has readers.
        unsafe {
            let product = Product {
                a: self.m.at(i * BLOCK, j * BLOCK),
                a_row: self.m.row,
                a_col: 1,
                b: p.k.at(j * BLOCK, 0),
                b_row: p.k.row,
                add: std::ptr::null(),
                add_row: 0,
                c: p.product.at,
                c_row: p.product.row,
                m: self.reading(i),
                n: p.k.row,
                k: BLOCK,
            };
            matmul::<V>(&product, Shape::Full);
        }
    }

    /// `product = m[I, J]' q` (rows: the writers of J).
    #[inline(always)]
    unsafe fn write_block<V: Vector>(&self, p: &Parts, i: usize, j: usize) {
        // SAFETY: block J is whole, as block I > J has readers.
        unsafe {
            let product = Product {
                a: self.m.at(i * BLOCK, j * BLOCK),
                a_row: 1,
                a_col: self.m.row,
                b: p.q.at(i * BLOCK, 0),
                b_row: p.q.row,
                add: std::ptr::null(),
                add_row: 0,
                c: p.product.at,
                c_row: p.product.row,
                m: BLOCK,
                n: p.q.row,
                k: self.reading(i),
            };
            matmul::<V>(&product, Shape::Full);
        }
    }

    /// `to[row..] += product * gap` for `count` rows.
    #[inline(always)]
    unsafe fn gather<V: Vector>(&self, p: &Parts, to: Rows, row: usize, count: usize) {
        for c in (0..self.channels).step_by(V::WIDTH) {
            // SAFETY: rows of the tile, columns inside the padding.
            unsafe {
                let gap = p.gap.load::<V>(0, c);
                for r in 0..count {
                    let sum = p.product.load::<V>(r, c).fma(gap, to.load(row + r, c));
                    to.store(row + r, c, sum);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn zero<V: Vector>(&self, tile: Rows, rows: usize, cols: usize) {
        for r in 0..rows {
            for c in (0..cols).step_by(V::WIDTH) {
                // SAFETY: inside the padded tile.
                unsafe { tile.store(r, c, V::zero()) }
            }
        }
    }
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
        form.zero::<V>(form.out, form.steps, form.steps);
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
                    a_col: 1,
                    b: p.turned.at(0, j * BLOCK),
                    b_row: p.turned.row,
                    add: std::ptr::null(),
                    add_row: 0,
                    c: form.out.at(i * BLOCK, j * BLOCK),
                    c_row: form.out.row,
                    m: form.reading(i),
                    n: BLOCK,
                    k: form.channels,
                };
                matmul::<V>(&product, Shape::Full);
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

/// Adds the pairs of reader `t`, lane by lane.
#[inline(always)]
unsafe fn pair_sums<V: Vector, const N: usize>(
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
        form.zero::<V>(form.out, form.steps, form.channels);
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

/// Adds the writers of reader `t`'s own block to what it read of earlier ones.
#[inline(always)]
unsafe fn read_within<V: Vector, const N: usize>(
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
        form.zero::<V>(form.out, form.steps, form.channels);
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

/// Adds the readers up to `end` of writer `s`'s own block to what later ones read.
#[inline(always)]
unsafe fn write_within<V: Vector, const N: usize>(
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
        form.zero::<V>(form.out, form.steps, form.channels);
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

/// The pairs of reader `t` with writers of its own block: what the writers up to each step left,
/// times what the reader sees of it.
#[inline(always)]
unsafe fn log_decay_within<V: Vector, const N: usize>(
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
