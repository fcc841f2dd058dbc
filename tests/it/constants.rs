//! Constants that are no number, as `sqrt(-1)`: what is said is what is computed, on every level.
//!
//! Nothing refuses them, since a size may make any constant one (`1 / (K - 1)` at K = 1), and nothing folds
//! them, since no text of a level has such a number. So each gives what IEEE arithmetic gives, in f64 as in f32.

use baton_codegen::{derive, grad};
use baton_ir::chunked::Target;
use baton_ir::interp::chunked::{Arriving, forward, reverse};
use baton_ir::recurrence::OutputId;
use baton_ir::{text, verify};
use baton_runtime::Options;
use baton_runtime::device::cpu::Cpu;
use baton_tests::harness::Prepared;
use baton_tests::{Case, Decay, Extents};

const CONSTANTS: &[&str] = &[
    "sqrt(-1)",
    "log(0)",
    "log(-2)",
    "exp(1000)",
    "1 / 0",
    "0 / 0",
    "rsqrt(0)",
    "1 / (K - 1)",
    "log(1 - K)",
    "1e300 * 1e300",
    "sqrt(0.5 - 1) * exp(800)",
];

fn case(constant: &str) -> Case {
    let source = format!(
        "recurrence r {{
            dims {{ K }}
            inputs {{ x: [K], g: [] }}
            state {{ n: [K] }}
            n = exp(g) * n + x;
            output lost: [K] = n * ({constant});
            output held: [K] = n * min(tanh({constant}), 1) + x;
            output kept: [K] = n + x;
        }}"
    );
    let extents = Extents {
        sizes: vec![1],
        batch: 1,
        time: 20,
        heads: 1,
        groups: 1,
        cu_seqlens: None,
    };
    Case::new(&source, extents, Decay::Weak, 3)
}

/// NaN where that is the truth, the same infinity, and near where it is a number.
fn alike(what: &str, found: impl Iterator<Item = f64>, truth: &[f64], bound: f64) {
    let found: Vec<f64> = found.collect();
    assert_eq!(found.len(), truth.len(), "{what}");
    for (found, truth) in found.iter().zip(truth) {
        let same = match truth.is_finite() {
            true => (found - truth).abs() <= bound * truth.abs().max(1.0),
            false => found.to_bits() == truth.to_bits() || found.is_nan() && truth.is_nan(),
        };
        assert!(same, "{what}: found {found}, expected {truth}");
    }
}

#[test]
fn a_constant_that_is_no_number_runs_on_every_level() {
    let cpu = Cpu::new(Some(1)).expect("threads start");
    for constant in CONSTANTS {
        let case = case(constant);
        let facts = verify::verify(&case.recurrence).expect("it verifies");
        let program = derive(&case.recurrence, &facts).expect("it derives");
        let gradient = grad(&program);
        for program in [&program, &gradient] {
            let printed = text::chunked::print(program);
            let (again, spans) = text::chunked::parse(&printed).expect("a program has a text");
            assert!(verify::chunked::verify(again, &spans).is_ok(), "{printed}");
        }
        let (outcome, _) = case.truth();
        let problem = case.problem();
        let run = forward(&program, &problem, 16).expect("level 2 runs");
        let arriving = Arriving {
            outputs: vec![None; case.recurrence.outputs.len()],
            states: vec![None],
        };
        reverse(&gradient, &problem, 16, &run.entering, &arriving).expect("level 2 runs");
        let found = Prepared::new(&case).run(&cpu, &Options::default(), true);
        for (i, truth) in outcome.outputs.iter().enumerate() {
            let level = run.get(Target::Output(OutputId(i as u32)));
            let level = level.expect("an output").iter().copied();
            alike(
                &format!("{constant}, output {i} on level 2"),
                level,
                truth,
                1e-12,
            );
            let device = found.outputs[i].data.iter().map(|x| f64::from(*x));
            alike(
                &format!("{constant}, output {i} on the CPU"),
                device,
                truth,
                1e-5,
            );
        }
    }
}
