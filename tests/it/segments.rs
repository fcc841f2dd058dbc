//! Segments whose summary is a matrix: the matrix against the truth, runs that are cut by it, what is not cut.

use crate::{reads, tiles};
use baton_codegen::schedule::cost::{Cost, RunShape};
use baton_codegen::schedule::{Load, Plan};
use baton_codegen::{Compiler, Phase, Summary, derive};
use baton_ir::recurrence::Side;
use baton_ir::verify::verify;
use baton_ir::{builtin, text};
use baton_runtime::Options;
use baton_runtime::device::cpu::Cpu;
use baton_tests::harness::{Prepared, check_prepared};
use baton_tests::tolerance::Arithmetic;
use baton_tests::{Case, Decay, Extents, Random, relative_error};

/// The built-in recurrences whose state is read in its own update.
fn read() -> impl Iterator<Item = &'static str> {
    let held = |name: &&str| {
        let sizes = [16, 16];
        let case = case(builtin::text(name).expect("a built-in name"), sizes, 0, 0);
        let compiler = Compiler::of_any(&case.recurrence, &case.extents.sizes);
        let compiler = compiler.expect("it verifies");
        let dense = |summary: &Summary| matches!(summary, Summary::Dense(_));
        !compiler.steps() && compiler.summaries().iter().any(dense)
    };
    builtin::NAMES.iter().copied().filter(held)
}

/// One head of one sequence.
fn case(source: &str, sizes: [usize; 2], time: usize, seed: u64) -> Case {
    let extents = Extents {
        sizes: sizes.to_vec(),
        batch: 1,
        time,
        heads: 1,
        groups: 1,
        cu_seqlens: None,
    };
    Case::new(source, extents, Decay::Weak, seed)
}

/// A state that decays beside one that is read, and readouts that are not linear: its gradient needs what entered
/// each chunk.
const PAIR: &str = "recurrence pair {
    dims { K, V }
    inputs { q: [K], k: [K], v: [V], f: [], c: [V], e: [K] }
    state { S: [K, V], Z: [K, V], n: [K] }
    S = sigmoid(f + 2) * S;
    S = S + outer(l2norm(k), sigmoid(f) * (v - dot(l2norm(k), S)));
    Z = rows(sigmoid(e)) * cols(sigmoid(c)) * Z + outer(k, v);
    n = sigmoid(e + 1) * n + k;
    output o: [V] = silu(dot(q, S)) + dot(q, Z) * tanh(dot(q, n));
}";

/// How the CPU cuts a case.
fn plan(case: &Case, options: &Options) -> Plan {
    let e = &case.extents;
    let lens = match &e.cu_seqlens {
        Some(ends) => ends.windows(2).map(|w| w[1] - w[0]).collect(),
        None => vec![e.time; e.batch],
    };
    let load = Load {
        sequences: lens.iter().filter(|len| **len > 0).count(),
        longest: lens.into_iter().max().unwrap_or(0),
        steps: e.batch * e.time,
        heads: e.heads,
        groups: e.groups,
        state_bytes: 4 * e.sizes.iter().product::<usize>(),
    };
    let compiler = Compiler::of_any(&case.recurrence, &e.sizes).expect("it verifies");
    compiler.plan(load, options.chunk, options.keep_bytes)
}

/// What a matrix makes of states `[.., rows, columns]`, one matrix for each.
fn through(side: Side, matrices: &[f64], states: &[f64], [rows, columns]: [usize; 2]) -> Vec<f64> {
    let n = [rows, columns][side as usize];
    let entry = |at: usize| -> f64 {
        let (lane, row, column) = (at / (rows * columns), at / columns % rows, at % columns);
        let m = |i: usize, j: usize| matrices[lane * n * n + i * n + j];
        let s = |i: usize, j: usize| states[lane * rows * columns + i * columns + j];
        let terms = (0..n).map(|k| match side {
            Side::Row => m(row, k) * s(k, column),
            Side::Col => s(row, k) * m(k, column),
        });
        terms.sum()
    };
    (0..states.len()).map(entry).collect()
}

/// The matrices of the tile programs take every state where the recurrence takes it beside what it adds. Turned
/// they do not.
#[test]
fn matrices_are_what_sequences_do_to_states() {
    let mut random = Random(31);
    let drawn: Vec<String> = (0..40).map(|_| reads::program(&mut random)).collect();
    let mut sources: Vec<&str> = read().filter_map(builtin::text).collect();
    sources.push(PAIR);
    sources.extend(drawn.iter().map(String::as_str));
    let (mut sides, mut turned) = ([0; 2], 0);
    for source in sources {
        let groups = random.between(1, 2);
        let time = random.between(0, 40);
        let packed = random.chance(0.5);
        let extents = Extents {
            sizes: vec![random.between(2, 7), random.between(2, 7)],
            batch: if packed { 1 } else { random.between(1, 2) },
            time,
            heads: groups * random.between(1, 2),
            groups,
            cu_seqlens: packed.then(|| vec![0, time / 3, time / 3, time]),
        };
        let mut case = Case::new(source, extents, Decay::Weak, random.bits());
        let facts = verify(&case.recurrence).expect("it verifies");
        if derive(&case.recurrence, &facts).is_err() {
            continue;
        }
        let sizes = case.extents.sizes.clone();
        let compiler = Compiler::new(&case.recurrence, &sizes).expect("it has a chunked form");
        let found = tiles::matrices(&case, random.between(1, 17));
        // Large, so that what is left of them outweighs what is added, of which the difference is free.
        case.states
            .iter_mut()
            .flatten()
            .for_each(|x| *x *= f64::from(1 << 20));
        let states = case.states.clone();
        let (outcome, _) = case.truth();
        case.states.iter_mut().for_each(|state| state.fill(0.0));
        let (own, _) = case.truth();
        let mut dense = 0;
        for (i, summary) in compiler.summaries().iter().enumerate() {
            let Summary::Dense(side) = *summary else {
                continue;
            };
            let port = &case.recurrence.states[i];
            let dims = [0, 1].map(|at| sizes[port.shape[at].index()]);
            let (_, matrices) = { found.iter() }
                .find(|(state, _)| *state == i)
                .expect("a dense summary has a matrix");
            let moved = through(side, matrices, &states[i], dims);
            let pairs = outcome.states[i].iter().zip(&own.states[i]);
            let truth: Vec<f64> = pairs.map(|(with, without)| with - without).collect();
            let error = relative_error(&moved, &truth);
            assert!(error <= 1e-12, "{source}: relative error {error:e}");
            let n = dims[side as usize];
            let across = |at: usize| matrices[at / (n * n) * n * n + at % n * n + at / n % n];
            let across: Vec<f64> = (0..matrices.len()).map(across).collect();
            let wrong = through(side, &across, &states[i], dims);
            turned += usize::from(relative_error(&wrong, &truth) > 1e-3);
            sides[side as usize] += 1;
            dense += 1;
        }
        assert_eq!(found.len(), dense, "{source}");
    }
    println!("{sides:?} over rows and columns, {turned} of them found turned");
    assert!(sides.iter().all(|&count| count >= 10), "{sides:?}");
    assert!(
        4 * turned >= 3 * (sides[0] + sides[1]),
        "{turned} of {sides:?}"
    );
}

/// Drawn recurrences, sizes, lengths and ends, with and without states and their gradients: the truth, and the
/// same bits on one thread and on two.
#[test]
fn cut_runs_agree_with_the_truth() {
    let [one, two] = [1, 2].map(|threads| Cpu::new(Some(threads)).expect("threads start"));
    let bounds = Arithmetic::F32.tolerance();
    let mut random = Random(32);
    let names: Vec<&str> = read().collect();
    assert!(names.len() >= 8, "{names:?}");
    let mut cut = 0;
    for round in 0..3 * names.len() {
        let drawn = reads::program(&mut random);
        let source = match round % 3 {
            0 => builtin::text(names[round / 3]).expect("a built-in name"),
            1 => &drawn,
            _ => PAIR,
        };
        let time = random.between(128, 300);
        let sizes = [random.between(2, 37), random.between(19, 40)];
        let mut case = case(source, sizes, time, random.bits());
        if random.chance(0.3) {
            case = Case::new(
                source,
                Extents {
                    cu_seqlens: Some(vec![0, 0, time, time]),
                    ..case.extents
                },
                Decay::Weak,
                random.bits(),
            );
        }
        let options = Options {
            chunk: Some(16),
            ..Options::default()
        };
        let facts = verify(&case.recurrence).expect("it verifies");
        if derive(&case.recurrence, &facts).is_err() || plan(&case, &options).segment.is_none() {
            continue;
        }
        let [states, d_states] = [random.chance(0.3), random.chance(0.3)];
        for (absent, values) in [(states, &mut case.states), (d_states, &mut case.d_states)] {
            if absent {
                values.iter_mut().for_each(|values| values.fill(0.0));
            }
        }
        println!("{source} {:?} {states} {d_states}", case.extents);
        let prepared = Prepared::new(&case).without(states, d_states);
        for keep in [true, false] {
            let found = check_prepared(&prepared, &two, &options, keep, bounds);
            let again = prepared.run(&one, &options, keep);
            assert!(found.bits() == again.bits(), "bits differ with threads");
        }
        cut += 1;
    }
    assert!(cut >= 2 * names.len(), "{cut} runs were cut");
}

/// By shapes alone: one task, and a matrix that is not much larger than the state.
#[test]
fn matrices_are_made_where_they_pay() {
    let segment = |name: &str, sizes: [usize; 2], time: usize, heads: usize| {
        let mut case = Case::builtin(
            name,
            Extents {
                heads,
                groups: heads,
                ..case(PAIR, sizes, 0, 0).extents
            },
            Decay::Weak,
            1,
        );
        case.extents.time = time;
        plan(&case, &Options::default()).segment
    };
    assert_eq!(segment("delta_net", [64, 64], 2048, 1), Some(4));
    assert_eq!(segment("delta_net", [64, 32], 2048, 1), Some(4));
    // Three sweeps more for one.
    assert_eq!(segment("delta_net", [65, 32], 2048, 1), None);
    assert_eq!(segment("delta_net", [64, 64], 2048, 2), None);
    assert_eq!(segment("delta_net", [64, 64], 511, 1), None);
    assert_eq!(segment("mamba2", [16, 64], 2048, 3), Some(16));
}

/// What a run of eight segments multiplies, in that of a whole one, forward and with its backward: less than what
/// three cores do in its time, so four gain, for every member up to the largest matrices that are made.
#[test]
fn matrices_cost_less_than_idle_cores() {
    for name in read() {
        for sizes in [[64, 64], [128, 128], [128, 64]] {
            let recurrence = text::parse(builtin::text(name).expect("a built-in name"));
            let recurrence = recurrence.expect("it parses");
            let compiler = Compiler::new(&recurrence, &sizes).expect("it has a chunked form");
            let traits = compiler.traits();
            let chunk = if traits.by_channel {
                16
            } else {
                64 / traits.reads
            };
            let run = RunShape {
                batch: 1,
                time: 8192,
                heads: 1,
                groups: 1,
                entering: false,
            };
            let products = |phase| {
                let cost = Cost::new(&compiler.program(phase, chunk), run, |_| 4);
                cost.flops.products as f64
            };
            let [keep, backward] = [Phase::ForwardKeep, Phase::Backward].map(products);
            let matrix = products(Phase::Transition);
            let first = 7.0 / 8.0 * (products(Phase::Summary) + matrix);
            let back = 7.0 / 8.0 * (products(Phase::BackwardState) + matrix);
            let forward = 1.0 + first / keep;
            let both = 1.0 + (first + back) / (keep + backward);
            println!("{name} {sizes:?}: {forward:.2} forward, {both:.2} with backward");
            let pays = forward < 3.0 && both < 3.0;
            assert!(pays, "{name}: {forward} and {both}");
        }
    }
}
