//! The suite that every device passes, against the step interpreter in f64.
//!
//! Inputs are strided views of memory filled with NaN around them; outputs start as NaN where
//! checks are on. So what is read outside or left unwritten shows as NaN in a result.

use baton_ir::builtin;
use baton_runtime::device::cpu::Cpu;
use baton_runtime::{Call, Device, Gradients, Options, Tensor, View};
use baton_tests::{Case, Decay, EXTRAS, Extents, relative_error};

/// Bounds on the relative error in f32.
pub const OUTPUTS: f64 = 2e-6;
pub const GRADIENTS: f64 = 1e-5;

/// Tensors in f32, each inside memory filled with NaN, with gaps between steps and at both ends.
struct Surrounded {
    data: Vec<f32>,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

const MARGIN: usize = 37;

impl Surrounded {
    /// `lead` dims may have gaps behind them; the rest is contiguous.
    fn new(values: &[f64], shape: &[usize], lead: usize) -> Surrounded {
        let inner: usize = shape[lead..].iter().product();
        let gap = if lead > 1 { 5 } else { 0 };
        let mut strides = vec![1; shape.len()];
        for i in (0..shape.len().saturating_sub(1)).rev() {
            let extra = if i + 1 == lead - 1 && lead > 1 {
                gap
            } else {
                0
            };
            strides[i] = strides[i + 1] * shape[i + 1] + extra;
        }
        let rows: usize = shape[..lead].iter().product();
        let span = shape[0] * strides[0];
        let mut data = vec![f32::NAN; MARGIN + span + MARGIN];
        for row in 0..rows {
            let (mut rest, mut at) = (row, MARGIN);
            for i in (0..lead).rev() {
                at += rest % shape[i] * strides[i];
                rest /= shape[i];
            }
            for j in 0..inner {
                data[at + j] = values[row * inner + j] as f32;
            }
        }
        Surrounded {
            data,
            shape: shape.to_vec(),
            strides,
        }
    }

    fn view(&self) -> View<'_> {
        View {
            data: &self.data[MARGIN..],
            shape: self.shape.clone(),
            strides: self.strides.clone(),
        }
    }
}

/// A case in f32 memory.
struct Prepared<'c> {
    case: &'c Case,
    inputs: Vec<Surrounded>,
    params: Vec<Surrounded>,
    states: Vec<Surrounded>,
    d_outputs: Vec<Surrounded>,
    d_states: Vec<Surrounded>,
    cu_seqlens: Option<Vec<i64>>,
}

impl<'c> Prepared<'c> {
    fn new(case: &'c Case) -> Self {
        let e = &case.extents;
        let sequences = e.cu_seqlens.as_ref().map_or(e.batch, |ends| ends.len() - 1);
        let all = |values: &[Vec<f64>], ports: &[baton_ir::recurrence::Port], outer: &[usize]| {
            let pairs = values.iter().zip(ports);
            pairs
                .map(|(values, port)| {
                    let lanes = if port.per_group { e.groups } else { e.heads };
                    let mut shape = outer.to_vec();
                    shape.push(lanes);
                    shape.extend(port.shape.iter().map(|dim| e.sizes[dim.index()]));
                    Surrounded::new(values, &shape, outer.len() + 1)
                })
                .collect::<Vec<_>>()
        };
        let r = &case.recurrence;
        Prepared {
            case,
            inputs: all(&case.inputs, &r.inputs, &[e.batch, e.time]),
            params: all(&case.params, &r.params, &[]),
            states: all(&case.states, &r.states, &[sequences]),
            d_outputs: all(&case.d_outputs, &r.outputs, &[e.batch, e.time]),
            d_states: all(&case.d_states, &r.states, &[sequences]),
            cu_seqlens: e
                .cu_seqlens
                .as_ref()
                .map(|v| v.iter().map(|x| *x as i64).collect()),
        }
    }

    fn call(&self) -> Call<'_> {
        Call {
            inputs: self.inputs.iter().map(Surrounded::view).collect(),
            params: self.params.iter().map(Surrounded::view).collect(),
            states: self.states.iter().map(|s| Some(s.view())).collect(),
            cu_seqlens: self.cu_seqlens.as_deref(),
        }
    }

    fn run(&self, device: &dyn Device, options: &Options, keep: bool) -> Results {
        let sizes = &self.case.extents.sizes;
        let kernel = device
            .load(&self.case.recurrence, sizes, options)
            .expect("it loads");
        let call = self.call();
        let forward = kernel.forward(&call, keep).expect("it runs");
        let (d_outputs, d_states) = (views(&self.d_outputs), views(&self.d_states));
        let gradients = kernel
            .backward(&call, forward.saved.as_ref(), &d_outputs, &d_states)
            .expect("it runs");
        Results {
            outputs: forward.outputs,
            states: forward.states,
            gradients,
        }
    }
}

fn views(all: &[Surrounded]) -> Vec<Option<View<'_>>> {
    all.iter().map(|s| Some(s.view())).collect()
}

struct Results {
    outputs: Vec<Tensor>,
    states: Vec<Tensor>,
    gradients: Gradients,
}

impl Results {
    fn bits(&self) -> Vec<u32> {
        let all = [
            &self.outputs,
            &self.states,
            &self.gradients.inputs,
            &self.gradients.params,
        ];
        let all = all.into_iter().chain([&self.gradients.states]).flatten();
        all.flat_map(|tensor| tensor.data.iter().map(|x| x.to_bits()))
            .collect()
    }
}

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

fn check(case: &Case, options: &Options, keep: bool, device: &dyn Device) {
    let found = Prepared::new(case).run(device, options, keep);
    let (outcome, gradient) = case.truth();
    let what = format!(
        "{} T={} {options:?} keep={keep}",
        case.recurrence.name, case.extents.time
    );
    let compare = |part: &str, found: &[Tensor], truth: &[Vec<f64>], bound: f64| {
        for (i, (found, truth)) in found.iter().zip(truth).enumerate() {
            let error = relative_error(&found.data, truth);
            assert!(
                error <= bound,
                "{what}: {part} {i}: relative error {error:e}"
            );
        }
    };
    compare("output", &found.outputs, &outcome.outputs, OUTPUTS);
    compare("state", &found.states, &outcome.states, OUTPUTS);
    compare(
        "d_input",
        &found.gradients.inputs,
        &gradient.inputs,
        GRADIENTS,
    );
    compare(
        "d_param",
        &found.gradients.params,
        &gradient.params,
        GRADIENTS,
    );
    compare(
        "d_state",
        &found.gradients.states,
        &gradient.states,
        GRADIENTS,
    );
}

fn chunks() -> [usize; 4] {
    [16, 32, 64, 128]
}

/// Every built-in at every length and chunk, with and without decay.
fn lengths(name: &str) {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    for decay in [Decay::None, Decay::Strong, Decay::Weak] {
        for chunk in chunks() {
            for time in [0, 1, chunk - 1, chunk, chunk + 1, 63, 1000, 2048] {
                // The long ones are the same work for every chunk but cost the truth most.
                let seed = time as u64 * 31 + chunk as u64;
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
lengths!(mamba2 linear_attention retnet simple_gla gla hgrn2 rwkv6);

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
        for decay in [Decay::Weak, Decay::Strong] {
            for ends in [None, Some(vec![0, 700, 700, 1500])] {
                let one = Extents {
                    heads: 1,
                    groups: 1,
                    ..extents(name, 1500)
                };
                let one = Extents {
                    cu_seqlens: ends.clone(),
                    ..one
                };
                let case = Case::builtin(name, one, decay, seed as u64);
                check(&case, &Options::default(), true, &cpu);
                check(&case, &Options::default(), false, &cpu);
            }
            let case = Case::builtin(name, extents(name, 1500), decay, seed as u64);
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
