//! Products entry by entry, written or summed: what most maps are.
//!
//! A factor is a tile, a row for all rows, or a number for each row or for all. Factors are multiplied in their order, as
//! the map says it. What lies beyond a diagonal or past the last valid row is zero and not the product of anything: it
//! is neither read nor summed.

use super::vector::Vector;

/// The most factors.
pub const MOST: usize = 3;

/// Beside the bits of factors that are numbers of a row: one of the factors is a decay, so what is below the normal numbers is zero.
pub const DECAYED: i64 = 1 << MOST;

/// The operands; strides count numbers.
#[repr(C)]
pub struct Factors {
    /// The first number of each factor.
    pub at: [*const f32; MOST],
    /// From one row's to the next.
    pub row: [usize; MOST],
    /// The result: a tile, a number for each row, or one.
    pub out: *mut f32,
    /// From row to row of it.
    pub out_row: usize,
    /// Rows.
    pub rows: usize,
    /// Rows that are products.
    pub valid: usize,
    /// Columns.
    pub cols: usize,
    /// How the columns of a row end: at the last one, with its own number (1), before it (2).
    pub lower: usize,
}

/// What becomes of the products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum Into {
    /// They are written.
    Tile = 0,
    /// Each row is summed.
    Rows = 1,
    /// All are.
    One = 2,
}

const TILE: u8 = Into::Tile as u8;
const ROWS: u8 = Into::Rows as u8;
const ONE: u8 = Into::One as u8;

/// Multiplies `count` factors, of which the second and the third are numbers of a row where `numbers` has their bits.
///
/// # Safety
///
/// Rows of tiles and of the result are readable and writable up to the next multiple of 16 columns; the result is a factor's own
/// place or overlaps none; the CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn multiply<V: Vector>(f: &Factors, count: i64, numbers: i64, into: i64) {
    macro_rules! kind {
        ($count:literal, $numbers:literal) => {
            // SAFETY: as the caller vouches.
            unsafe {
                match into {
                    1 => each::<V, $count, $numbers, ROWS>(f),
                    2 => each::<V, $count, $numbers, ONE>(f),
                    _ => each::<V, $count, $numbers, TILE>(f),
                }
            }
        };
    }
    match (count, numbers) {
        (1, _) => kind!(1, 0),
        (2, 0) => kind!(2, 0),
        (2, _) => kind!(2, 2),
        (_, 0) => kind!(3, 0),
        (_, 2) => kind!(3, 2),
        (_, 4) => kind!(3, 4),
        _ => kind!(3, 6),
    }
}

#[inline(always)]
unsafe fn each<V: Vector, const COUNT: usize, const NUMBERS: u8, const INTO: u8>(f: &Factors) {
    let padded = f.cols.next_multiple_of(V::WIDTH);
    // SAFETY: rows are inside, and columns up to the padded width; as the caller vouches.
    unsafe {
        let mut all = [V::zero(); 4];
        for r in 0..f.rows {
            let out = f.out.wrapping_add(r * f.out_row);
            let end = match f.lower {
                _ if r >= f.valid => 0,
                0 => f.cols,
                lower => f.cols.min(r + 2 - lower),
            };
            let at: [*const f32; MOST] =
                std::array::from_fn(|i| f.at[i].wrapping_add(r * f.row[i]));
            let is_number = |i: usize| NUMBERS & 1 << i != 0;
            let number: [V; MOST] = std::array::from_fn(|i| match i < COUNT && is_number(i) {
                true => V::splat(*at[i]),
                false => V::zero(),
            });
            let product = |c: usize| {
                let mut x = V::load(at[0].add(c));
                for i in 1..COUNT {
                    x = x.mul(match is_number(i) {
                        true => number[i],
                        false => V::load(at[i].add(c)),
                    });
                }
                x
            };
            let mut own = [V::zero(); 4];
            let sums = if INTO == ONE { &mut all } else { &mut own };
            let whole = end - end % V::WIDTH;
            let mut c = 0;
            while c + 4 * V::WIDTH <= whole {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let at = c + i * V::WIDTH;
                    match INTO {
                        TILE => product(at).store(out.add(at)),
                        _ => *sum = sum.add(product(at)),
                    }
                }
                c += 4 * V::WIDTH;
            }
            while c < whole {
                match INTO {
                    TILE => product(c).store(out.add(c)),
                    _ => sums[0] = sums[0].add(product(c)),
                }
                c += V::WIDTH;
            }
            if c < end {
                let rest = product(c).first(end - c, V::zero());
                match INTO {
                    TILE => rest.store(out.add(c)),
                    _ => sums[1] = sums[1].add(rest),
                }
                c += V::WIDTH;
            }
            match INTO {
                TILE => {
                    while c < padded {
                        V::zero().store(out.add(c));
                        c += V::WIDTH;
                    }
                }
                ROWS => *out = total(own),
                _ => {}
            }
        }
        if INTO == ONE {
            *f.out = total(all);
        }
    }
}

#[inline(always)]
unsafe fn total<V: Vector>([s, t, u, v]: [V; 4]) -> f32 {
    // SAFETY: as the caller vouches.
    unsafe { s.add(t).add(u.add(v)).sum() }
}
