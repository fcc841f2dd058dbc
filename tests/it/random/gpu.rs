//! A sample of random recurrences on the GPU kernels, under the emulator: few, as each is compiled anew.
//!
//! Sizes are any, and runs are short. Inputs are rounded to the dtype of storage first, and the
//! bound is that of the table, on the root of the mean square of an element's error over its terms: what
//! is rounded on the way to 16 bits is rounded once for each product, which a norm bears and a single element
//! may exceed. Where rounding may decide on which side of an edge a number lies (`max(abs(x), 1)` near one),
//! terms say that nothing is known of the slope. What has no chunked form has no kernel there.

use super::check::{Known, accepted};
use super::guard::{Failure, guarded};
use super::memory::Prepared;
use super::{first, report};
use baton_codegen::derive;
use baton_ir::verify::verify;
use baton_runtime::device::gpu::{Emulator, Gpu, rounded};
use baton_tests::random::Drawn;
use baton_tests::tolerance::Arithmetic;

/// Programs of each arithmetic.
const PROGRAMS: usize = 4;

/// Whether a program has kernels for a GPU, by the rules of the language alone.
fn chunked(drawn: &Drawn) -> bool {
    let recurrence = accepted(drawn).expect("a well-formed program");
    let facts = verify(&recurrence).expect("a well-formed program");
    derive(&recurrence, &facts).is_ok()
}

fn check(drawn: &Drawn, arithmetic: Arithmetic) -> Result<(), Failure> {
    let bounds = arithmetic.tolerance();
    let storage = arithmetic.storage();
    let round = |x: f64| f64::from(rounded(&[x as f32], storage)[0]);
    let known = Known::new(drawn, accepted(drawn)?, bounds.outputs, round)?;
    let schedule = Gpu::sm_80(storage).with_heads(drawn.setting.beside);
    let found = Prepared::new(drawn, &known.numbers).run(&Emulator::new(schedule));
    let found = found.map_err(|why| Failure::Wrong(format!("the emulator: {why}")))?;
    let tensors = known.terms.beside(&known.numbers, &known.truth);
    for (tensor, found) in tensors.iter().zip(&found) {
        let bound = bounds.of(tensor.gradient);
        let off = tensor.distance(found.data.iter().map(|x| f64::from(*x)));
        if !(off <= bound) {
            let name = &tensor.name;
            return Err(Failure::Wrong(format!(
                "{name}: off by {off:e} of its terms, expected {bound:e}"
            )));
        }
    }
    Ok(())
}

fn sample(arithmetic: Arithmetic) {
    let run = move |drawn: &Drawn| {
        let drawn = drawn.clone();
        guarded(move || check(&drawn, arithmetic))
    };
    for drawn in (first()..)
        .map(Drawn::blocks)
        .filter(chunked)
        .take(PROGRAMS)
    {
        if let Err(failure) = run(&drawn) {
            panic!("{}", report("gpu", drawn, failure, run));
        }
    }
}

#[test]
fn a_sample_in_f32() {
    sample(Arithmetic::Split);
}

#[test]
fn a_sample_in_bf16() {
    sample(Arithmetic::Bf16);
}
