//! What belongs to the CPU beside the suite of `suite`: long runs at every chunk, segments and
//! checkpoints, numbers of threads, decode steps.

use baton_ir::builtin;
use baton_runtime::device::cpu::Cpu;
use baton_runtime::{Device, Options, Tensor};
use baton_tests::harness::{self, Prepared};
use baton_tests::tolerance::Arithmetic;
use baton_tests::{Case, Decay, EXTRAS, Extents, relative_error};

/// Bounds on the relative error.
const OUTPUTS: f64 = Arithmetic::F32.tolerance().outputs;
const GRADIENTS: f64 = Arithmetic::F32.tolerance().gradients;

fn extents(name: &str, time: usize) -> Extents {
    let groups = if name == "mamba2" { 2 } else { 4 };
    Extents {
        sizes: vec![24, 20],
        batch: 1,
        time,
        heads: 4,
        groups,
        cu_seqlens: None,
    }
}

/// Runs a case with its gradients and compares everything with the truth.
pub fn check(case: &Case, options: &Options, keep: bool, device: &dyn Device) {
    let bounds = Arithmetic::F32.tolerance();
    harness::check(case, device, options, keep, bounds);
}

/// Every built-in at every length and chunk, with and without decay.
fn lengths(name: &str) {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    for decay in [Decay::None, Decay::Strong, Decay::Weak] {
        for chunk in [16, 32, 64, 128] {
            for time in [0, 1, chunk - 1, chunk, chunk + 1, 63, 1000, 2048] {
                // The long ones are the same work for every chunk but cost the truth most.
                let seed = (time * 31 + chunk) as u64;
                let case = Case::builtin(name, extents(name, time), decay, seed);
                let options = Options {
                    chunk: Some(chunk),
                    ..Options::default()
                };
                check(&case, &options, true, &cpu);
            }
        }
    }
}

macro_rules! lengths {
    ($($name:ident)*) => {
        mod lengths_of { $(#[test] fn $name() { super::lengths(stringify!($name)); })* }
        #[test]
        fn every_builtin_has_its_lengths_tested() {
            assert_eq!(builtin::NAMES, [$(stringify!($name)),*]);
        }
    };
}
lengths!(
    mamba2 linear_attention linear_attention_norm retnet simple_gla gla hgrn2 rwkv6
    delta_net gated_delta_net gated_delta_product kda comba rwkv7 mamba1 rg_lru min_gru
    longhorn efla kaczmarz mlstm mamba3 mlstm_sigmoid
);

#[test]
fn recurrences_beyond_the_builtin_ones() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    for (index, source) in EXTRAS.iter().enumerate() {
        for ends in [None, Some(vec![0, 0, 3, 70, 70, 150])] {
            let groups = if source.contains("per group") { 2 } else { 4 };
            let batch = if ends.is_some() { 1 } else { 2 };
            let sizes = vec![7, 12];
            let extents = Extents {
                sizes,
                batch,
                time: 150,
                heads: 4,
                groups,
                cu_seqlens: ends,
            };
            let case = Case::new(source, extents, Decay::Weak, index as u64);
            check(&case, &Options::default(), true, &cpu);
        }
    }
}

/// Few tasks: time is cut into segments. Little memory: states are kept at checkpoints only.
#[test]
fn segments_and_checkpoints_change_nothing() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    for (seed, name) in builtin::NAMES.iter().enumerate() {
        let time = 1500;
        for decay in [Decay::Weak, Decay::Strong] {
            for ends in [None, Some(vec![0, time / 2, time / 2, time])] {
                let one = Extents {
                    heads: 1,
                    groups: 1,
                    ..extents(name, time)
                };
                let one = Extents {
                    cu_seqlens: ends.clone(),
                    ..one
                };
                let case = Case::builtin(name, one, decay, seed as u64);
                check(&case, &Options::default(), true, &cpu);
                check(&case, &Options::default(), false, &cpu);
            }
            let case = Case::builtin(name, extents(name, time), decay, seed as u64);
            let options = Options {
                keep_bytes: Some(1 << 10),
                ..Options::default()
            };
            check(&case, &options, true, &cpu);
            check(&case, &options, false, &cpu);
        }
    }
}

#[test]
fn bits_are_the_same_for_every_run_and_number_of_threads() {
    for name in builtin::NAMES {
        for heads in [1, 4] {
            let groups = if *name == "mamba2" { 1 } else { heads };
            let extents = Extents {
                heads,
                groups,
                ..extents(name, 1100)
            };
            let case = Case::builtin(name, extents, Decay::Weak, 7);
            let prepared = Prepared::new(&case);
            let bits = |threads| {
                let cpu = Cpu::new(Some(threads)).expect("threads start");
                prepared.run(&cpu, &Options::default(), true).bits()
            };
            let first = bits(1);
            for threads in [1, 2, 3, 8] {
                assert!(
                    first == bits(threads),
                    "{name}: bits differ with {threads} threads"
                );
            }
        }
    }
}

/// Steps `from..to` of a tensor `[1, T, ...]`.
fn cut(tensor: &[f64], time: usize, from: usize, to: usize) -> Vec<f64> {
    let row = tensor.len() / time;
    tensor[from * row..to * row].to_vec()
}

fn wide(tensor: &Tensor) -> Vec<f64> {
    tensor.data.iter().map(|x| f64::from(*x)).collect()
}

/// `run(a ++ b, h) == run(b, run(a, h).state)`, forward and gradient, at cuts inside chunks.
#[test]
fn runs_chain() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let time = 300;
    for name in builtin::NAMES {
        let whole = Case::builtin(name, extents(name, time), Decay::Weak, 3);
        let truth = Prepared::new(&whole).run(&cpu, &Options::default(), true);
        for at in [1, 37, 131, 299] {
            let part = |from: usize, to: usize| Case {
                recurrence: whole.recurrence.clone(),
                extents: Extents {
                    time: to - from,
                    ..whole.extents.clone()
                },
                inputs: whole
                    .inputs
                    .iter()
                    .map(|v| cut(v, time, from, to))
                    .collect(),
                params: whole.params.clone(),
                states: whole.states.clone(),
                d_outputs: whole
                    .d_outputs
                    .iter()
                    .map(|v| cut(v, time, from, to))
                    .collect(),
                d_states: whole.d_states.clone(),
            };
            let (mut a, mut b) = (part(0, at), part(at, time));
            let first = Prepared::new(&a).run(&cpu, &Options::default(), true);
            b.states = first.states.iter().map(wide).collect();
            let second = Prepared::new(&b).run(&cpu, &Options::default(), true);
            a.d_states = second.gradients.states.iter().map(wide).collect();
            let first = Prepared::new(&a).run(&cpu, &Options::default(), true);
            let joined = |x: &[Tensor], y: &[Tensor], whole: &[Tensor], bound: f64| {
                for ((x, y), whole) in x.iter().zip(y).zip(whole) {
                    let both = [&x.data[..], &y.data[..]].concat();
                    let error = relative_error(&both, &wide(whole));
                    assert!(error <= bound, "{name} cut at {at}: {error:e}");
                }
            };
            joined(&first.outputs, &second.outputs, &truth.outputs, OUTPUTS);
            let (g, h) = (&first.gradients, &second.gradients);
            joined(&g.inputs, &h.inputs, &truth.gradients.inputs, GRADIENTS);
            for (x, whole) in second.states.iter().zip(&truth.states) {
                assert!(
                    relative_error(&x.data, &wide(whole)) <= OUTPUTS,
                    "{name} cut at {at}"
                );
            }
            for (x, whole) in g.states.iter().zip(&truth.gradients.states) {
                assert!(
                    relative_error(&x.data, &wide(whole)) <= GRADIENTS,
                    "{name} cut at {at}"
                );
            }
            for ((x, y), whole) in g.params.iter().zip(&h.params).zip(&truth.gradients.params) {
                let sum: Vec<f32> = x.data.iter().zip(&y.data).map(|(x, y)| x + y).collect();
                assert!(
                    relative_error(&sum, &wide(whole)) <= GRADIENTS,
                    "{name} cut at {at}"
                );
            }
        }
    }
}

/// Packed sequences give what the sequences give alone.
#[test]
fn packed_equals_separate() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let ends = [0usize, 5, 5, 133, 400];
    let time = 400;
    for name in builtin::NAMES {
        let extents = Extents {
            cu_seqlens: Some(ends.to_vec()),
            ..extents(name, time)
        };
        let packed = Case::builtin(name, extents, Decay::Weak, 11);
        let together = Prepared::new(&packed).run(&cpu, &Options::default(), true);
        let mut params = vec![vec![]; packed.params.len()];
        for (s, range) in ends.windows(2).enumerate() {
            let state = |all: &[Vec<f64>]| -> Vec<Vec<f64>> {
                let row = |v: &Vec<f64>| v.len() / (ends.len() - 1);
                all.iter()
                    .map(|v| v[s * row(v)..(s + 1) * row(v)].to_vec())
                    .collect()
            };
            let steps = |all: &[Vec<f64>]| -> Vec<Vec<f64>> {
                all.iter()
                    .map(|v| cut(v, time, range[0], range[1]))
                    .collect()
            };
            let len = range[1] - range[0];
            let alone = Case {
                recurrence: packed.recurrence.clone(),
                extents: Extents {
                    time: len,
                    cu_seqlens: None,
                    ..packed.extents.clone()
                },
                inputs: steps(&packed.inputs),
                params: packed.params.clone(),
                states: state(&packed.states),
                d_outputs: steps(&packed.d_outputs),
                d_states: state(&packed.d_states),
            };
            let alone = Prepared::new(&alone).run(&cpu, &Options::default(), true);
            let same = |part: &str, found: &[Tensor], truth: &[Vec<f64>], bound| {
                for (found, truth) in found.iter().zip(truth) {
                    let error = relative_error(&found.data, truth);
                    assert!(error <= bound, "{name} sequence {s}: {part}: {error:e}");
                }
            };
            let all = |tensors: &[Tensor]| tensors.iter().map(wide).collect::<Vec<_>>();
            same(
                "outputs",
                &alone.outputs,
                &steps(&all(&together.outputs)),
                OUTPUTS,
            );
            same(
                "states",
                &alone.states,
                &state(&all(&together.states)),
                OUTPUTS,
            );
            let (g, h) = (&alone.gradients, &together.gradients);
            same("d_inputs", &g.inputs, &steps(&all(&h.inputs)), GRADIENTS);
            same("d_states", &g.states, &state(&all(&h.states)), GRADIENTS);
            for (sum, part) in params.iter_mut().zip(&g.params) {
                sum.resize(part.data.len(), 0.0);
                sum.iter_mut()
                    .zip(&part.data)
                    .for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
        for (found, truth) in together.gradients.params.iter().zip(&params) {
            assert!(
                relative_error(&found.data, truth) <= GRADIENTS,
                "{name}: d_params"
            );
        }
    }
}

/// The decode step, one by one, gives what the run over all steps gives.
#[test]
fn steps_give_what_a_run_gives() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let time = 50;
    for name in builtin::NAMES {
        let case = Case::builtin(
            name,
            Extents {
                batch: 2,
                ..extents(name, time)
            },
            Decay::Weak,
            5,
        );
        let (outcome, _) = case.truth();
        let kernel = cpu
            .load(&case.recurrence, &case.extents.sizes, &Options::default())
            .expect("it loads");
        let prepared = Prepared::new(&case);
        let mut states: Vec<Tensor> = prepared
            .states
            .iter()
            .map(|s| s.view().to_tensor())
            .collect();
        let mut outputs = vec![vec![]; case.recurrence.outputs.len()];
        for t in 0..time {
            let mut call = prepared.call();
            for view in &mut call.inputs {
                view.data = &view.data[t * view.strides[1]..];
                view.shape[1] = 1;
            }
            call.states.iter_mut().for_each(|state| *state = None);
            for (all, out) in outputs
                .iter_mut()
                .zip(kernel.step(&call, &mut states).expect("it steps"))
            {
                all.push(out.data);
            }
        }
        for (found, truth) in states.iter().zip(&outcome.states) {
            assert!(
                relative_error(&found.data, truth) <= OUTPUTS,
                "{name}: states"
            );
        }
        for (found, truth) in outputs.iter().zip(&outcome.outputs) {
            // [T][B, H, dims] to [B, T, H, dims]
            let row = found[0].len() / 2;
            let ordered: Vec<f32> = (0..2)
                .flat_map(|b| found.iter().flat_map(move |x| x[b * row..][..row].to_vec()))
                .collect();
            assert!(
                relative_error(&ordered, truth) <= OUTPUTS,
                "{name}: outputs"
            );
        }
    }
}
