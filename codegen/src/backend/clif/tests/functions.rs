//! Every pointwise function against f64, number by number.

use super::super::micro::Kernels;
use super::super::micro::vector::exp;
use super::super::{Checks, compile_with};
use super::Draft;
use baton_ir::chunked::Direction;
use baton_ir::pointwise;
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use baton_ir::tile::{Along, Effect, Op, Pace, Reduce, Role, Scalar};

const COLUMNS: usize = 32;
/// Rows of a tile that is computed as instructions, and of one that is given to a kernel.
const FEW: usize = 1;
const MANY: usize = 64;

/// `body` of two operands on pairs of numbers, as compiled for tiles of so many rows.
fn run(kernels: &Kernels, rows: usize, body: Vec<Scalar>, a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut draft = Draft::new(rows, Direction::Forward);
    let operands = vec![
        (draft.tile(&[rows, COLUMNS], 0.0, 0.0), Along::Both),
        (draft.tile(&[rows, COLUMNS], 0.0, 0.0), Along::Both),
    ];
    let op = Op::Map {
        shape: vec![rows as u32, COLUMNS as u32],
        operands,
        body,
        reduce: Reduce::None,
    };
    let out = draft.node(op, &[rows, COLUMNS]);
    let port = draft.port(Role::Output, Pace::Chunk, true, &[rows, COLUMNS]);
    draft.build.effect(Effect::Store(port, out));
    let code = compile_with(&draft.program(), kernels, Checks::new()).expect("it compiles");
    let mut result = vec![f32::NAN; a.len()];
    let mut scratch = vec![f32::NAN; code.scratch_bytes() / 4 + 16];
    let skip = scratch.as_ptr().align_offset(64);
    let mut words = code.abi().task(1, 1, scratch[skip..].as_mut_ptr().cast());
    let tile = rows * COLUMNS;
    assert_eq!(a.len() % tile, 0);
    for at in (0..a.len()).step_by(tile) {
        let places = [
            a[at..].as_ptr(),
            b[at..].as_ptr(),
            result[at..].as_mut_ptr(),
        ];
        for (i, base) in places.into_iter().enumerate() {
            let port = baton_ir::tile::PortId(i as u32);
            code.abi()
                .set_port(&mut words, port, base.cast_mut().cast(), 0, 0);
        }
        // SAFETY: three tiles, of which the first two are only read.
        unsafe { code.call(words.as_ptr()) };
    }
    result
}

/// Numbers of every size and sign, dense, with the special ones.
fn samples() -> Vec<f32> {
    let mut all = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
        88.72,
        88.73,
        -87.3,
        -103.9,
        -104.1,
    ];
    all.extend((0..1 << 18).map(|i: u32| f32::from_bits(i * 16381)));
    all.extend((0..1 << 17).map(|i| (i - (1 << 16)) as f32 * 1.7e-3));
    all.extend((0..1 << 16).map(|i| 1.0 + (i - (1 << 15)) as f32 * 1e-5));
    all.extend([399.9, 400.1, 102.101_76, 201.061_93, 355.0, 710.0]);
    all.resize(all.len().next_multiple_of(MANY * COLUMNS), 0.5);
    all
}

/// The largest error relative to the true value, beyond what a subnormal result must lose.
fn compare(what: &str, inputs: &[f32], got: &[f32], exact: impl Fn(usize) -> f64) -> f64 {
    let mut worst = (0.0, 0.0);
    for (i, &x) in inputs.iter().enumerate() {
        let (got, exact) = (f64::from(got[i]), exact(i));
        let rounded = f64::from(exact as f32);
        if exact.is_nan() || !rounded.is_finite() {
            assert!(
                got == rounded || (got.is_nan() && exact.is_nan()),
                "{what}({x:e}) is {got:e}, expected {exact:e}"
            );
            continue;
        }
        // At the upper end infinity may come one unit early.
        if got.is_infinite() && rounded.abs() > 3.4028e38 {
            continue;
        }
        let slack = 3e-45;
        let error = ((got - exact).abs() - slack).max(0.0) / exact.abs().max(1e-300);
        assert!(
            !error.is_nan(),
            "{what}({x:e}) is {got:e}, expected {exact:e}"
        );
        if error > worst.0 {
            worst = (error, f64::from(x));
        }
    }
    println!("{what}: {:.2e} at {:e}", worst.0, worst.1);
    worst.0
}

#[test]
fn unary() {
    let inputs = samples();
    let tables = Kernels::available().iter();
    let all = tables.flat_map(|k| UnaryFn::ALL.iter().map(move |f| (k, f)));
    for ((kernels, &function), rows) in all.flat_map(|each| [(each, FEW), (each, MANY)]) {
        let body = vec![Scalar::Operand(0), Scalar::Unary(function, 0)];
        let got = run(kernels, rows, body, &inputs, &inputs);
        let exact = |i: usize| match (function, inputs[i]) {
            // The limit, where f64 multiplies infinity by zero.
            (UnaryFn::Silu, f32::NEG_INFINITY) => 0.0,
            (_, x) => pointwise::unary(function, f64::from(x)),
        };
        let what = format!("{} ({}, {rows} rows)", function.name(), kernels.name);
        let error = compare(&what, &inputs, &got, exact);
        assert!(error < 2.5e-7, "{what}: {error:e}");
    }
}

/// A number's value is its own: what stands beside it in a vector changes no bit, padding's junk least of all.
#[test]
fn neighbours() {
    let inputs = samples();
    let places: Vec<usize> = (0..inputs.len())
        .map(|i| (i * 7919) % inputs.len())
        .collect();
    let strewn: Vec<f32> = places.iter().map(|&at| inputs[at]).collect();
    let bits = |x: &f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
    let tables = Kernels::available().iter();
    for (kernels, &function) in tables.flat_map(|k| UnaryFn::ALL.iter().map(move |f| (k, f))) {
        let body = vec![Scalar::Operand(0), Scalar::Unary(function, 0)];
        let got = run(kernels, MANY, body.clone(), &inputs, &inputs);
        let other = run(kernels, MANY, body, &strewn, &strewn);
        let mut pairs = places.iter().zip(&other);
        let differ = pairs.find(|&(&at, other)| bits(&got[at]) != bits(other));
        let at = differ.map(|(&at, other)| (inputs[at], got[at], *other));
        assert_eq!(at, None, "{} ({})", function.name(), kernels.name);
    }
}

#[test]
fn binary() {
    let a = samples();
    let b: Vec<f32> = (0..a.len()).map(|i| a[(i * 7919) % a.len()]).collect();
    for &function in BinaryFn::ALL {
        let body = vec![
            Scalar::Operand(0),
            Scalar::Operand(1),
            Scalar::Binary(function, 0, 1),
        ];
        let got = run(Kernels::best(), MANY, body, &a, &b);
        let exact = |i: usize| pointwise::binary(function, f64::from(a[i]), f64::from(b[i]));
        let error = compare(function.name(), &a, &got, exact);
        assert!(error < 6.1e-8, "{}: {error:e}", function.name());
    }
}

#[test]
fn portable_exp() {
    use super::super::micro::vector::{Portable, Vector};
    let inputs = samples();
    let mut got = vec![0.0; inputs.len()];
    for (x, y) in inputs.chunks_exact(8).zip(got.chunks_exact_mut(8)) {
        // SAFETY: eight numbers each; needs no instruction set.
        unsafe { exp(Portable::load(x.as_ptr())).store(y.as_mut_ptr()) }
    }
    let error = compare("exp", &inputs, &got, |i| f64::from(inputs[i]).exp());
    assert!(error < 5e-6, "{error:e}");
}
