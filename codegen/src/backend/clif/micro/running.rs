//! Running extremes and angles: one step after the other, a block of columns at a time.
//!
//! The value of a column stands in a register through all steps. NaN is kept, as everywhere: what is
//! compared with NaN is NaN, so neither `maxps` nor `f32::max` would do. An angle adds up in f64 within the
//! chunk, so it is rounded once in a chunk and not at every step.

use baton_ir::pointwise::wrap;
use baton_ir::recurrence::BinaryFn;
use baton_ir::running::Bound;

/// Columns of a block.
const BLOCK: usize = 16;

/// The operands; strides count numbers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Running {
    /// What is added to the value that is kept.
    pub shift: *const f32,
    /// From step to step.
    pub shift_row: usize,
    /// What it is compared with.
    pub floor: *const f32,
    /// From step to step.
    pub floor_row: usize,
    /// What entered.
    pub entering: *const f32,
    /// The result.
    pub out: *mut f32,
    /// From row to row of the result.
    pub out_row: usize,
    /// Steps that are run.
    pub steps: usize,
    /// Columns.
    pub n: usize,
}

/// What the kernel is told of a bound.
pub fn kind<Id>(bound: Bound<Id>) -> i64 {
    match bound {
        Bound::Extreme {
            function: BinaryFn::Max,
            ..
        } => MAX,
        Bound::Extreme { .. } => MIN,
        Bound::Turns => TURNS,
    }
}

const MIN: i64 = 0;
const MAX: i64 = 1;
const TURNS: i64 = 2;

/// Runs all columns.
///
/// # Safety
///
/// The pointers and strides name tiles of `steps` rows (one of entering) and `n` columns; the result overlaps
/// nothing.
#[inline(always)]
pub unsafe fn running(r: &Running, kind: i64) {
    let mut from = 0;
    while from < r.n {
        let n = (r.n - from).min(BLOCK);
        // SAFETY: columns from..from + n are inside.
        unsafe {
            match (kind, n) {
                (TURNS, _) => turns(r, from, n),
                (_, BLOCK) => columns::<BLOCK>(r, kind == MAX, from, BLOCK),
                (_, 1) => columns::<1>(r, kind == MAX, from, 1),
                _ => columns::<BLOCK>(r, kind == MAX, from, n),
            }
        }
        from += n;
    }
}

/// `n` columns of angles, at most a block.
#[inline(always)]
unsafe fn turns(r: &Running, from: usize, n: usize) {
    let mut value = [0.0f64; BLOCK];
    // SAFETY: as the caller's.
    unsafe {
        for (j, value) in value[..n].iter_mut().enumerate() {
            *value = f64::from(*r.entering.add(from + j));
        }
        for t in 0..r.steps {
            let shift = r.shift.add(t * r.shift_row + from);
            let out = r.out.add(t * r.out_row + from);
            for (j, value) in value[..n].iter_mut().enumerate() {
                *value = wrap(*value + f64::from(*shift.add(j)));
                *out.add(j) = *value as f32;
            }
        }
    }
}

/// `n` columns, in room for N.
#[inline(always)]
unsafe fn columns<const N: usize>(r: &Running, max: bool, from: usize, n: usize) {
    let mut value = [0.0; N];
    let at = |t: usize, stride: usize| t * stride + from;
    // SAFETY: as the caller's.
    unsafe {
        for (j, value) in value[..n].iter_mut().enumerate() {
            *value = *r.entering.add(from + j);
        }
        for t in 0..r.steps {
            let (shift, floor) = (
                r.shift.add(at(t, r.shift_row)),
                r.floor.add(at(t, r.floor_row)),
            );
            let out = r.out.wrapping_add(at(t, r.out_row));
            for (j, value) in value[..n].iter_mut().enumerate() {
                let (kept, floor) = (*value + *shift.add(j), *floor.add(j));
                let taken = match max {
                    true => kept > floor,
                    false => kept < floor,
                };
                let known = !kept.is_nan() && !floor.is_nan();
                let found = if taken { kept } else { floor };
                *value = if known { found } else { f32::NAN };
                *out.add(j) = *value;
            }
        }
    }
}
