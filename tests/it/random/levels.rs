//! Levels 2 and 3 of random programs in f64, against level 1.

use super::check::Known;
use super::guard::Failure;
use crate::tiles;
use baton_codegen::{derive, grad};
use baton_ir::chunked::Target;
use baton_ir::interp::chunked::{Arriving, forward, reverse};
use baton_ir::recurrence::{InputId, OutputId, ParamId, StateId};
use baton_ir::verify::verify;
use baton_tests::Random;
use baton_tests::random::{Drawn, given};

/// Rounding of f64, of the terms.
const BOUND: f64 = 1e-11;

pub fn check(drawn: &Drawn, known: &Known) -> Result<(), Failure> {
    let wrong = |what: String| Failure::Wrong(what);
    let numbers = &known.numbers;
    let r = &numbers.recurrence;
    let facts = verify(r).expect("it was verified");
    let program = derive(r, &facts).map_err(|d| wrong(d.to_string()))?;
    let gradient = grad(&program);
    let problem = drawn.problem(numbers);
    let mut random = Random::named(drawn.setting.seed, "levels");
    let chunk = *random.pick(&[1, 3, 16, 32, 64]);
    let agree = |level: u32, found: &[Option<Vec<f64>>]| {
        if !known.comparable() {
            return Ok(());
        }
        let tensors = known.terms.beside(numbers, &known.truth);
        for (tensor, found) in tensors.iter().zip(found) {
            let zeros = vec![0.0; tensor.truth.len()];
            let found = found.as_ref().unwrap_or(&zeros).iter().copied();
            if let Some(why) = tensor.worst(found, BOUND) {
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
    let count = |n: usize| 0..n as u32;
    let mut found: Vec<Option<Vec<f64>>> = vec![];
    found.extend(
        count(r.outputs.len()).map(|i| run.get(Target::Output(OutputId(i))).map(Vec::from)),
    );
    found.extend(count(r.states.len()).map(|i| run.get(Target::State(StateId(i))).map(Vec::from)));
    found
        .extend(count(r.inputs.len()).map(|i| back.get(Target::DInput(InputId(i))).map(Vec::from)));
    found
        .extend(count(r.params.len()).map(|i| back.get(Target::DParam(ParamId(i))).map(Vec::from)));
    found
        .extend(count(r.states.len()).map(|i| back.get(Target::DState(StateId(i))).map(Vec::from)));
    agree(2, &found)?;

    // Level 3 takes every tensor; what is absent is zero.
    let case = drawn.case(numbers);
    let group = (case.extents.heads / case.extents.groups) as u32;
    let divisors: Vec<u32> = (1..=group).filter(|n| group.is_multiple_of(*n)).collect();
    let beside = *random.pick(&divisors);
    let [plain, gradient] = tiles::lowered_pair(&case, &program, &gradient, chunk, beside);
    agree(3, &tiles::results(&case, &plain, &gradient))
}
