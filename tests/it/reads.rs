//! States that are read in their own update: random recurrences of this kind at every level and on the
//! CPU, keys that make a system hard, and what is refused.

use crate::{devices, levels, tiles};
use baton_codegen::{derive, step};
use baton_ir::recurrence::Recurrence;
use baton_ir::verify::{typing, verify};
use baton_ir::{builtin, text};
use baton_runtime::device::cpu::Cpu;
#[cfg(feature = "mlir")]
use baton_runtime::device::gpu::{Emulator, Gpu, Storage};
use baton_runtime::{Options, Tensor};
use baton_tests::harness::Prepared;
use baton_tests::{Case, Decay, Extents, Random, relative_error};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A number from `from` to `to`.
fn draw(random: &mut Random, from: usize, to: usize) -> usize {
    from + random.bits() as usize % (to - from + 1)
}

/// A recurrence whose state is read one to four times a step, along vectors of its own or a shared one, with
/// gates, additions and readouts between; over its rows, or turned.
pub fn program(random: &mut Random) -> String {
    let turned = draw(random, 0, 1) == 1;
    let [state, gate, shared] = match turned {
        true => ["V, K", "cols", " per group"],
        false => ["K, V", "rows", ""],
    };
    let outer = |key: &str, value: &str| match turned {
        true => format!("outer({value}, {key})"),
        false => format!("outer({key}, {value})"),
    };
    let read = |key: &str| match turned {
        true => format!("dot(S, {key})"),
        false => format!("dot({key}, S)"),
    };
    let mut used: BTreeSet<&str> = BTreeSet::from(["q: [K]"]);
    let (mut body, mut outputs) = (String::new(), 0);
    let reads = draw(random, 1, 4);
    for at in 0..reads {
        // A state that forgets nothing gathers the roundings of all steps: that is another test.
        match draw(random, 0, if at == 0 { 1 } else { 4 }) {
            0 => {
                used.insert("g: [K]");
                let _ = writeln!(body, "S = {gate}(exp(g)) * S;");
            }
            1 => {
                used.insert("f: []");
                let _ = writeln!(body, "S = sigmoid(f + 2) * S;");
            }
            2 => {
                used.insert("w: [V]");
                let _ = writeln!(body, "S = S + {};", outer("q", "w"));
            }
            _ => {}
        }
        let i = draw(random, 0, 2);
        let (rate, key) = (
            ["a: []", "c: []", "e: []"][i],
            ["k: [K]", "l: [K]", "p: [K]"][i],
        );
        let value = ["v: [V]", "w: [V]"][draw(random, 0, 1)];
        let name = |port: &str| port[..1].to_string();
        let unit = format!("l2norm({})", name(key));
        let (read, error) = (read(&unit), format!("{} - {}", name(value), read(&unit)));
        used.extend([rate, key]);
        let update = match draw(random, 0, 2) {
            0 => {
                used.insert(value);
                outer(&unit, &format!("2 * sigmoid({}) * ({error})", name(rate)))
            }
            1 => {
                used.insert(value);
                outer(
                    &format!("{unit} * sigmoid({})", name(rate)),
                    &format!("({error})"),
                )
            }
            _ => {
                let left = format!("0.3 * tanh({}) * q", name(rate));
                outer(&left, &format!("(0.1 * {read})"))
            }
        };
        let _ = writeln!(body, "S = S + {update};");
        if draw(random, 0, 3) == 0 {
            let _ = writeln!(body, "output y{outputs}: [V] = {};", read_by(turned, "q"));
            outputs += 1;
        }
    }
    let inputs: Vec<String> = used
        .iter()
        .map(|port| match *port {
            "k: [K]" => format!("{port}{shared}"),
            _ => port.to_string(),
        })
        .collect();
    format!(
        "recurrence drawn {{ dims {{ K, V }} inputs {{ {} }} state {{ S: [{state}] }}\n{body}output o: [V] = {}; }}",
        inputs.join(", "),
        read_by(turned, "q")
    )
}

fn read_by(turned: bool, key: &str) -> String {
    match turned {
        true => format!("dot(S, {key})"),
        false => format!("dot({key}, S)"),
    }
}

/// The program with sizes and numbers.
fn case(source: &str, random: &mut Random, longest: usize, widest: usize) -> Case {
    let groups = draw(random, 1, 2);
    let time = draw(random, 0, longest);
    let packed = draw(random, 0, 2) == 0;
    let cut = draw(random, 0, time);
    let extents = Extents {
        // Of one number there is no direction, and the gradient by it nothing but rounding.
        sizes: vec![draw(random, 2, widest), draw(random, 2, widest)],
        batch: if packed { 1 } else { draw(random, 1, 2) },
        time,
        heads: groups * draw(random, 1, 2),
        groups,
        cu_seqlens: packed.then(|| vec![0, cut, cut, time]),
    };
    Case::new(source, extents, Decay::Weak, random.bits())
}

#[test]
fn levels_agree_on_drawn_recurrences() {
    let mut random = Random(21);
    let mut all = 0;
    while all < 60 {
        let source = program(&mut random);
        let case = case(&source, &mut random, 30, 7);
        let facts = verify(&case.recurrence).unwrap_or_else(|why| panic!("{source}: {why:?}"));
        let shapes = typing::check(&case.recurrence).expect("it is well typed");
        levels::agrees(&case, &step(&case.recurrence, &shapes), &[1]);
        let program = match derive(&case.recurrence, &facts) {
            Ok(program) => program,
            Err(why) if why.message.ends_with("along another between") => continue,
            Err(why) => panic!("{source}: {why:?}"),
        };
        let chunks = [draw(&mut random, 1, 9), draw(&mut random, 10, 33)];
        levels::agrees(&case, &program, &chunks);
        tiles::agrees(&case, &chunks);
        all += 1;
    }
}

#[test]
fn the_cpu_agrees_on_drawn_recurrences() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let mut random = Random(22);
    for _ in 0..60 {
        let source = program(&mut random);
        let case = case(&source, &mut random, 150, 40);
        println!("{source} {:?}", case.extents);
        let facts = verify(&case.recurrence).expect("it verifies");
        let steps = derive(&case.recurrence, &facts).is_err();
        let chunk = [None, Some(16), Some(32), Some(64)][draw(&mut random, 0, 3)];
        let options = Options {
            chunk: chunk.filter(|_| !steps),
            ..Options::default()
        };
        for keep in [true, false] {
            devices::check(&case, &options, keep, &cpu);
        }
    }
}

/// A case of a built-in whose keys differ from one vector by `spread` only, and whose betas are all `beta`.
fn alike(name: &str, spread: f64, beta: f64, seed: u64) -> Case {
    let (heads, width) = (2, 32);
    let extents = Extents {
        sizes: vec![width, 24],
        batch: 1,
        time: 300,
        heads,
        groups: heads,
        cu_seqlens: None,
    };
    let mut case = Case::builtin(name, extents, Decay::Weak, seed);
    let base = case.inputs[1][..width].to_vec();
    for (port, values) in case.recurrence.inputs.iter().zip(&mut case.inputs) {
        match port.name.as_str() {
            "k" | "k0" | "k1" | "p" => {
                for key in values.chunks_exact_mut(width) {
                    let moved = key.iter_mut().zip(&base);
                    moved.for_each(|(x, base)| *x = base + spread * *x);
                    let norm = key.iter().map(|x| x * x).sum::<f64>().sqrt();
                    key.iter_mut()
                        .for_each(|x| *x = f64::from((*x / norm) as f32));
                }
            }
            "beta" | "beta0" | "beta1" => values.fill(beta),
            _ => {}
        }
    }
    case
}

/// The outputs of DeltaNet in f32, step by step as it is said: what its own roundings come to.
fn stepped(case: &Case) -> Vec<f32> {
    let (heads, time) = (case.extents.heads, case.extents.time);
    let (rows, columns) = (case.extents.sizes[0], case.extents.sizes[1]);
    let [q, k, v, beta] =
        [0, 1, 2, 3].map(|i| case.inputs[i].iter().map(|&x| x as f32).collect::<Vec<_>>());
    let mut state: Vec<f32> = case.states[0].iter().map(|&x| x as f32).collect();
    let mut out = vec![];
    for at in 0..time * heads {
        let state = &mut state[at % heads * rows * columns..][..rows * columns];
        let (q, k) = (&q[at * rows..][..rows], &k[at * rows..][..rows]);
        let read = |weight: &[f32], state: &[f32], j: usize| -> f32 {
            (0..rows).map(|i| weight[i] * state[i * columns + j]).sum()
        };
        for j in 0..columns {
            let error = beta[at] * (v[at * columns + j] - read(k, state, j));
            (0..rows).for_each(|i| state[i * columns + j] += k[i] * error);
            out.push(read(q, state, j) / (rows as f32).sqrt());
        }
    }
    out
}

/// How parallel keys are (1 is not at all), their rates, and how many times the error of single steps in
/// f32 the chunked form may have.
const ALIKE: [(f64, f64, f64); 5] = [
    (1.0, 2.0, 8.0),
    (0.1, 1.0, 3.0),
    (1e-2, 2.0, 16.0),
    (1e-4, 1.5, 4.0),
    (0.0, 2.0, 4.0),
];

/// Keys that are nearly parallel, with rates up to two. At a rate of two a step is a reflection, which
/// forgets nothing: of 300 steps the last has the roundings of all, single steps in f32 too. Nearly
/// parallel reflections undo each other, so a step of the solve is a sum of up to 64 terms of the size of the
/// unknowns that cancel to one of them (docs/numerics.md, "Reads"): a few times more.
#[test]
fn keys_that_are_nearly_parallel() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    for name in ["delta_net", "gated_delta_net", "gated_delta_product", "kda"] {
        for (seed, (spread, beta, factor)) in ALIKE.into_iter().enumerate() {
            let case = alike(name, spread, beta, seed as u64 + 1);
            let found = Prepared::new(&case).run(&cpu, &Options::default(), true);
            let (outcome, gradient) = case.truth();
            let worst = |found: &[Tensor], truth: &[Vec<f64>]| {
                let errors = found.iter().zip(truth);
                let errors = errors.map(|(found, truth)| relative_error(&found.data, truth));
                errors.fold(0.0, f64::max)
            };
            let outputs = worst(&found.outputs, &outcome.outputs);
            let all = [
                outputs,
                worst(&found.states, &outcome.states),
                worst(&found.gradients.inputs, &gradient.inputs),
                worst(&found.gradients.states, &gradient.states),
            ];
            let shown = all.map(|error| format!("{error:.1e}"));
            println!("{name} spread {spread} rate {beta}: {}", shown.join(", "));
            assert!(
                all.into_iter().all(|error| error <= 1e-4),
                "{name}: {all:?}"
            );
            if name == "delta_net" {
                let single = relative_error(&stepped(&case), &outcome.outputs[0]);
                println!("    single steps in f32: {single:.1e}");
                assert!(outputs <= factor * single, "{outputs:e} and {single:e}");
            }
        }
    }
}

/// Every residue of a row of 16 numbers, on both sides.
#[test]
fn every_width_of_a_read() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    for name in builtin::NAMES {
        let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
        let facts = verify(&recurrence).expect("it verifies");
        if facts.transitions.iter().all(|t| t.reads.is_empty()) {
            continue;
        }
        for width in 2..=33 {
            let extents = Extents {
                sizes: vec![width, 35 - width],
                batch: 1,
                time: [19, 6][width % 2],
                heads: 2,
                groups: 2,
                cu_seqlens: None,
            };
            let case = Case::builtin(name, extents, Decay::Weak, width as u64);
            devices::check(&case, &Options::default(), true, &cpu);
        }
    }
}

/// `update` of `S` in a recurrence with every kind of input, those that it does not name left out.
fn updated(update: &str) -> Recurrence {
    let ports = [
        ("k", "[K]"),
        ("l", "[K]"),
        ("v", "[V]"),
        ("w", "[V]"),
        ("a", "[]"),
    ];
    let named = |name: &str| {
        let words = update.split(|c: char| !c.is_ascii_alphanumeric());
        words.into_iter().any(|word| word == name)
    };
    let inputs: Vec<String> = { ports.iter() }
        .filter(|(name, _)| named(name))
        .map(|(name, shape)| format!("{name}: {shape}"))
        .collect();
    let source = format!(
        "recurrence r {{ dims {{ K, V }} inputs {{ q: [K], {} }} state {{ S: [K, V] }} {update} \
         output o: [V] = dot(q, S); }}",
        inputs.join(", ")
    );
    text::parse(&source).unwrap_or_else(|why| panic!("{source}: {why:?}"))
}

#[test]
fn what_cannot_be_solved_for_says_why() {
    let many: String = (0..9)
        .map(|i| format!("S = S - outer(k * (k + {i}), dot(l + {i}, S));"))
        .collect();
    for (update, reason) in [
        (
            "S = S - outer(k, dot(k, S)) - outer(dot(S, w), w);",
            "it is read over both of its sides",
        ),
        (
            "S = S + outer(k, dot(k, dot(S, w)) * v);",
            "it is read over both of its sides",
        ),
        (
            "S = cols(sigmoid(w)) * S - outer(k, dot(k, S));",
            "it is read over its rows while its columns decay",
        ),
        (
            "S = rows(sigmoid(k)) * S - outer(dot(S, w), w);",
            "it is read over its columns while its rows decay",
        ),
        (
            "S = S - outer(k, w * dot(k, S));",
            "what is read over its rows is scaled along its columns",
        ),
        (
            "S = S - outer(k, dot(k, S)); S = S - outer(l, dot(l, S)); S = S - outer(k, dot(k, S));",
            "its update reads it along one vector twice, and along another between",
        ),
        (
            &many,
            "its update reads it along 9 vectors, of which 8 can be solved for",
        ),
    ] {
        let recurrence = updated(update);
        let facts = verify(&recurrence).unwrap_or_else(|why| panic!("{update}: {why:?}"));
        let refused = derive(&recurrence, &facts).expect_err(update);
        assert_eq!(refused.code, "D001");
        assert!(
            refused.message.ends_with(reason),
            "{update}: {}",
            refused.message
        );
    }
}

/// A state that is read once and twice a step, over either side, on blocks of threads: short and ragged chunks, of
/// one block of 16 steps and of more.
#[cfg(feature = "mlir")]
#[test]
fn the_emulator_agrees() {
    use baton_tests::{harness, tolerance::Arithmetic};
    let device = Emulator::new(Gpu::sm_80(Storage::F32));
    let bounds = Arithmetic::Split.tolerance();
    let mut random = Random(23);
    for name in [
        "delta_net",
        "gated_delta_net",
        "gated_delta_product",
        "kda",
        "rwkv7",
    ] {
        // Several systems take the shared memory of longer chunks.
        let chunks: &[usize] = match name {
            "gated_delta_product" => &[16],
            _ => &[16, 32],
        };
        for &chunk in chunks {
            let extents = Extents {
                sizes: vec![16 * draw(&mut random, 1, 3), 16 * draw(&mut random, 1, 3)],
                batch: 1,
                time: chunk + draw(&mut random, 1, 2 * chunk),
                heads: 2,
                groups: [1, 2][draw(&mut random, 0, 1)],
                cu_seqlens: None,
            };
            let case =
                Case::builtin(name, extents, Decay::Weak, random.bits()).rounded(Storage::F32);
            let options = Options {
                chunk: Some(chunk),
                ..Options::default()
            };
            println!("{name} {chunk} {:?}", case.extents);
            harness::check(&case, &device, &options, true, bounds);
        }
    }
}
