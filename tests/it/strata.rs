//! States above others, overwritten ones and running extremes: long runs of few heads, equals, thread blocks
//! on the emulator, and what has no order.
//!
//! Levels, sizes and random programs are tested with all others (`levels`, `tiles`, `devices`, `random`).

use crate::devices;
use baton_codegen::derive;
use baton_ir::text;
use baton_ir::verify::verify;
use baton_runtime::Options;
use baton_runtime::device::cpu::Cpu;
use baton_tests::harness::Prepared;
use baton_tests::{Case, Decay, EXTRAS, Extents, Random};

/// The text of that name among those that every device runs.
fn extra(name: &str) -> &'static str {
    let start = format!("recurrence {name} ");
    let found = EXTRAS.iter().find(|text| text.starts_with(&start));
    found.unwrap_or_else(|| panic!("`{name}` is among them"))
}

fn case(source: &str, sizes: [usize; 2], time: usize, heads: usize, seed: u64) -> Case {
    let dims = text::parse(source).expect("it parses").dims.len();
    let extents = Extents {
        sizes: sizes[..dims].to_vec(),
        batch: 1,
        time,
        heads,
        groups: 1,
        cu_seqlens: None,
    };
    Case::new(source, extents, Decay::Weak, seed)
}

const STRATA: [&str; 4] = ["coupled", "shifted", "cascade", "stabilised"];

/// One sequence of one head would be cut into segments, were all its states decays and additions: what a
/// segment does to these depends on what enters it.
#[test]
fn a_long_sequence_stays_whole() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    for (seed, name) in STRATA.into_iter().enumerate() {
        let case = case(extra(name), [9, 5], 1200, 1, seed as u64);
        for keep_bytes in [None, Some(0)] {
            let options = Options {
                keep_bytes,
                ..Options::default()
            };
            devices::check(&case, &options, true, &cpu);
        }
    }
}

/// Of equals the first has the slope, on every level, whichever of the two is the state.
#[test]
fn the_first_of_equals_has_the_slope() {
    let cpu = Cpu::new(Some(1)).expect("threads start");
    for update in [
        "m = max(m + a, x);",
        "m = max(x, m + a);",
        "m = min(m + a, x);",
        "m = min(x, m + a);",
        "m = max(m, x); m = max(m, x + a);",
        "m = min(x, m + a); output z: [K] = m * w; m = min(x + a, m);",
    ] {
        for dim in ["[K]", "[]"] {
            let source = format!(
                "recurrence equals {{ dims {{ K }} inputs {{ x: {dim}, a: {dim}, w: [K] }} state {{ m: {dim} }}
                 output before: [K] = m * w; {update} output o: [K] = m * w; }}"
            );
            let mut case = case(&source, [5, 1], 40, 2, 3);
            let mut random = Random(11);
            // Small whole numbers: every second comparison or so is of equals.
            let (inputs, states) = (case.inputs[..2].iter_mut(), case.states.iter_mut());
            for x in inputs.chain(states).flatten() {
                *x = (random.bits() >> 40) as f64 % 3.0 - 1.0;
            }
            let facts = verify(&case.recurrence).expect("it verifies");
            let program = derive(&case.recurrence, &facts).expect("it derives");
            crate::levels::agrees(&case, &program, &[1, 7, 16]);
            crate::tiles::agrees(&case, &[7, 16]);
            devices::check(&case, &Options::default(), true, &cpu);
        }
    }
}

/// Two states that read each other are to be solved for together: they run step by step, and the reason is said.
#[test]
fn what_enters_itself_by_way_of_others_says_so() {
    let source = "recurrence circle { dims { K, V } inputs { k: [K], v: [V], a: [] } state { S: [K, V], n: [V] }
        n = 0.5 * n + 0.1 * dot(l2norm(k), S) + v;
        S = sigmoid(a) * S + outer(k, 0.1 * tanh(a) * n);
        output o: [V] = dot(k, S) + n; }";
    let case = case(source, [6, 7], 50, 2, 5);
    let facts = verify(&case.recurrence).expect("it verifies");
    let refused = derive(&case.recurrence, &facts).expect_err("no order");
    assert_eq!(refused.code, "D001");
    let reason = "it enters its own update by way of others";
    assert!(refused.message.ends_with(reason), "{}", refused.message);
    let cpu = Cpu::new(Some(2)).expect("threads start");
    devices::check(&case, &Options::default(), true, &cpu);
}

/// The same bits however many threads there are.
#[test]
fn bits_do_not_depend_on_threads() {
    for (seed, name) in STRATA.into_iter().enumerate() {
        let case = case(extra(name), [17, 30], 100, 4, seed as u64);
        let [one, more @ ..] = [1, 2, 3].map(|threads| {
            let cpu = Cpu::new(Some(threads)).expect("threads start");
            Prepared::new(&case)
                .run(&cpu, &Options::default(), true)
                .bits()
        });
        more.iter()
            .for_each(|found| assert!(*found == one, "{name}"));
    }
}

/// On blocks of threads, at a length that is cut into segments where it may be.
#[cfg(feature = "mlir")]
#[test]
fn the_emulator_agrees() {
    use baton_runtime::device::gpu::{Emulator, Gpu, Storage};
    use baton_tests::{harness, tolerance::Arithmetic};
    let device = Emulator::new(Gpu::sm_80(Storage::F32));
    let turned = baton_ir::builtin::text("mamba3").expect("a built-in name");
    let sources = STRATA.into_iter().map(extra).chain([turned]);
    for (seed, source) in sources.enumerate() {
        for chunk in [16, 32] {
            let case = case(source, [16, 32], 200, 1, seed as u64).rounded(Storage::F32);
            let options = Options {
                chunk: Some(chunk),
                ..Options::default()
            };
            let bounds = Arithmetic::Split.tolerance();
            harness::check(&case, &device, &options, true, bounds);
        }
    }
}
