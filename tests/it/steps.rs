//! What has no chunked form, compiled step by step: forward, every gradient and all ports on the CPU.
//!
//! The recurrences are those that no other derivation takes, so a wrong step cannot hide behind a
//! right chunk; sizes are drawn, among them those whose last vector is not full.

use crate::devices::check;
use baton_codegen::{Compiler, Phase};
use baton_ir::{builtin, text};
use baton_runtime::device::cpu::Cpu;
use baton_runtime::{Device, Options};
use baton_tests::harness::Prepared;
use baton_tests::{Case, Decay, Extents, Random, STEPPED};

fn case(source: &str, random: &mut Random) -> Case {
    let mut draw = |from, to| random.between(from, to);
    let groups = draw(1, 2);
    let time = draw(0, 90);
    let extents = Extents {
        sizes: vec![draw(1, 40), draw(1, 40)],
        batch: 1,
        time,
        heads: groups * draw(1, 3),
        groups,
        cu_seqlens: (draw(0, 1) == 1).then(|| vec![0, time / 3, time / 3, time]),
    };
    Case::new(source, extents, Decay::Weak, random.bits())
}

#[test]
fn every_recurrence_runs_step_by_step() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let mut random = Random(7);
    for source in STEPPED {
        for _ in 0..6 {
            let case = case(source, &mut random);
            for keep in [true, false] {
                check(&case, &Options::default(), keep, &cpu);
            }
            // A window of steps is run again from a kept state.
            let few = Options {
                keep_bytes: Some(0),
                ..Options::default()
            };
            check(&case, &few, true, &cpu);
        }
    }
}

#[test]
fn steps_have_the_same_bits_for_every_number_of_threads() {
    let mut random = Random(8);
    for source in STEPPED {
        let case = case(source, &mut random);
        let [one, more @ ..] = [1, 2, 3].map(|threads| {
            let cpu = Cpu::new(Some(threads)).expect("threads start");
            Prepared::new(&case)
                .run(&cpu, &Options::default(), true)
                .bits()
        });
        more.iter().for_each(|found| assert!(*found == one));
    }
}

/// Recurrences whose heads are rows: states are numbers and vectors, one reads the other, one is no sum.
const ROWS: &[&str] = &[
    "recurrence cascade {
        dims { N }
        inputs { x: [], g: [N], b: [N] per group }
        params { w: [N], tau: [] }
        state { h: [N], m: [] }
        output before: [] = m + sum(h);
        h = sigmoid(g) * h + softplus(x) * b;
        m = exp(-softplus(tau)) * m + tanh(dot(w, h));
        output y: [N] = silu(h) * m;
    }",
    "recurrence extreme {
        inputs { a: [], b: [] per group, x: [] }
        state { m: [], last: [] }
        m = max(m - softplus(a), b);
        output y: [] = m * last;
        last = tanh(x) + 0.1 * m;
    }",
];

/// Every residue of heads, steps and dims, steps past a window, blocks of heads that are not full, and more heads
/// than a block of rows may have. The built-in ones are all those without a state that is a matrix.
#[test]
fn heads_are_rows_where_no_state_is_a_matrix() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let mut random = Random(10);
    let builtins =
        { builtin::NAMES.iter() }.map(|name| builtin::text(name).expect("a built-in name"));
    let narrow = |source: &&str| {
        let recurrence = text::parse(source).expect("a built-in text");
        recurrence.states.iter().all(|state| state.shape.len() < 2)
    };
    let builtins: Vec<_> = builtins.filter(narrow).collect();
    assert!(builtins.len() >= 4);
    for source in builtins.into_iter().chain(ROWS.iter().copied()) {
        for i in 0..9 {
            let mut draw = |from, to| random.between(from, to);
            let [groups, time, heads] = match i {
                8 => [draw(1, 2), draw(1, 9), draw(1025, 1100)],
                _ => [draw(1, 2), draw(0, 150), draw(2, 90)],
            };
            let extents = Extents {
                sizes: vec![draw(1, 40)],
                batch: 1,
                time,
                heads: groups * heads,
                groups,
                cu_seqlens: (draw(0, 1) == 1).then(|| vec![0, time / 3, time / 3, time]),
            };
            let decay = [Decay::Weak, Decay::Strong][draw(0, 1)];
            let case = Case::new(source, extents, decay, random.bits());
            let compiler = Compiler::of_any(&case.recurrence, &case.extents.sizes);
            let compiler = compiler.unwrap_or_else(|why| panic!("{}", why[0]));
            assert!(compiler.across(Phase::Backward, 2).is_some(), "{source}");
            for keep in [true, false] {
                check(&case, &Options::default(), keep, &cpu);
            }
        }
    }
}

#[test]
fn a_chunk_is_refused_where_there_is_none() {
    let case = case(STEPPED[0], &mut Random(9));
    let options = Options {
        chunk: Some(64),
        ..Options::default()
    };
    let cpu = Cpu::new(Some(1)).expect("threads start");
    let refused = cpu.load(&case.recurrence, &case.extents.sizes, &options);
    let why = refused.err().expect("there is no chunked form").to_string();
    assert!(why.contains("chunk 64") && why.contains("`both`"), "{why}");
}
