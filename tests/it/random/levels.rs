//! Levels 2 and 3 of random programs in f64, against level 1.

use super::check::Known;
use super::guard::Failure;
use crate::tiles;
use baton_codegen::{derive_any, grad, step};
use baton_ir::chunked::Target;
use baton_ir::interp::chunked::{Arriving, forward, reverse};
use baton_ir::recurrence::{InputId, OutputId, ParamId, StateId};
use baton_ir::verify::{typing, verify};
use baton_tests::Random;
use baton_tests::random::{Drawn, given};

/// Rounding of f64, of the terms.
const BOUND: f64 = 1e-11;

/// Whether the programs are those of single steps.
pub fn check(drawn: &Drawn, known: &Known) -> Result<bool, Failure> {
    let wrong = |what: String| Failure::Wrong(what);
    let numbers = &known.numbers;
    let r = &numbers.recurrence;
    let facts = verify(r).expect("it was verified");
    let mut random = Random::named(drawn.setting.seed, "levels");
    let (mut program, steps) = derive_any(r, &facts).expect("no input is a matrix");
    // What has a chunked form has that of a step as well.
    let single = steps || random.chance(0.2);
    if single {
        let shapes = typing::check(r).expect("it was verified");
        program = step(r, &shapes);
    }
    let gradient = grad(&program);
    let problem = drawn.problem(numbers);
    let chunk = match single {
        true => 1,
        false => *random.pick(&[1, 3, 16, 32, 64]),
    };
    let agree = |level: u32, found: &[Vec<f64>]| {
        let tensors = known.terms.beside(numbers, &known.truth);
        for (tensor, found) in tensors.iter().zip(found) {
            if let Some(why) = tensor.worst(found.iter().copied(), BOUND, f64::EPSILON) {
                return Err(wrong(format!("level {level} at C = {chunk}: {why}")));
            }
        }
        Ok(())
    };

    let run = forward(&program, &problem, chunk).map_err(|why| wrong(format!("level 2: {why}")))?;
    let arriving = Arriving {
        outputs: given(&numbers.d_outputs),
        states: given(&numbers.d_states),
    };
    let back = reverse(&gradient, &problem, chunk, &run.entering, &arriving)
        .map_err(|why| wrong(format!("level 2 in reverse: {why}")))?;
    // What no result depends on has no gradient there, which is zero.
    let ids = |n: usize| 0..n as u32;
    let outputs = ids(r.outputs.len()).map(|i| run.get(Target::Output(OutputId(i))));
    let states = ids(r.states.len()).map(|i| run.get(Target::State(StateId(i))));
    let d_inputs = ids(r.inputs.len()).map(|i| back.get(Target::DInput(InputId(i))));
    let d_params = ids(r.params.len()).map(|i| back.get(Target::DParam(ParamId(i))));
    let d_states = ids(r.states.len()).map(|i| back.get(Target::DState(StateId(i))));
    let results = outputs.chain(states);
    let found = results.chain(d_inputs).chain(d_params).chain(d_states);
    let tensors = known.terms.beside(numbers, &known.truth);
    let found: Vec<Vec<f64>> = found
        .zip(&tensors)
        .map(|(found, tensor)| found.map_or_else(|| vec![0.0; tensor.truth.len()], Vec::from))
        .collect();
    agree(2, &found)?;

    // Level 3 takes every tensor; what is absent is zero.
    let case = drawn.case(numbers);
    let group = (case.extents.heads / case.extents.groups) as u32;
    let divisors: Vec<u32> = (1..=group).filter(|n| group.is_multiple_of(*n)).collect();
    let beside = *random.pick(&divisors);
    let [plain, gradient] = tiles::lowered_pair(&case, &program, &gradient, chunk, beside);
    agree(3, &tiles::results(&case, &plain, &gradient))?;
    Ok(steps)
}
