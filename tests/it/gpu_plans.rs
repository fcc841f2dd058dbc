//! Segments of time and windows of kept states on the GPU devices, under the emulator.
//!
//! Shapes are the smallest that are cut: three segments take twelve chunks of 16 steps, two windows
//! nine. What the kernels do on their own is tested in `gpu`.

use super::gpu::{
    BF16, F32, RANKS, Tensors, case, case_of, compare, extents, schedule, span, views,
};
use baton_codegen::Compiler;
use baton_codegen::schedule::{Load, Plan};
use baton_ir::builtin;
use baton_runtime::device::gpu::{Emulator, Storage};
use baton_runtime::{Device, Forward, Gradients, Options, Tensor};
use baton_tests::{Case, Decay, relative_error};

const CHUNK: usize = 16;

/// What a run keeps between forward and backward.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Keep {
    /// The states that enter every chunk.
    All,
    /// Checkpoints.
    Windows,
    /// Nothing: the backward rebuilds what enters every chunk.
    Nothing,
    /// Nothing: the backward rebuilds checkpoints.
    NoWindows,
}

fn run(case: &Case, tensors: &Tensors, device: &dyn Device, keep: Keep) -> (Forward, Gradients) {
    let windows = matches!(keep, Keep::Windows | Keep::NoWindows);
    let options = Options {
        chunk: Some(CHUNK),
        keep_bytes: windows.then_some(0),
    };
    let kernel = device
        .load(&case.recurrence, &case.extents.sizes, &options)
        .expect("it loads");
    let call = tensors.call();
    let saves = matches!(keep, Keep::All | Keep::Windows);
    let forward = kernel.forward(&call, saves).expect("forward runs");
    assert_eq!(forward.saved.is_some(), saves);
    let (d_outputs, d_states) = (views(&tensors.d_outputs), views(&tensors.d_states));
    let gradients = kernel
        .backward(&call, forward.saved.as_ref(), &d_outputs, &d_states)
        .expect("backward runs");
    (forward, gradients)
}

/// Chunks of a segment of a case, and of a window where nothing may be kept.
fn plan(case: &Case) -> (Option<usize>, usize) {
    let e = &case.extents;
    let lens: Vec<usize> = match &e.cu_seqlens {
        Some(ends) => ends.windows(2).map(|w| w[1] - w[0]).collect(),
        None => vec![e.time; e.batch],
    };
    let load = Load {
        sequences: lens.iter().filter(|len| **len > 0).count(),
        longest: lens.into_iter().max().unwrap_or(0),
        steps: e.batch * e.time,
        heads: e.heads,
        groups: e.groups,
        state_bytes: 1,
    };
    let compiler = Compiler::new(&case.recurrence, &case.extents.sizes).expect("it verifies");
    let beside = compiler.settled(&schedule(Storage::F32)).beside();
    let plan = Plan::of_blocks(compiler.traits(), load, CHUNK, Some(0), beside);
    (plan.segment, plan.window)
}

/// The same bits, but for params' gradients, which are added in other parts.
fn same_bits(one: &(Forward, Gradients), other: &(Forward, Gradients)) {
    assert_eq!(one.0.outputs, other.0.outputs);
    assert_eq!(one.0.states, other.0.states);
    assert_eq!(one.1.inputs, other.1.inputs);
    assert_eq!(one.1.states, other.1.states);
}

#[test]
fn segments_agree_with_the_truth() {
    for (name, decay, storage, bounds) in [
        ("mamba2", Decay::Weak, Storage::Bf16, BF16),
        ("mamba2", Decay::Strong, Storage::F32, F32),
        ("linear_attention", Decay::None, Storage::F32, F32),
        ("gla", Decay::Weak, Storage::F32, F32),
        ("rwkv6", Decay::Weak, Storage::Bf16, BF16),
    ] {
        let case = case(name, extents([16, 16], 211, 2, 1), decay, storage);
        assert_eq!(plan(&case).0, Some(5), "{name}");
        let device = Emulator::new(schedule(storage));
        let found = run(&case, &Tensors::new(&case), &device, Keep::All);
        compare(&case, &found, bounds);
    }
}

/// A state with some decays, whose readout is not linear: its gradient needs what entered each chunk.
fn bent(decays: &str) -> String {
    format!(
        "recurrence bent {{
            dims {{ K, V }}
            inputs {{ q: [K], k: [K], v: [V], g: [], r: [K], c: [V] }}
            state {{ S: [K, V] }}
            S = {decays} * S + outer(k, v);
            output o: [V] = silu(dot(q + 0.1 * r, S)) + g * c;
        }}"
    )
}

/// Decays of columns, and two kinds of decay at once.
#[test]
fn segments_of_every_kind_of_decay_agree_with_the_truth() {
    for decays in [
        "cols(exp(-softplus(c)))",
        "exp(g) * cols(exp(-softplus(c)))",
        "exp(g) * rows(exp(-softplus(r)))",
        "rows(sigmoid(r)) * cols(sigmoid(c))",
    ] {
        for (storage, bounds) in [(Storage::Bf16, BF16), (Storage::F32, F32)] {
            let extents = extents([32, 32], 211, 2, 1);
            let case = case_of(&bent(decays), extents, Decay::Weak, storage);
            assert_eq!(plan(&case).0, Some(5), "{decays}");
            let device = Emulator::new(schedule(storage));
            let found = run(&case, &Tensors::new(&case), &device, Keep::All);
            compare(&case, &found, bounds);
        }
    }
}

/// Sequences of several segments, of one, and empty; every way of keeping, every order of warps.
#[test]
fn packed_segments_give_the_same_bits_however_kept_and_scheduled() {
    let mut packed = extents([16, 16], 230, 2, 1);
    packed.cu_seqlens = Some(vec![0, 7, 7, 202, 230]);
    let case = case("mamba2", packed, Decay::Weak, Storage::F32);
    assert_eq!(plan(&case).0, Some(5));
    let tensors = Tensors::new(&case);
    let mut device = Emulator::new(schedule(Storage::F32));
    let all = run(&case, &tensors, &device, Keep::All);
    compare(&case, &all, F32);
    for keep in [Keep::Windows, Keep::Nothing, Keep::NoWindows] {
        let found = run(&case, &tensors, &device, keep);
        same_bits(&all, &found);
        compare(&case, &found, F32);
    }
    for seed in [1, 2] {
        device.seed = seed;
        let found = run(&case, &tensors, &device, Keep::All);
        same_bits(&all, &found);
        assert_eq!(all.1.params, found.1.params);
    }
}

#[test]
fn windows_give_the_bits_of_a_run_that_keeps_everything() {
    let mut packed = extents([16, 16], 150, 2, 1);
    packed.cu_seqlens = Some(vec![0, 19, 19, 150]);
    for (name, extents, storage, bounds) in [
        ("mamba2", extents([32, 32], 171, 2, 1), Storage::Bf16, BF16),
        ("mamba2", packed, Storage::F32, F32),
        ("rwkv6", extents([16, 16], 131, 1, 1), Storage::F32, F32),
    ] {
        let case = case(name, extents, Decay::Weak, storage);
        assert_eq!(plan(&case), (None, 8), "{name}");
        let tensors = Tensors::new(&case);
        let device = Emulator::new(schedule(storage));
        let all = run(&case, &tensors, &device, Keep::All);
        let found = run(&case, &tensors, &device, Keep::Windows);
        same_bits(&all, &found);
        compare(&case, &found, bounds);
    }
}

/// States of every rank in segments, however they are kept.
#[test]
fn segments_of_states_of_every_rank_agree_with_the_truth() {
    for source in RANKS {
        for (storage, bounds) in [(Storage::Bf16, BF16), (Storage::F32, F32)] {
            let case = case_of(source, extents([16, 16], 195, 2, 1), Decay::Weak, storage);
            assert!(plan(&case).0.is_some());
            let (tensors, device) = (Tensors::new(&case), Emulator::new(schedule(storage)));
            let all = run(&case, &tensors, &device, Keep::All);
            compare(&case, &all, bounds);
            let windows = run(&case, &tensors, &device, Keep::Windows);
            same_bits(&all, &windows);
            compare(&case, &windows, bounds);
        }
    }
}

/// Segments of more chunks than a window, so that both cut.
#[test]
fn windows_of_segments_agree_with_the_truth() {
    let extents = extents([16, 16], 387, 67, 67);
    let linear = builtin::text("simple_gla").expect("a built-in name");
    for source in [linear, &bent("exp(g)")] {
        let case = case_of(source, extents.clone(), Decay::Weak, Storage::Bf16);
        assert_eq!(plan(&case), (Some(9), 8));
        let device = Emulator::new(schedule(Storage::Bf16));
        let tensors = Tensors::new(&case);
        let all = run(&case, &tensors, &device, Keep::All);
        let found = run(&case, &tensors, &device, Keep::Windows);
        same_bits(&all, &found);
        compare(&case, &found, BF16);
    }
}

/// A run in two parts is the run in one, within the bounds: the parts are cut elsewhere.
#[test]
fn segmented_parts_chain() {
    let case = case(
        "mamba2",
        extents([16, 16], 411, 1, 1),
        Decay::Weak,
        Storage::F32,
    );
    let tensors = Tensors::new(&case);
    let device = Emulator::new(schedule(Storage::F32));
    let whole = run(&case, &tensors, &device, Keep::All);
    let none = tensors.d_states.clone();
    let first = tensors.steps(0..208, tensors.states.clone(), none);
    let (before, _) = run(&case, &first, &device, Keep::All);
    let second = tensors.steps(208..411, before.states, tensors.d_states.clone());
    let (after, second) = run(&case, &second, &device, Keep::All);
    let first = tensors.steps(0..208, tensors.states.clone(), second.states);
    let (_, first) = run(&case, &first, &device, Keep::All);
    let near = |found: &[Tensor], whole: &[Tensor]| {
        for (found, whole) in found.iter().zip(whole) {
            let whole: Vec<f64> = whole.data.iter().map(|x| f64::from(*x)).collect();
            let error = relative_error(&found.data, &whole);
            assert!(error <= F32.outputs, "{error:.2e}");
        }
    };
    near(&before.outputs, &span(&whole.0.outputs, 0..208));
    near(&after.outputs, &span(&whole.0.outputs, 208..411));
    near(&after.states, &whole.0.states);
    near(&first.inputs, &span(&whole.1.inputs, 0..208));
    near(&second.inputs, &span(&whole.1.inputs, 208..411));
    near(&first.states, &whole.1.states);
}

/// What the GPU itself must show; ignored where there is none.
mod on_a_gpu {
    use super::*;
    use baton_runtime::device::cuda::Cuda;

    #[test]
    #[ignore = "waits for an NVIDIA GPU"]
    fn segments_and_windows_agree_with_the_truth() {
        for (storage, bounds) in [(Storage::Bf16, BF16), (Storage::F32, F32)] {
            let mut packed = extents([64, 64], 2300, 8, 2);
            packed.cu_seqlens = Some(vec![0, 7, 7, 2100, 2300]);
            let case = case("mamba2", packed, Decay::Weak, storage);
            let tensors = Tensors::new(&case);
            let device = Cuda::new(0, schedule(storage)).expect("an NVIDIA GPU");
            let all = run(&case, &tensors, &device, Keep::All);
            compare(&case, &all, bounds);
            for keep in [Keep::Windows, Keep::Nothing, Keep::NoWindows] {
                same_bits(&all, &run(&case, &tensors, &device, keep));
            }
        }
    }
}
