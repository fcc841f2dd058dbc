//! The GPU kernels under the emulator, against the step interpreter in f64.
//!
//! Inputs are rounded to the dtype of storage first, so that both sides start from the same
//! numbers. A finding of the emulator (a race, a read of what nothing wrote, an access out of
//! bounds) is an error of the run, so every test here also holds that there is none.

use baton_ir::builtin;
use baton_ir::recurrence::Port;
use baton_runtime::device::gpu::{Emulator, Gpu, Products, Storage};
use baton_runtime::{Call, Device, Forward, Gradients, Options, Tensor, View};
use baton_tests::tolerance::{Arithmetic, Tolerance};
use baton_tests::{Case, Decay, Extents, relative_error};
use std::ops::Range;

pub const BF16: Tolerance = Arithmetic::Bf16.tolerance();
const F16: Tolerance = Arithmetic::F16.tolerance();
const TF32: Tolerance = Arithmetic::Tf32.tolerance();
pub const F32: Tolerance = Arithmetic::Split.tolerance();

pub fn schedule(storage: Storage) -> Gpu {
    Gpu::sm_80(storage)
}

/// A case whose numbers are exact in the storage dtype.
pub fn case(name: &str, extents: Extents, decay: Decay, storage: Storage) -> Case {
    let source = builtin::text(name).expect("a built-in name");
    case_of(source, extents, decay, storage)
}

/// The same of a recurrence's text.
pub fn case_of(source: &str, extents: Extents, decay: Decay, storage: Storage) -> Case {
    Case::new(source, extents, decay, 11).rounded(storage)
}

pub fn extents(sizes: [usize; 2], time: usize, heads: usize, groups: usize) -> Extents {
    Extents {
        sizes: sizes.to_vec(),
        batch: 1,
        time,
        heads,
        groups,
        cu_seqlens: None,
    }
}

/// Tensors of a case in f32.
pub struct Tensors {
    pub inputs: Vec<Tensor>,
    pub params: Vec<Tensor>,
    pub states: Vec<Tensor>,
    pub d_outputs: Vec<Tensor>,
    pub d_states: Vec<Tensor>,
    pub ends: Option<Vec<i64>>,
}

impl Tensors {
    pub fn new(case: &Case) -> Self {
        let e = &case.extents;
        let sequences = e.cu_seqlens.as_ref().map_or(e.batch, |ends| ends.len() - 1);
        let all = |values: &[Vec<f64>], ports: &[Port], outer: &[usize]| -> Vec<Tensor> {
            let one = |(values, port): (&Vec<f64>, &Port)| {
                let mut shape = outer.to_vec();
                shape.push(if port.per_group { e.groups } else { e.heads });
                shape.extend(port.shape.iter().map(|dim| e.sizes[dim.index()]));
                let data = values.iter().map(|value| *value as f32).collect();
                Tensor { shape, data }
            };
            values.iter().zip(ports).map(one).collect()
        };
        let r = &case.recurrence;
        Tensors {
            inputs: all(&case.inputs, &r.inputs, &[e.batch, e.time]),
            params: all(&case.params, &r.params, &[]),
            states: all(&case.states, &r.states, &[sequences]),
            d_outputs: all(&case.d_outputs, &r.outputs, &[e.batch, e.time]),
            d_states: all(&case.d_states, &r.states, &[sequences]),
            ends: (e.cu_seqlens.as_ref()).map(|ends| ends.iter().map(|end| *end as i64).collect()),
        }
    }

    /// Some steps of one sequence, from other states and to other gradients of the last.
    pub fn steps(
        &self,
        range: Range<usize>,
        states: Vec<Tensor>,
        d_states: Vec<Tensor>,
    ) -> Tensors {
        Tensors {
            inputs: span(&self.inputs, range.clone()),
            params: self.params.clone(),
            states,
            d_outputs: span(&self.d_outputs, range),
            d_states,
            ends: None,
        }
    }

    pub fn call(&self) -> Call<'_> {
        Call {
            inputs: self.inputs.iter().map(Tensor::view).collect(),
            params: self.params.iter().map(Tensor::view).collect(),
            states: views(&self.states),
            cu_seqlens: self.ends.as_deref(),
        }
    }
}

/// Some sequences of tensors [S, ..].
fn sequences(all: &[Tensor], range: Range<usize>) -> Vec<Tensor> {
    let one = |tensor: &Tensor| {
        let row = tensor.data.len() / tensor.shape[0];
        let mut shape = tensor.shape.clone();
        shape[0] = range.len();
        let data = tensor.data[range.start * row..range.end * row].to_vec();
        Tensor { shape, data }
    };
    all.iter().map(one).collect()
}

/// Some steps of tensors [1, T, ..].
pub fn span(all: &[Tensor], range: Range<usize>) -> Vec<Tensor> {
    let one = |tensor: &Tensor| {
        let row = tensor.data.len() / tensor.shape[1];
        let mut shape = tensor.shape.clone();
        shape[1] = range.len();
        let data = tensor.data[range.start * row..range.end * row].to_vec();
        Tensor { shape, data }
    };
    all.iter().map(one).collect()
}

pub fn views(tensors: &[Tensor]) -> Vec<Option<View<'_>>> {
    tensors.iter().map(|tensor| Some(tensor.view())).collect()
}

fn run(case: &Case, device: &dyn Device, chunk: Option<usize>) -> (Forward, Gradients) {
    run_on(case, &Tensors::new(case), device, chunk)
}

fn run_on(
    case: &Case,
    tensors: &Tensors,
    device: &dyn Device,
    chunk: Option<usize>,
) -> (Forward, Gradients) {
    let options = Options {
        chunk,
        ..Options::default()
    };
    let kernel = device
        .load(&case.recurrence, &case.extents.sizes, &options)
        .expect("it loads");
    let call = tensors.call();
    let forward = kernel.forward(&call, true).expect("forward runs");
    let (d_outputs, d_states) = (views(&tensors.d_outputs), views(&tensors.d_states));
    let gradients = kernel
        .backward(&call, forward.saved.as_ref(), &d_outputs, &d_states)
        .expect("backward runs");
    (forward, gradients)
}

pub fn compare(case: &Case, (forward, gradients): &(Forward, Gradients), bounds: Tolerance) {
    let (near, far) = (bounds.outputs, bounds.gradients);
    let (outcome, truth) = case.truth();
    let r = &case.recurrence;
    let all = |kind: &str, ports: &[Port], found: &[Tensor], truth: &[Vec<f64>], bound: f64| {
        for (port, (found, truth)) in ports.iter().zip(found.iter().zip(truth)) {
            let error = relative_error(&found.data, truth);
            assert!(
                error <= bound,
                "{} {kind}{}: {error:.2e}",
                r.name,
                port.name
            );
        }
    };
    all("", &r.outputs, &forward.outputs, &outcome.outputs, near);
    all("", &r.states, &forward.states, &outcome.states, near);
    all("d_", &r.inputs, &gradients.inputs, &truth.inputs, far);
    all("d_", &r.params, &gradients.params, &truth.params, far);
    all("d_", &r.states, &gradients.states, &truth.states, far);
}

/// The recurrences whose decay is one number a step.
const SCALAR: [&str; 4] = ["mamba2", "linear_attention", "retnet", "simple_gla"];

#[test]
fn bf16_agrees_with_the_truth() {
    for name in SCALAR {
        for sizes in [[64, 64], [16, 64], [128, 64]] {
            let case = case(name, extents(sizes, 131, 2, 1), Decay::Weak, Storage::Bf16);
            compare(
                &case,
                &run(&case, &Emulator::new(schedule(Storage::Bf16)), None),
                BF16,
            );
        }
    }
}

/// Two heads a block: one group of several blocks, several groups, groups that they do not divide; which
/// phases have the registers differs by size and dtype.
#[test]
fn heads_side_by_side_agree_with_the_truth() {
    for (sizes, storage, heads, groups) in [
        ([16, 64], Storage::Bf16, 6, 1),
        ([64, 64], Storage::Bf16, 4, 2),
        ([16, 16], Storage::F32, 8, 2),
        ([16, 16], Storage::F32, 3, 1),
    ] {
        let bounds = match storage {
            Storage::F32 => F32,
            _ => BF16,
        };
        let mut extents = extents(sizes, 70, heads, groups);
        extents.cu_seqlens = Some(vec![0, 21, 21, 70]);
        let case = case("mamba2", extents, Decay::Weak, storage);
        let mut device = Emulator::new(schedule(storage).with_heads(2));
        let wide = run(&case, &device, None);
        compare(&case, &wide, bounds);
        device.seed = 5;
        let again = run(&case, &device, None);
        assert_eq!(wide.0.outputs, again.0.outputs);
        assert_eq!(wide.1.inputs, again.1.inputs);
        assert_eq!(wide.1.params, again.1.params);
    }
}

/// Those with a decay for each channel.
const DIAGONAL: [&str; 3] = ["gla", "hgrn2", "rwkv6"];

#[test]
fn decays_of_channels_agree_with_the_truth() {
    for name in DIAGONAL {
        for (storage, bounds) in [(Storage::Bf16, BF16), (Storage::F32, F32)] {
            for decay in [Decay::Weak, Decay::Strong] {
                let case = case(name, extents([64, 64], 75, 1, 1), decay, storage);
                compare(
                    &case,
                    &run(&case, &Emulator::new(schedule(storage)), None),
                    bounds,
                );
            }
        }
    }
}

#[test]
fn decays_of_channels_agree_at_longer_chunks() {
    for (name, time, chunk) in [("gla", 39, 32), ("rwkv6", 70, 64)] {
        let case = case(
            name,
            extents([32, 32], time, 1, 1),
            Decay::Weak,
            Storage::F32,
        );
        let device = Emulator::new(schedule(Storage::F32));
        compare(&case, &run(&case, &device, Some(chunk)), F32);
    }
}

#[test]
fn f32_agrees_with_the_truth() {
    for name in SCALAR {
        for decay in [Decay::None, Decay::Strong] {
            let case = case(name, extents([64, 64], 77, 2, 2), decay, Storage::F32);
            compare(
                &case,
                &run(&case, &Emulator::new(schedule(Storage::F32)), None),
                F32,
            );
        }
    }
}

#[test]
fn other_dtypes_agree_with_the_truth() {
    let half = case(
        "simple_gla",
        extents([64, 64], 65, 1, 1),
        Decay::Weak,
        Storage::F16,
    );
    compare(
        &half,
        &run(&half, &Emulator::new(schedule(Storage::F16)), None),
        F16,
    );
    let tf32 = case(
        "simple_gla",
        extents([64, 64], 65, 1, 1),
        Decay::Weak,
        Storage::F32,
    );
    let schedule = Gpu {
        products: Products::Tf32,
        ..schedule(Storage::F32)
    };
    compare(&tf32, &run(&tf32, &Emulator::new(schedule), None), TF32);
}

#[test]
fn lengths_and_chunks_at_the_edges() {
    for (time, chunk) in [
        (1, 16),
        (16, 16),
        (33, 16),
        (31, 32),
        (64, 32),
        (63, 64),
        (65, 64),
    ] {
        let case = case(
            "mamba2",
            extents([32, 32], time, 1, 1),
            Decay::Weak,
            Storage::F32,
        );
        let device = Emulator::new(schedule(Storage::F32));
        compare(&case, &run(&case, &device, Some(chunk)), F32);
    }
}

#[test]
fn packed_equals_separate() {
    let ends = [0, 19, 19, 70];
    let mut packed = extents([32, 32], 70, 1, 1);
    packed.cu_seqlens = Some(ends.to_vec());
    let case = case("mamba2", packed, Decay::Weak, Storage::F32);
    let device = Emulator::new(schedule(Storage::F32));
    let tensors = Tensors::new(&case);
    let together = run_on(&case, &tensors, &device, Some(16));
    compare(&case, &together, F32);
    for (i, ends) in ends.windows(2).enumerate().filter(|(_, e)| e[0] < e[1]) {
        let alone = tensors.steps(
            ends[0]..ends[1],
            sequences(&tensors.states, i..i + 1),
            sequences(&tensors.d_states, i..i + 1),
        );
        let (forward, gradients) = run_on(&case, &alone, &device, Some(16));
        assert_eq!(forward.outputs, span(&together.0.outputs, ends[0]..ends[1]));
        assert_eq!(forward.states, sequences(&together.0.states, i..i + 1));
        assert_eq!(gradients.inputs, span(&together.1.inputs, ends[0]..ends[1]));
        assert_eq!(gradients.states, sequences(&together.1.states, i..i + 1));
    }
}

/// A run in two parts, the state handed over, is the run in one; so are its gradients, handed back.
#[test]
fn parts_chain() {
    for (name, storage) in [("mamba2", Storage::Bf16), ("gla", Storage::F32)] {
        let case = case(name, extents([32, 32], 70, 1, 1), Decay::Weak, storage);
        let device = Emulator::new(schedule(storage));
        let tensors = Tensors::new(&case);
        let whole = run_on(&case, &tensors, &device, Some(16));
        let none = tensors.d_states.clone();
        let first = tensors.steps(0..32, tensors.states.clone(), none);
        let (before, _) = run_on(&case, &first, &device, Some(16));
        let second = tensors.steps(32..70, before.states, tensors.d_states.clone());
        let (after, second) = run_on(&case, &second, &device, Some(16));
        let first = tensors.steps(0..32, tensors.states.clone(), second.states);
        let (_, first) = run_on(&case, &first, &device, Some(16));
        assert_eq!(before.outputs, span(&whole.0.outputs, 0..32));
        assert_eq!(after.outputs, span(&whole.0.outputs, 32..70));
        assert_eq!(after.states, whole.0.states);
        assert_eq!(first.inputs, span(&whole.1.inputs, 0..32));
        assert_eq!(second.inputs, span(&whole.1.inputs, 32..70));
        assert_eq!(first.states, whole.1.states);
    }
}

#[test]
fn every_order_of_warps_gives_the_same_bits() {
    let case = case(
        "mamba2",
        extents([64, 64], 100, 2, 1),
        Decay::Weak,
        Storage::Bf16,
    );
    let mut device = Emulator::new(schedule(Storage::Bf16));
    let (forward, gradients) = run(&case, &device, None);
    for seed in [1, 2] {
        device.seed = seed;
        let (again, pulled) = run(&case, &device, None);
        assert_eq!(forward.outputs, again.outputs);
        assert_eq!(forward.states, again.states);
        assert_eq!(gradients.inputs, pulled.inputs);
        assert_eq!(gradients.params, pulled.params);
        assert_eq!(gradients.states, pulled.states);
    }
}

#[test]
fn approximations_may_err_as_documented() {
    let case = case(
        "mamba2",
        extents([32, 32], 50, 1, 1),
        Decay::Weak,
        Storage::F32,
    );
    let mut device = Emulator::new(schedule(Storage::F32));
    device.approximation_errors = true;
    compare(&case, &run(&case, &device, Some(16)), F32);
}

/// States of every rank: a vector read element by element beside a matrix, vectors with a decay each,
/// a counter, a number alone, a normaliser whose keys a group shares.
pub const RANKS: [&str; 5] = [
    "recurrence beside {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], g: [] }
        state { S1: [K, V], S2: [K] }
        let a = sigmoid(g);
        S1 = a * S1 + outer(k, v);
        S2 = a * S2 + k;
        output o: [V] = dot(q, S1);
        output y: [K] = S2;
    }",
    "recurrence vector {
        dims { K }
        inputs { x: [K], g: [K] }
        state { n: [K] }
        n = exp(g) * n + x;
        output o: [K] = n;
    }",
    "recurrence counted {
        dims { K }
        inputs { x: [K], f: [K], q: [K] }
        params { w: [K] }
        state { n: [K], c: [] }
        n = sigmoid(f) * n + (1 - sigmoid(f)) * x;
        c = c + 1;
        output o: [K] = q * n;
        output s: [] = dot(w, n) / (2 + abs(c));
    }",
    "recurrence number {
        dims { K }
        inputs { x: [K], g: [] }
        state { m: [] }
        output before: [] = m;
        m = exp(g) * m + sum(x);
        output o: [K] = m * x;
    }",
    "recurrence normaliser {
        dims { K, V }
        inputs { q: [K] per group, k: [K] per group, v: [V], g: [] }
        state { S: [K, V], n: [K] }
        S = exp(g) * S + outer(k, v);
        n = exp(g) * n + k;
        output o: [V] = dot(q, S) / (1 + softplus(dot(q, n)));
    }",
];

#[test]
fn states_of_every_rank_agree_with_the_truth() {
    for source in RANKS {
        for (storage, bounds) in [
            (Storage::Bf16, BF16),
            (Storage::F16, F16),
            (Storage::F32, F32),
        ] {
            let mut packed = extents([16, 32], 52, 4, 2);
            packed.cu_seqlens = Some(vec![0, 19, 19, 52]);
            for (extents, chunk) in [(packed, Some(16)), (extents([64, 48], 70, 2, 1), None)] {
                let case = case_of(source, extents, Decay::Weak, storage);
                let found = run(&case, &Emulator::new(schedule(storage)), chunk);
                compare(&case, &found, bounds);
            }
        }
    }
}

/// What the GPU itself must show; ignored where there is none.
mod on_a_gpu {
    use super::*;
    use baton_runtime::device::cuda::Cuda;

    fn gpu(storage: Storage) -> Cuda {
        Cuda::new(0, schedule(storage)).expect("an NVIDIA GPU")
    }

    #[test]
    #[ignore = "waits for an NVIDIA GPU"]
    fn every_builtin_agrees_with_the_truth() {
        for name in SCALAR.into_iter().chain(DIAGONAL) {
            for (storage, bounds) in [(Storage::Bf16, BF16), (Storage::F32, F32)] {
                let case = case(name, extents([64, 64], 211, 4, 2), Decay::Weak, storage);
                compare(&case, &run(&case, &gpu(storage), None), bounds);
            }
        }
    }

    #[test]
    #[ignore = "waits for an NVIDIA GPU"]
    fn packed_sequences_agree_with_the_truth() {
        let mut packed = extents([64, 64], 300, 2, 1);
        packed.cu_seqlens = Some(vec![0, 19, 19, 170, 300]);
        let case = case("mamba2", packed, Decay::Weak, Storage::F32);
        compare(&case, &run(&case, &gpu(Storage::F32), None), F32);
    }

    #[test]
    #[ignore = "waits for an NVIDIA GPU"]
    fn every_run_gives_the_same_bits() {
        let case = case(
            "mamba2",
            extents([64, 64], 500, 8, 2),
            Decay::Weak,
            Storage::Bf16,
        );
        let device = gpu(Storage::Bf16);
        let (forward, gradients) = run(&case, &device, None);
        for _ in 0..5 {
            let (again, pulled) = run(&case, &device, None);
            assert_eq!(forward.outputs, again.outputs);
            assert_eq!(forward.states, again.states);
            assert_eq!(gradients.inputs, pulled.inputs);
            assert_eq!(gradients.params, pulled.params);
        }
    }
}
