//! Copies between tiles and tensors outside, row by row.
//!
//! Outside, a row is contiguous and rows stand at any distance; nothing beyond a row's last
//! number is touched, on either side.

use super::ahead::Ahead;
use super::vector::Vector;

/// What becomes of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Copy,
    Add,
    Zero,
}

/// Changes one row: in vectors, then singly for its last numbers.
#[inline(always)]
unsafe fn row<V: Vector>(dst: *mut f32, src: *const f32, cols: usize, change: Change) {
    let mut i = 0;
    // SAFETY: i + WIDTH <= cols for vectors, i < cols for the rest.
    unsafe {
        while i + V::WIDTH <= cols {
            let value = match change {
                Change::Copy => V::load(src.add(i)),
                Change::Add => V::load(dst.add(i)).add(V::load(src.add(i))),
                Change::Zero => V::zero(),
            };
            value.store(dst.add(i));
            i += V::WIDTH;
        }
        while i < cols {
            *dst.add(i) = match change {
                Change::Copy => *src.add(i),
                Change::Add => *dst.add(i) + *src.add(i),
                Change::Zero => 0.0,
            };
            i += 1;
        }
    }
}

/// Rows and columns, where rows without gaps are one.
#[inline(always)]
fn joined(strides: [i64; 2], rows: i64, cols: i64) -> [i64; 2] {
    match strides == [4 * cols; 2] {
        true => [1.min(rows), rows * cols],
        false => [rows, cols],
    }
}

/// Changes `rows` rows of `cols` numbers; strides in bytes.
#[inline(always)]
unsafe fn change<V: Vector>(
    (dst, dst_stride): (*mut f32, i64),
    (src, src_stride): (*const f32, i64),
    [rows, cols]: [i64; 2],
    change: Change,
) {
    let [rows, cols] = joined([dst_stride, src_stride], rows, cols);
    let rows = rows.max(0) as usize;
    let sides = [
        (src, Ahead::of(src_stride, cols, false)),
        (dst.cast_const(), Ahead::of(dst_stride, cols, true)),
    ];
    for (first, side) in sides {
        side.ask(first, 0, side.rows.min(rows));
    }
    for r in 0..rows {
        for (first, side) in sides {
            let next = r + side.rows;
            side.ask(first, next, rows.min(next + 1));
        }
        // SAFETY: the caller vouches for every row; `row` stays within `cols`.
        unsafe {
            row::<V>(
                dst.byte_offset(r as isize * dst_stride as isize),
                src.byte_offset(r as isize * src_stride as isize),
                cols as usize,
                change,
            )
        }
    }
}

/// Copies `rows` rows of `cols` numbers; strides in bytes.
///
/// # Safety
///
/// All rows lie inside one tensor on each side; the CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn copy<V: Vector>(
    dst: *mut f32,
    dst_stride: i64,
    src: *const f32,
    src_stride: i64,
    rows: i64,
    cols: i64,
) {
    // SAFETY: as the caller's.
    unsafe {
        change::<V>(
            (dst, dst_stride),
            (src, src_stride),
            [rows, cols],
            Change::Copy,
        )
    }
}

/// Adds `rows` rows of `cols` numbers to the destination; strides in bytes.
///
/// # Safety
///
/// As [`copy`].
#[inline(always)]
pub unsafe fn add<V: Vector>(
    dst: *mut f32,
    dst_stride: i64,
    src: *const f32,
    src_stride: i64,
    rows: i64,
    cols: i64,
) {
    // SAFETY: as the caller's.
    unsafe {
        change::<V>(
            (dst, dst_stride),
            (src, src_stride),
            [rows, cols],
            Change::Add,
        )
    }
}

/// Fills rows `from..to` of a tile with zero, or with row `from - 1` when `repeat`; stride in
/// bytes.
///
/// # Safety
///
/// Rows up to `to` lie inside the tile, and `from >= 1` when `repeat`; the CPU has `V`'s instruction set.
#[inline(always)]
pub unsafe fn fill<V: Vector>(
    dst: *mut f32,
    stride: i64,
    from: i64,
    to: i64,
    cols: i64,
    repeat: i64,
) {
    for r in from as isize..to as isize {
        // SAFETY: as the caller vouches; row `from - 1` is not written.
        unsafe {
            let d = dst.byte_offset(r * stride as isize);
            let s = dst.wrapping_byte_offset((from as isize - 1) * stride as isize);
            match repeat != 0 {
                true => row::<V>(d, s, cols as usize, Change::Copy),
                false => row::<V>(d, s, cols as usize, Change::Zero),
            }
        }
    }
}
