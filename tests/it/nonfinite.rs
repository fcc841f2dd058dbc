//! A NaN or an infinity reaches what depends on it and nothing else.
//!
//! One is planted in an input, a param, a state or an arriving gradient; what is not finite then is
//! compared with the step interpreter, where a step knows nothing of later ones. A chunk multiplies
//! by a zero where a step sees nothing, and zero times a NaN is a NaN: so this fails wherever a
//! causal zero is multiplied instead of selected, in padding, or past the end of a sequence.

use baton_codegen::Compiler;
use baton_ir::recurrence::{BinaryFn, Expr, Recurrence, UnaryFn};
use baton_ir::verify::verify;
use baton_ir::{builtin, text};
use baton_runtime::device::cpu::Cpu;
use baton_runtime::{Options, Tensor};
use baton_tests::harness::{Prepared, Results};
use baton_tests::{Case, Decay, EXTRAS, Extents, Random};

/// A number from `range`.
fn draw(random: &mut Random, range: std::ops::Range<usize>) -> usize {
    range.start + random.bits() as usize % range.len()
}

/// How often the states of a recurrence are read in their own update.
fn reads(recurrence: &Recurrence) -> usize {
    let facts = verify(recurrence).expect("it verifies");
    facts.transitions.iter().map(|t| t.reads.len()).sum()
}

/// Whether a step chooses between values: what is not taken has a slope of zero, or is seen by nobody.
fn chooses(recurrence: &Recurrence) -> bool {
    recurrence.exprs.iter().any(|expr| {
        matches!(
            expr,
            Expr::Unary(UnaryFn::Relu, _) | Expr::Binary(BinaryFn::Max | BinaryFn::Min, ..)
        )
    })
}

/// The recurrences whose states are read in their own update, or the others.
fn texts(read: bool) -> Vec<&'static str> {
    let builtins = builtin::NAMES.iter().filter_map(|name| builtin::text(name));
    let all = builtins.chain(EXTRAS.iter().copied());
    let wanted = |source: &&str| {
        let recurrence = text::parse(source).expect("it parses");
        (reads(&recurrence) > 0) == read
    };
    all.filter(wanted).collect()
}

/// A recurrence with sizes, lengths and chunk from `random`.
fn case(random: &mut Random, texts: &[&'static str]) -> (Case, Options) {
    let text = texts[draw(random, 0..texts.len())];
    let time = draw(random, 1..70);
    let packed = draw(random, 0..3) == 0;
    let (first, second) = (draw(random, 0..time + 1), draw(random, 0..time + 1));
    let extents = Extents {
        sizes: vec![draw(random, 1..34), draw(random, 1..34)],
        batch: if packed { 1 } else { draw(random, 1..3) },
        time,
        heads: 2,
        groups: draw(random, 1..3),
        cu_seqlens: packed.then(|| vec![0, first.min(second), first.max(second), time]),
    };
    let chunk = [None, Some(16), Some(32), Some(64)][draw(random, 0..4)];
    let decay = [Decay::None, Decay::Weak][draw(random, 0..2)];
    let case = Case::new(text, extents, decay, random.bits());
    let options = Options {
        chunk: chunk.filter(|_| Compiler::new(&case.recurrence, &case.extents.sizes).is_ok()),
        ..Options::default()
    };
    (case, options)
}

/// The tensors that a run is given, with their names.
fn given(case: &mut Case) -> Vec<(String, &mut Vec<f64>)> {
    let r = case.recurrence.clone();
    let named = |kind: &str, ports: &[baton_ir::recurrence::Port]| {
        let names = ports.iter().map(|port| format!("{kind} {}", port.name));
        names.collect::<Vec<_>>()
    };
    let all = [
        (named("input", &r.inputs), &mut case.inputs),
        (named("param", &r.params), &mut case.params),
        (named("state", &r.states), &mut case.states),
        (named("gradient of", &r.outputs), &mut case.d_outputs),
        (named("gradient of", &r.states), &mut case.d_states),
    ];
    let pairs = all.into_iter();
    pairs
        .flat_map(|(names, tensors)| names.into_iter().zip(tensors))
        .filter(|(_, tensor)| !tensor.is_empty())
        .collect()
}

/// The results by name.
fn tensors(results: &Results) -> Vec<(&str, &Vec<Tensor>)> {
    vec![
        ("output", &results.outputs),
        ("state", &results.states),
        ("d_input", &results.gradients.inputs),
        ("d_param", &results.gradients.params),
        ("d_state", &results.gradients.states),
    ]
}

/// Plants one number in a case from `seed`, runs it on the CPU and by the interpreter, and says
/// what of the CPU's results is not finite without reason.
fn plant(seed: u64, value: f64, texts: &[&'static str], cpu: &Cpu) -> Result<(), String> {
    let mut random = Random(seed);
    let (mut case, options) = case(&mut random, texts);
    let reads = reads(&case.recurrence);
    let (extents, name) = (case.extents.clone(), case.recurrence.name.clone());
    let mut all = given(&mut case);
    let which = draw(&mut random, 0..all.len());
    let at = draw(&mut random, 0..all[which].1.len());
    all[which].1[at] = value;
    let what = format!(
        "seed {seed}: {name} {extents:?} chunk {:?}: {value} in {} at {at}",
        options.chunk, all[which].0
    );
    // A maximum may choose the other side, and the limit of a function may be finite: what is NaN
    // in the interpreter shows for certain only where there is neither.
    // An overflow of a decay in the weight of a read is bounded where it is a factor of a gradient.
    let exact = !chooses(&case.recurrence) && reads == 0 && value.is_nan();
    let found = Prepared::new(&case).run(cpu, &options, true);
    // An infinity may meet another in a sum, or a zero in a product, where the interpreter has the limit of a
    // function: it reaches at most what a NaN in its place reaches.
    given(&mut case)[which].1[at] = f64::NAN;
    let (outcome, gradient) = case.truth();
    let truth = [
        &outcome.outputs,
        &outcome.states,
        &gradient.inputs,
        &gradient.params,
        &gradient.states,
    ];
    for ((part, found), truth) in tensors(&found).into_iter().zip(truth) {
        // Several reads are eliminated by products of two triangles (docs/numerics.md, "What a NaN reaches").
        if reads > 1 && part.starts_with("d_") {
            continue;
        }
        for (i, (found, truth)) in found.iter().zip(truth).enumerate() {
            let differs = |&j: &usize| {
                let (found, truth) = (found.data[j], truth[j] as f32);
                let hidden = exact && found.is_finite() && truth.is_nan();
                !found.is_finite() && truth.is_finite() || hidden
            };
            if let Some(j) = (0..truth.len()).find(differs) {
                let count = (0..truth.len()).filter(differs).count();
                return Err(format!(
                    "{what}: {part} {i} of shape {:?} has {count} of these, first at {j}: {}, \
                     where {} is true",
                    found.shape, found.data[j], truth[j]
                ));
            }
        }
    }
    Ok(())
}

fn nothing_is_reached(texts: &[&'static str]) {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let mut wrong = vec![];
    for seed in 0..160 {
        let value = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][seed as usize % 3];
        wrong.extend(plant(seed, value, texts, &cpu).err());
    }
    let count = wrong.len();
    wrong.truncate(12);
    assert!(wrong.is_empty(), "{count} of 160:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_reaches_what_does_not_depend_on_it() {
    nothing_is_reached(&texts(false));
}

#[test]
fn nothing_passes_a_read_without_reason() {
    nothing_is_reached(&texts(true));
}

/// Heads and batch rows are apart: what one is given changes no bit of another.
#[test]
fn heads_and_rows_are_apart() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    for (seed, name) in builtin::NAMES.iter().enumerate() {
        for groups in [1, 2] {
            let extents = Extents {
                sizes: vec![21, 14],
                batch: 2,
                time: 37,
                heads: 2,
                groups,
                cu_seqlens: None,
            };
            let mut case = Case::builtin(name, extents, Decay::Weak, seed as u64);
            let clean = Prepared::new(&case).run(&cpu, &Options::default(), true);
            // The first head (its group, where it shares) of the second row.
            let r = case.recurrence.clone();
            for (port, input) in r.inputs.iter().zip(&mut case.inputs) {
                let lanes = if port.per_group { groups } else { 2 };
                let row = input.len() / (2 * 37 * lanes);
                let at = (37 + 20) * lanes * row;
                input[at..at + row].fill(f64::NAN);
            }
            let dirty = Prepared::new(&case).run(&cpu, &Options::default(), true);
            let shared = |port: &baton_ir::recurrence::Port| port.per_group && groups == 1;
            let pairs = [
                (&clean.outputs, &dirty.outputs, &r.outputs),
                (&clean.states, &dirty.states, &r.states),
                (&clean.gradients.inputs, &dirty.gradients.inputs, &r.inputs),
                (&clean.gradients.states, &dirty.gradients.states, &r.states),
            ];
            for (clean, dirty, ports) in pairs {
                for ((clean, dirty), port) in clean.iter().zip(dirty).zip(ports) {
                    let bits = |tensor: &Tensor, at: std::ops::Range<usize>| -> Vec<u32> {
                        tensor.data[at].iter().map(|x| x.to_bits()).collect()
                    };
                    let half = clean.data.len() / 2;
                    assert_eq!(
                        bits(clean, 0..half),
                        bits(dirty, 0..half),
                        "{name}: {} of the other row",
                        port.name
                    );
                    let sharing = r.inputs.iter().any(shared);
                    if sharing {
                        continue;
                    }
                    // [B, (T), H, ..]: the second head of every step of the second row.
                    let lanes = if port.per_group { groups } else { 2 };
                    let steps = if clean.shape.len() == port.shape.len() + 3 {
                        37
                    } else {
                        1
                    };
                    let row = half / (steps * lanes);
                    for step in 0..steps {
                        let at = half + (step * lanes + 1) * row;
                        assert_eq!(
                            bits(clean, at..at + row),
                            bits(dirty, at..at + row),
                            "{name}: {} of the other head at step {step}",
                            port.name
                        );
                    }
                }
            }
        }
    }
}

/// Packed sequences are apart.
#[test]
fn sequences_are_apart() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    for (seed, name) in builtin::NAMES.iter().enumerate() {
        let ends = vec![0, 9, 30, 30, 53];
        let extents = Extents {
            sizes: vec![21, 14],
            batch: 1,
            time: 53,
            heads: 2,
            groups: 2,
            cu_seqlens: Some(ends),
        };
        let mut case = Case::builtin(name, extents, Decay::Weak, seed as u64);
        let clean = Prepared::new(&case).run(&cpu, &Options::default(), true);
        for input in &mut case.inputs {
            let row = input.len() / 53;
            input[20 * row..21 * row].fill(f64::NAN);
        }
        let dirty = Prepared::new(&case).run(&cpu, &Options::default(), true);
        let pairs = [
            (&clean.outputs, &dirty.outputs),
            (&clean.gradients.inputs, &dirty.gradients.inputs),
        ];
        for (clean, dirty) in pairs {
            for (clean, dirty) in clean.iter().zip(dirty) {
                let row = clean.data.len() / 53;
                for step in (0..9).chain(30..53) {
                    let at = step * row..(step + 1) * row;
                    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(
                        bits(&clean.data[at.clone()]),
                        bits(&dirty.data[at]),
                        "{name}: step {step}"
                    );
                }
            }
        }
    }
}

/// On a GPU a product runs over the whole chunk, zeros included: a NaN may come to steps of its own
/// chunk that do not depend on it, and to no step of another. Printed is how far it came
/// (docs/numerics.md, "What a NaN reaches").
#[cfg(feature = "mlir")]
#[test]
fn on_a_gpu_a_chunk_keeps_it() {
    use baton_runtime::device::gpu::{Emulator, Gpu, Storage};
    const TIME: usize = 80;
    for (name, chunk, at) in [("mamba2", 32, 40), ("gla", 16, 40), ("rwkv6", 16, 40)] {
        let extents = Extents {
            sizes: vec![16, 16],
            batch: 1,
            time: TIME,
            heads: 1,
            groups: 1,
            cu_seqlens: None,
        };
        let clean = Case::builtin(name, extents, Decay::Weak, 1);
        let device = Emulator::new(Gpu::sm_80(Storage::F32));
        let options = Options {
            chunk: Some(chunk),
            ..Options::default()
        };
        let inputs = clean.inputs.len();
        for which in 0..inputs + clean.d_outputs.len() {
            let mut case = Case {
                recurrence: clean.recurrence.clone(),
                extents: clean.extents.clone(),
                inputs: clean.inputs.clone(),
                params: clean.params.clone(),
                states: clean.states.clone(),
                d_outputs: clean.d_outputs.clone(),
                d_states: clean.d_states.clone(),
            };
            let (tensor, planted) = match which < inputs {
                true => (
                    &mut case.inputs[which],
                    clean.recurrence.inputs[which].name.clone(),
                ),
                false => (
                    &mut case.d_outputs[which - inputs],
                    format!("d_{}", clean.recurrence.outputs[which - inputs].name),
                ),
            };
            let row = tensor.len() / TIME;
            tensor[at * row] = f64::NAN;
            let found = Prepared::new(&case).run(&device, &options, true);
            let (outcome, gradient) = case.truth();
            let names = |ports: &[baton_ir::recurrence::Port], prefix: &str| -> Vec<String> {
                let names = ports.iter().map(|port| format!("{prefix}{}", port.name));
                names.collect()
            };
            let r = &case.recurrence;
            for (names, found, truth) in [
                (names(&r.outputs, ""), &found.outputs, &outcome.outputs),
                (
                    names(&r.inputs, "d_"),
                    &found.gradients.inputs,
                    &gradient.inputs,
                ),
            ] {
                for ((name, found), truth) in names.iter().zip(found).zip(truth) {
                    let row = truth.len() / TIME;
                    let steps: Vec<usize> = (0..TIME)
                        .filter(|step| {
                            let mut entries = step * row..(step + 1) * row;
                            entries.any(|j| !found.data[j].is_finite() && truth[j].is_finite())
                        })
                        .collect();
                    if let (Some(first), Some(last)) = (steps.first(), steps.last()) {
                        println!(
                            "{}, chunk {chunk}: a NaN in {planted} at step {at} comes to {name} at {} \
                             steps of {first}..={last} without reason",
                            r.name,
                            steps.len()
                        );
                    }
                    let own = at / chunk * chunk..(at / chunk + 1) * chunk;
                    assert!(
                        steps.iter().all(|step| own.contains(step)),
                        "{}: {planted} at {at} comes to {name} at {steps:?}",
                        r.name
                    );
                }
            }
        }
    }
}
