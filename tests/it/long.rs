//! Runs of a hundred thousand steps and of a million, in f32 on the CPU against the step interpreter.
//!
//! What is added up step by step is what a long run loses: an angle that grows, a decay that is a little
//! less than one. For each there is a form beside it that loses its digits, and must fail here.

use baton_ir::interp::recurrence::forward;
use baton_ir::{builtin, text};
use baton_runtime::device::cpu::Cpu;
use baton_runtime::{Device, Options};
use baton_tests::harness::Prepared;
use baton_tests::{Case, Decay, Extents, relative_error};

/// The largest relative error of the outputs, forward.
fn error(case: &Case) -> f64 {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let kernel = cpu
        .load(&case.recurrence, &case.extents.sizes, &Options::default())
        .expect("it loads");
    let found = kernel
        .forward(&Prepared::new(case).call(), false)
        .expect("it runs");
    let truth = forward(&case.problem()).expect("it runs");
    let errors = found.outputs.iter().zip(&truth.outputs);
    errors
        .map(|(found, truth)| relative_error(&found.data, truth))
        .fold(0.0, f64::max)
}

fn case(source: &str, size: usize, time: usize) -> Case {
    let extents = Extents {
        sizes: vec![size],
        batch: 1,
        time,
        heads: 1,
        groups: 1,
        cu_seqlens: None,
    };
    Case::new(source, extents, Decay::Weak, 3)
}

/// The angle of `mamba3`, and what reads it.
const ANGLE: &str = "recurrence turning {
    dims { R }
    inputs { angle: [R], dt: [] }
    state { theta: [R] }
    theta = wrap(theta + tanh(angle) * dt);
    let turn = 3.141592653589793 * theta;
    output x: [R] = cos(turn);
    output y: [R] = sin(turn);
}";

/// Every step turns in one direction by about the same: 3e4 times round in all.
fn turning(source: &str) -> Case {
    let mut case = case(source, 3, 1_000_000);
    let positive = |values: &mut Vec<f64>, around: f64| {
        let near = |x: &f64| f64::from((around * (1.0 + 0.5 * x)) as f32);
        *values = values.iter().map(near).collect();
    };
    positive(&mut case.inputs[0], 0.4);
    positive(&mut case.inputs[1], 0.16);
    case
}

#[test]
fn an_angle_keeps_its_digits_for_a_million_steps() {
    let said = "theta = wrap(theta + tanh(angle) * dt);";
    assert!(
        builtin::text("mamba3")
            .expect("a built-in name")
            .contains(said)
    );
    let exact = ANGLE.replace("tanh(angle) * dt", "0.125 * angle + 0 * dt");
    let [found, steps, grown] =
        [ANGLE, &exact, &exact.replace("wrap", "")].map(|source| error(&turning(source)));
    println!("as said {found:.1e}, of exact steps {steps:.1e}, not wrapped {grown:.1e}");
    assert!(steps <= 1e-5, "{steps:e}");
    assert!(found <= 1e-3, "{found:e}");
    assert!(grown > 100.0 * steps, "{grown:e} beside {steps:e}");
}

/// Its decay in two forms: as 1 / (1 + u), and as the paper writes it, kept from zero.
#[test]
fn longhorn_keeps_its_digits_for_a_hundred_thousand_steps() {
    let said = builtin::text("longhorn").expect("a built-in name");
    let mut case = case(said, 16, 100_000);
    // Small keys that stand still: what is forgotten in a step is little, and its rounding the same in each.
    case.inputs[1].fill(0.25);
    let first: Vec<f64> = case.inputs[2][..16]
        .iter()
        .map(|x| f64::from((0.02 * x) as f32))
        .collect();
    case.inputs[2] = first.repeat(100_000);
    let found = error(&case);
    println!("as 1 / (1 + u): {found:.1e}");
    assert!(found <= 2e-5, "{found:e}");
    let decay = "sigmoid(-log(u))";
    let difference = "max(1 - rate / (1 + rate * sum(k * k)) * k * k, 1e-7)";
    assert!(said.contains(decay));
    let other = said
        .replace(
            "    let u = rate * k * k / (1 + rate * (sum(k * k) - k * k));\n",
            "",
        )
        .replace(decay, difference);
    case.recurrence = text::parse(&other).expect("it parses");
    let lost = error(&case);
    println!("as 1 - delta k k: {lost:.1e}");
    assert!(lost > 10.0 * found, "{lost:e} beside {found:e}");
}
