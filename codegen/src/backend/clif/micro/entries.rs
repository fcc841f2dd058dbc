//! The kernels of each instruction set as tables of C functions.
//!
//! A kernel's body is generic; here it meets `#[target_feature]`. Arguments are 64-bit words;
//! strides of tiles count numbers, strides of tensors outside bytes.

use super::matmul::{Product, Shape};
use super::multiply::Factors;
use super::running::Running;
use super::solve::System;
use super::subnormal::zeroed;
use super::trilinear::Form;
use super::vector::Portable;
use super::{decay, functions, matmul, multiply, rows, running, solve, transpose, trilinear};
use baton_ir::recurrence::UnaryFn;
use std::sync::OnceLock;

type Copy = unsafe extern "C" fn(*mut f32, i64, *const f32, i64, i64, i64);
type Tile = unsafe extern "C" fn(*mut f32, i64, *const f32, i64, i64, i64, i64);

/// The micro-kernels for one instruction set.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// The instruction set.
    pub name: &'static str,
    /// `(dst, stride, src, stride, rows, cols)`: copies rows; strides in bytes.
    pub copy: Copy,
    /// The same, adding.
    pub add: Copy,
    /// `(dst, stride, from, to, cols, repeat)`: fills rows past the end; stride in bytes.
    pub fill: unsafe extern "C" fn(*mut f32, i64, i64, i64, i64, i64),
    /// `(product, shape)`
    pub matmul: unsafe extern "C" fn(*const Product, i64),
    /// `(factors, count, numbers, into)`: products entry by entry.
    pub multiply: unsafe extern "C" fn(*const Factors, i64, i64, i64),
    /// `(product)`: a matrix times a column.
    pub dot_rows: unsafe extern "C" fn(*const Product),
    /// `(dst, row, src, row, rows, cols)`: transposes.
    pub transpose: Copy,
    /// `(out, row, l, _, c, _, strict)`
    pub decay_between: Tile,
    /// `(out, row, x, row, rows, cols, flags)`: flags as in `scan_flags`.
    pub scan: Tile,
    /// `(out, _, x, row, c, work, strict)`
    pub spread_between: Tile,
    /// `(dst, src, factors, rows, columns, function)`: a function, by its place in the list, of every number.
    pub function: unsafe extern "C" fn(*mut f32, *const f32, *const f32, i64, i64, i64),
    /// `(system, transposed)`
    pub solve: unsafe extern "C" fn(*const System, i64),
    /// `(operands, max)`
    pub running: unsafe extern "C" fn(*const Running, i64),
    /// `(form)` by m.
    pub weights: unsafe extern "C" fn(*const Form),
    /// `(form)` by q.
    pub query: unsafe extern "C" fn(*const Form),
    /// `(form)` by k.
    pub key: unsafe extern "C" fn(*const Form),
    /// `(form)` by l.
    pub log_decay: unsafe extern "C" fn(*const Form),
}

/// A scan's kind in one word.
pub fn scan_flags(reverse: bool, inclusive: bool, exp: bool, total: bool) -> i64 {
    i64::from(reverse) | i64::from(inclusive) << 1 | i64::from(exp) << 2 | i64::from(total) << 3
}

macro_rules! kernels {
    ($table:ident, $name:literal, $vector:ty, $block:path $(, #[$feature:meta])?) => {
        mod $table {
            use super::*;
            #[allow(unused_imports)]
            #[cfg(target_arch = "x86_64")]
            use std::arch::x86_64::*;

            pub const KERNELS: Kernels = Kernels {
                name: $name, copy, add, fill, matmul, multiply, dot_rows, transpose, decay_between, scan,
                spread_between, function, solve, running, weights, query, key, log_decay,
            };

            // SAFETY, here and below: generated code passes what each kernel asks for, and this
            // table is chosen only where the CPU has the instruction set.
            $(#[$feature])?
            unsafe extern "C" fn copy(d: *mut f32, ds: i64, s: *const f32, ss: i64, r: i64, c: i64) {
                unsafe { rows::copy::<$vector>(d, ds, s, ss, r, c) }
            }
            $(#[$feature])?
            unsafe extern "C" fn add(d: *mut f32, ds: i64, s: *const f32, ss: i64, r: i64, c: i64) {
                unsafe { rows::add::<$vector>(d, ds, s, ss, r, c) }
            }
            $(#[$feature])?
            unsafe extern "C" fn fill(d: *mut f32, s: i64, from: i64, to: i64, c: i64, repeat: i64) {
                unsafe { rows::fill::<$vector>(d, s, from, to, c, repeat) }
            }
            $(#[$feature])?
            unsafe extern "C" fn matmul(p: *const Product, shape: i64) {
                let shape = match shape {
                    1 => Shape::LowerA,
                    2 => Shape::UpperA,
                    3 => Shape::LowerC,
                    4 => Shape::StrictLowerA,
                    5 => Shape::StrictUpperA,
                    _ => Shape::Full,
                };
                zeroed(|| unsafe { matmul::matmul::<$vector>(&*p, shape) })
            }
            $(#[$feature])?
            unsafe extern "C" fn multiply(f: *const Factors, count: i64, numbers: i64, into: i64) {
                let numbers_of_a_row = numbers & !multiply::DECAYED;
                let run = || unsafe {
                    multiply::multiply::<$vector>(&*f, count, numbers_of_a_row, into)
                };
                match numbers == numbers_of_a_row {
                    true => run(),
                    false => zeroed(run),
                }
            }
            $(#[$feature])?
            unsafe extern "C" fn dot_rows(p: *const Product) {
                zeroed(|| unsafe { matmul::dot_rows::<$vector>(&*p) })
            }
            $(#[$feature])?
            unsafe fn turn(d: *mut f32, dr: usize, s: *const f32, sr: usize, r: usize, c: usize) {
                unsafe {
                    transpose::transpose(d, dr, s, sr, r, c, |d, s, n| $block(d, dr, s, sr, n))
                }
            }
            $(#[$feature])?
            unsafe extern "C" fn transpose(
                d: *mut f32, dr: i64, s: *const f32, sr: i64, r: i64, c: i64,
            ) {
                unsafe { turn(d, dr as usize, s, sr as usize, r as usize, c as usize) }
            }
            $(#[$feature])?
            unsafe extern "C" fn decay_between(
                out: *mut f32, row: i64, l: *const f32, _: i64, c: i64, _: i64, strict: i64,
            ) {
                zeroed(|| unsafe {
                    decay::between::<$vector>(out, row as usize, l, c as usize, strict != 0)
                })
            }
            $(#[$feature])?
            unsafe extern "C" fn scan(
                out: *mut f32, row: i64, x: *const f32, x_row: i64, rows: i64, cols: i64, flags: i64,
            ) {
                let kind = decay::Scan {
                    reverse: flags & 1 != 0,
                    inclusive: flags & 2 != 0,
                    exp: flags & 4 != 0,
                    total: flags & 8 != 0,
                };
                unsafe {
                    decay::scan::<$vector>(
                        out, row as usize, x, x_row as usize, rows as usize, cols as usize, kind,
                    )
                }
            }
            $(#[$feature])?
            unsafe extern "C" fn spread_between(
                out: *mut f32, _: i64, x: *const f32, row: i64, c: i64, work: i64, strict: i64,
            ) {
                let work = work as usize as *mut f32;
                zeroed(|| unsafe {
                    decay::spread_between::<$vector>(
                        out, x, row as usize, c as usize, strict != 0, work,
                    )
                })
            }
            $(#[$feature])?
            unsafe extern "C" fn function(
                dst: *mut f32, src: *const f32, factors: *const f32, rows: i64, columns: i64, which: i64,
            ) {
                let (rows, columns) = (rows as usize, columns as usize);
                let rows = functions::Rows { dst, src, factors, rows, columns };
                unsafe { functions::function::<$vector>(&rows, UnaryFn::ALL[which as usize]) }
            }
            $(#[$feature])?
            unsafe extern "C" fn solve(system: *const System, transposed: i64) {
                zeroed(|| unsafe { solve::solve::<$vector>(&*system, transposed != 0) })
            }
            $(#[$feature])?
            unsafe extern "C" fn running(operands: *const Running, kind: i64) {
                unsafe { running::running(&*operands, kind) }
            }
            $(#[$feature])?
            unsafe extern "C" fn weights(form: *const Form) {
                zeroed(|| unsafe {
                    trilinear::weights::<$vector>(&*form, |d, dr, s, sr, r, c| {
                        turn(d, dr, s, sr, r, c)
                    })
                })
            }
            $(#[$feature])?
            unsafe extern "C" fn query(form: *const Form) {
                zeroed(|| unsafe { trilinear::query::<$vector>(&*form) })
            }
            $(#[$feature])?
            unsafe extern "C" fn key(form: *const Form) {
                zeroed(|| unsafe { trilinear::key::<$vector>(&*form) })
            }
            $(#[$feature])?
            unsafe extern "C" fn log_decay(form: *const Form) {
                zeroed(|| unsafe { trilinear::log_decay::<$vector>(&*form) })
            }
        }
    };
}

kernels!(portable, "portable", Portable, transpose::block_portable);
#[cfg(target_arch = "x86_64")]
kernels!(avx2, "avx2+fma", __m256, transpose::block_avx, #[target_feature(enable = "avx2,fma")]);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx512, "avx512f", __m512, transpose::block_avx, #[target_feature(enable = "avx512f,avx2,fma")]
);

impl Kernels {
    /// The tables that this CPU can run, the best first.
    pub fn available() -> &'static [&'static Kernels] {
        static AVAILABLE: OnceLock<Vec<&'static Kernels>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            let mut tables: Vec<&'static Kernels> = vec![];
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                if avx2 && is_x86_feature_detected!("avx512f") {
                    tables.push(&avx512::KERNELS);
                }
                if avx2 {
                    tables.push(&avx2::KERNELS);
                }
            }
            tables.push(&portable::KERNELS);
            tables
        })
    }

    /// The best table for this CPU.
    pub fn best() -> &'static Kernels {
        Self::available()[0]
    }
}
