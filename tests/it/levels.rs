//! Levels 2 and 3 against level 1, forward and gradient, all in f64.
//!
//! What derivation, reverse mode and placement do is algebra, so the levels agree to rounding.

use baton_codegen::{derive, grad, step};
use baton_ir::builtin;
use baton_ir::chunked::{Chunked, Target};
use baton_ir::interp::chunked::{Arriving, forward, reverse};
use baton_ir::recurrence::{InputId, OutputId, ParamId, StateId};
use baton_ir::verify::{typing, verify};
use baton_tests::tolerance::Arithmetic;
use baton_tests::{Case, Decay, EXTRAS, Extents, STEPPED, relative_error};

/// What every level runs: built-ins with each decay, and the extras packed.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (index, name) in builtin::NAMES.iter().enumerate() {
        for decay in [Decay::None, Decay::Weak, Decay::Strong] {
            let extents = Extents {
                sizes: vec![5, 3],
                batch: 2,
                time: 37,
                heads: 4,
                groups: 2,
                cu_seqlens: None,
            };
            let extents = if *name == "mamba2" {
                extents
            } else {
                Extents {
                    groups: 4,
                    ..extents
                }
            };
            cases.push(Case::builtin(name, extents, decay, index as u64));
        }
    }
    for (index, source) in EXTRAS.iter().enumerate() {
        let extents = Extents {
            sizes: vec![4, 3],
            batch: 1,
            time: 41,
            heads: 4,
            groups: if source.contains("per group") { 2 } else { 4 },
            cu_seqlens: Some(vec![0, 0, 17, 18, 41]),
        };
        cases.push(Case::new(source, extents, Decay::Weak, 100 + index as u64));
    }
    cases
}

#[test]
fn chunked_agrees_with_the_step() {
    for case in cases() {
        let facts = verify(&case.recurrence).expect("it verifies");
        if facts.transitions.iter().any(|t| t.obstacle.is_some()) {
            continue;
        }
        let program = derive(&case.recurrence, &facts).expect("it derives");
        agrees(&case, &program, &[1, 16, 64]);
    }
}

/// The step derivation needs no class.
#[test]
fn the_step_derivation_agrees_with_the_step() {
    let stepped = STEPPED.iter().enumerate().map(|(index, source)| {
        let extents = Extents {
            sizes: vec![4, 3],
            batch: 1,
            time: 11,
            heads: 4,
            groups: 2,
            cu_seqlens: Some(vec![0, 0, 5, 6, 11]),
        };
        Case::new(source, extents, Decay::Weak, 200 + index as u64)
    });
    for case in cases().into_iter().chain(stepped) {
        let shapes = typing::check(&case.recurrence).expect("it is well typed");
        agrees(&case, &step(&case.recurrence, &shapes), &[1]);
    }
}

/// A program and its gradient agree with level 1 in chunks of any of these lengths.
pub fn agrees(case: &Case, program: &Chunked, chunks: &[usize]) {
    let gradient = grad(program);
    let (outcome, truth) = case.truth();
    let problem = case.problem();
    for &chunk in chunks {
        let what = |part: &str, i: usize| format!("{} C={chunk} {part} {i}", case.recurrence.name);
        let run = forward(program, &problem, chunk).expect("it runs");
        let check = |what: String, found: Option<&[f64]>, truth: &[f64]| {
            let zero = vec![0.0; truth.len()];
            let error = relative_error(found.unwrap_or(&zero), truth);
            assert!(
                error <= Arithmetic::F64.tolerance().outputs,
                "{what}: relative error {error:e}"
            );
        };
        for (i, truth) in outcome.outputs.iter().enumerate() {
            check(
                what("output", i),
                run.get(Target::Output(OutputId(i as u32))),
                truth,
            );
        }
        for (i, truth) in outcome.states.iter().enumerate() {
            check(
                what("state", i),
                run.get(Target::State(StateId(i as u32))),
                truth,
            );
        }
        let arriving = Arriving {
            outputs: case.d_outputs.iter().map(|v| Some(v.as_slice())).collect(),
            states: case.d_states.iter().map(|v| Some(v.as_slice())).collect(),
        };
        let back = reverse(&gradient, &problem, chunk, &run.entering, &arriving).expect("it runs");
        for (i, truth) in truth.inputs.iter().enumerate() {
            check(
                what("d_input", i),
                back.get(Target::DInput(InputId(i as u32))),
                truth,
            );
        }
        for (i, truth) in truth.params.iter().enumerate() {
            check(
                what("d_param", i),
                back.get(Target::DParam(ParamId(i as u32))),
                truth,
            );
        }
        for (i, truth) in truth.states.iter().enumerate() {
            check(
                what("d_state", i),
                back.get(Target::DState(StateId(i as u32))),
                truth,
            );
        }
    }
}
