//! The operands of a trilinear form, its workspace, and products of two blocks.

use super::super::matmul::{Product, full};
use super::super::vector::{Vector, exp};

/// Steps of a block.
pub const BLOCK: usize = 16;
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
    pub unsafe fn at(self, r: usize, c: usize) -> *mut f32 {
        // SAFETY: the caller vouches for the index.
        unsafe { self.at.add(r * self.row + c) }
    }

    #[inline(always)]
    pub unsafe fn load<V: Vector>(self, r: usize, c: usize) -> V {
        // SAFETY: as the caller's.
        unsafe { V::load(self.at(r, c)) }
    }

    #[inline(always)]
    pub unsafe fn store<V: Vector>(self, r: usize, c: usize, x: V) {
        // SAFETY: as the caller's.
        unsafe { x.store(self.at(r, c)) }
    }

    /// Vectors side by side.
    #[inline(always)]
    pub unsafe fn side<V: Vector, const N: usize>(self, r: usize, c: usize) -> [V; N] {
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
    pub unsafe fn accumulate<V: Vector>(self, r: usize, c: usize, x: V) {
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
    /// Valid steps: those past the end are neither readers nor writers.
    pub steps: usize,
    /// C; rows of the result from `steps` on are zero.
    pub rows: usize,
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
pub struct Parts {
    pub factor: Rows,
    pub enter: Rows,
    pub leave: Rows,
    pub q: Rows,
    pub k: Rows,
    pub readers: Rows,
    pub writers: Rows,
    pub turned: Rows,
    pub sums: Rows,
    pub gap: Rows,
    pub product: Rows,
}

impl Form {
    /// The rows that read.
    #[inline(always)]
    pub fn readers(&self) -> usize {
        self.steps - self.strict
    }

    #[inline(always)]
    pub fn blocks(&self) -> usize {
        self.steps.div_ceil(BLOCK)
    }

    /// Readers of a block.
    #[inline(always)]
    pub fn reading(&self, block: usize) -> usize {
        self.readers().saturating_sub(block * BLOCK).min(BLOCK)
    }

    /// Steps of a block.
    #[inline(always)]
    pub fn writing(&self, block: usize) -> usize {
        (self.steps - block * BLOCK).min(BLOCK)
    }

    /// Readers moved to the step after whose decay they read.
    #[inline(always)]
    pub unsafe fn shifted(mut self, out: bool) -> Self {
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
    pub unsafe fn parts(&self) -> Parts {
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
    pub unsafe fn prepare<V: Vector>(&self, p: &Parts, need_q: bool, need_k: bool) {
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
    pub unsafe fn gap<V: Vector>(&self, p: &Parts, i: usize, j: usize) {
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
    pub unsafe fn read_block<V: Vector>(&self, p: &Parts, i: usize, j: usize) {
        // SAFETY: block J is whole, as block I > J has readers.
        unsafe {
            let product = Product {
                a: self.m.at(i * BLOCK, j * BLOCK),
                a_row: self.m.row,
                b: p.k.at(j * BLOCK, 0),
                b_row: p.k.row,
                c: p.product.at,
                c_row: p.product.row,
                m: self.reading(i),
                n: p.k.row,
                k: BLOCK,
                ..Product::EMPTY
            };
            full::<V>(&product);
        }
    }

    /// `product = m[I, J]' q` (rows: the writers of J).
    #[inline(always)]
    pub unsafe fn write_block<V: Vector>(&self, p: &Parts, i: usize, j: usize) {
        // SAFETY: block J is whole, as block I > J has readers.
        unsafe {
            let product = Product {
                a: self.m.at(i * BLOCK, j * BLOCK),
                a_row: 1,
                a_col: self.m.row,
                b: p.q.at(i * BLOCK, 0),
                b_row: p.q.row,
                c: p.product.at,
                c_row: p.product.row,
                m: BLOCK,
                n: p.q.row,
                k: self.reading(i),
                ..Product::EMPTY
            };
            full::<V>(&product);
        }
    }

    /// `to[row..] += product * gap` for `count` rows.
    #[inline(always)]
    pub unsafe fn gather<V: Vector>(&self, p: &Parts, to: Rows, row: usize, count: usize) {
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
    pub unsafe fn zero<V: Vector>(&self, tile: Rows, rows: usize, cols: usize) {
        for r in 0..rows {
            for c in (0..cols).step_by(V::WIDTH) {
                // SAFETY: inside the padded tile.
                unsafe { tile.store(r, c, V::zero()) }
            }
        }
    }
}
