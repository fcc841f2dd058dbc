//! Transposition of a tile: what turns `A B'` into `A B` with contiguous rows.
//!
//! Blocks of 8 x 8 in registers, four of them at a time so that a line of the cache is filled by
//! neighbours in time; the rest number by number. The source is readable up to its
//! padded width, so a block may read columns past the last; it never writes past it.

/// `dst[c][r] = src[r][c]`, strides in numbers.
///
/// # Safety
///
/// `src` has `rows` rows readable up to the next multiple of 8 columns, `dst` has `cols` rows of
/// at least `rows` numbers; they do not overlap.
#[inline(always)]
pub unsafe fn transpose(
    dst: *mut f32,
    dst_row: usize,
    src: *const f32,
    src_row: usize,
    rows: usize,
    cols: usize,
    block: impl Fn(*mut f32, *const f32, usize),
) {
    let whole = rows - rows % 8;
    for corner in 0..whole.div_ceil(16) * cols.div_ceil(16) {
        let (high, wide) = (corner / cols.div_ceil(16), corner % cols.div_ceil(16));
        for part in 0..4 {
            let (r, c) = (16 * high + 8 * (part % 2), 16 * wide + 8 * (part / 2));
            if r < whole && c < cols {
                // SAFETY: r + 8 <= rows; columns are readable up to the multiple of 8.
                let (d, s) = unsafe { (dst.add(c * dst_row + r), src.add(r * src_row + c)) };
                block(d, s, 8.min(cols - c));
            }
        }
    }
    for c in 0..cols {
        for r in whole..rows {
            // SAFETY: inside both tiles.
            unsafe { *dst.add(c * dst_row + r) = *src.add(r * src_row + c) }
        }
    }
}

/// A block without an instruction set; writes `count` rows.
///
/// # Safety
///
/// `s` has 8 rows of 8 numbers, `d` has `count` rows of 8 numbers.
#[inline(always)]
pub unsafe fn block_portable(
    d: *mut f32,
    dst_row: usize,
    s: *const f32,
    src_row: usize,
    count: usize,
) {
    for c in 0..count {
        for r in 0..8 {
            // SAFETY: r < 8, c < count <= 8.
            unsafe { *d.add(c * dst_row + r) = *s.add(r * src_row + c) }
        }
    }
}

/// A block with AVX; writes `count` rows.
///
/// # Safety
///
/// As [`block_portable`], on a CPU with AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn block_avx(d: *mut f32, dst_row: usize, s: *const f32, src_row: usize, count: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller vouches for 8 x 8 numbers read and count x 8 written, and for AVX.
    unsafe {
        // Rows r and r + 4 side by side, so that no shuffle crosses the halves afterwards.
        let pair = |r: usize, c: usize| {
            let low = _mm_loadu_ps(s.add(r * src_row + c));
            let high = _mm_loadu_ps(s.add((r + 4) * src_row + c));
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
        };
        for half in 0..2 {
            let c = 4 * half;
            let (a, b) = (pair(0, c), pair(1, c));
            let (e, f) = (pair(2, c), pair(3, c));
            let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (ef_low, ef_high) = (_mm256_unpacklo_ps(e, f), _mm256_unpackhi_ps(e, f));
            let columns = [
                _mm256_shuffle_ps::<0x44>(ab_low, ef_low),
                _mm256_shuffle_ps::<0xee>(ab_low, ef_low),
                _mm256_shuffle_ps::<0x44>(ab_high, ef_high),
                _mm256_shuffle_ps::<0xee>(ab_high, ef_high),
            ];
            for (i, column) in columns.into_iter().enumerate() {
                if c + i < count {
                    _mm256_storeu_ps(d.add((c + i) * dst_row), column);
                }
            }
        }
    }
}
