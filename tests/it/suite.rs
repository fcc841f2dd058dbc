//! The suite that every device passes, in every arithmetic that it has.
//!
//! A subject is a device with its arithmetic; what a run must show is written once, and its bounds are
//! those of the table. The GPU kernels are the shipped ones, under the emulator, which reports races
//! and reads of what nothing wrote as errors of the run. What belongs to one device alone (threads,
//! orders of warps, long runs) stands in `devices`, `gpu` and `gpu_plans`.

use baton_ir::builtin;
use baton_runtime::device::cpu::Cpu;
use baton_runtime::device::gpu::{Emulator, Gpu};
use baton_runtime::{Device, Interpreter, Options, Tensor};
use baton_tests::harness::{Prepared, Results, check, param_errors};
use baton_tests::tolerance::Arithmetic;
use baton_tests::{Case, Decay, Extents, on_gpu, relative_error};

/// A device with its arithmetic.
struct Subject {
    device: Box<dyn Device>,
    arithmetic: Arithmetic,
    /// Sizes of the dims; odd ones where a device takes them.
    sizes: [usize; 2],
    /// The built-in recurrences that it runs.
    names: &'static [&'static str],
}

fn cpu() -> Subject {
    Subject {
        device: Box::new(Cpu::new(Some(2)).expect("threads start")),
        arithmetic: Arithmetic::F32,
        sizes: [29, 20],
        names: builtin::NAMES,
    }
}

fn interpreter() -> Subject {
    Subject {
        device: Box::new(Interpreter),
        arithmetic: Arithmetic::F32,
        sizes: [5, 3],
        names: builtin::NAMES,
    }
}

fn emulator(arithmetic: Arithmetic) -> Subject {
    Subject {
        device: Box::new(Emulator::new(Gpu::sm_80(arithmetic.storage()))),
        arithmetic,
        sizes: [16, 64],
        names: on_gpu(),
    }
}

fn emulator_f32() -> Subject {
    emulator(Arithmetic::Split)
}

fn emulator_bf16() -> Subject {
    emulator(Arithmetic::Bf16)
}

impl Subject {
    fn case(&self, name: &str, time: usize, decay: Decay, ends: Option<&[usize]>) -> Case {
        let extents = Extents {
            sizes: self.sizes.to_vec(),
            batch: 1,
            time,
            heads: 2,
            groups: if name == "mamba2" { 1 } else { 2 },
            cu_seqlens: ends.map(<[usize]>::to_vec),
        };
        let case = Case::builtin(name, extents, decay, time as u64 + 17);
        case.rounded(self.arithmetic.storage())
    }

    fn agrees(&self, case: &Case) {
        for keep in [true, false] {
            let bounds = self.arithmetic.tolerance();
            check(case, &*self.device, &Options::default(), keep, bounds);
        }
    }

    fn run(&self, case: &Case) -> Results {
        Prepared::new(case).run(&*self.device, &Options::default(), true)
    }
}

/// Lengths around a step, a block of rows and a chunk, without decay and with any.
fn lengths(subject: &Subject) {
    let decays = [Decay::Weak, Decay::None, Decay::Strong];
    for (i, name) in subject.names.iter().enumerate() {
        for (j, time) in [0, 1, 15, 16, 17, 63, 64, 65].into_iter().enumerate() {
            let decay = decays[(i + j) % decays.len()];
            subject.agrees(&subject.case(name, time, decay, None));
        }
    }
}

/// Packed sequences, empty ones among them.
fn packed(subject: &Subject) {
    for name in subject.names {
        let ends = [0, 0, 5, 5, 38, 90, 90];
        subject.agrees(&subject.case(name, 90, Decay::Weak, Some(&ends)));
    }
}

/// What is run twice is the same to the bit.
fn repeated(subject: &Subject) {
    for name in subject.names {
        let case = subject.case(name, 70, Decay::Weak, None);
        let (first, again) = (subject.run(&case), subject.run(&case));
        assert!(first.bits() == again.bits(), "{name}");
    }
}

fn wide(tensors: &[Tensor]) -> Vec<Vec<f64>> {
    let one = |tensor: &Tensor| tensor.data.iter().map(|x| f64::from(*x)).collect();
    tensors.iter().map(one).collect()
}

/// A run cut in two, the state handed on and its gradient handed back, is the run in one.
fn chained(subject: &Subject) {
    let (time, at) = (70, 37);
    for name in subject.names {
        let whole = subject.case(name, time, Decay::Weak, None);
        let (outcome, gradient) = whole.truth();
        let (mut a, mut b) = (whole.steps(0..at), whole.steps(at..time));
        b.states = wide(&subject.run(&a).states);
        let second = subject.run(&b);
        a.d_states = wide(&second.gradients.states);
        let first = subject.run(&a);

        let bounds = subject.arithmetic.tolerance();
        let near = |what: &str, found: &[Vec<f64>], truth: &[Vec<f64>], bound: f64| {
            assert_eq!(found.len(), truth.len());
            for (found, truth) in found.iter().zip(truth) {
                let error = relative_error(found, truth);
                assert!(error <= bound, "{name} {what}: relative error {error:e}");
            }
        };
        let joined = |a: &[Tensor], b: &[Tensor]| -> Vec<Vec<f64>> {
            let pairs = wide(a).into_iter().zip(wide(b));
            pairs.map(|(a, b)| [a, b].concat()).collect()
        };
        let added = |a: &[Tensor], b: &[Tensor]| -> Vec<Vec<f64>> {
            let pairs = wide(a).into_iter().zip(wide(b));
            let sum = |(a, b): (Vec<f64>, Vec<f64>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
            pairs.map(sum).collect()
        };
        let outputs = joined(&first.outputs, &second.outputs);
        near("outputs", &outputs, &outcome.outputs, bounds.outputs);
        let states = wide(&second.states);
        near("states", &states, &outcome.states, bounds.outputs);
        let (g, h) = (&first.gradients, &second.gradients);
        let inputs = joined(&g.inputs, &h.inputs);
        near("d_inputs", &inputs, &gradient.inputs, bounds.gradients);
        let params = added(&g.params, &h.params);
        let params: Vec<Tensor> = (params.iter().zip(&g.params))
            .map(|(sum, part)| Tensor {
                shape: part.shape.clone(),
                data: sum.iter().map(|&x| x as f32).collect(),
            })
            .collect();
        let errors = param_errors(&whole, &params, &gradient.params, bounds.gradients);
        for error in errors {
            assert!(error <= bounds.gradients, "{name} d_params: {error:e}");
        }
        let states = wide(&g.states);
        near("d_states", &states, &gradient.states, bounds.gradients);
    }
}

macro_rules! suite {
    ($($subject:ident)*) => { $(mod $subject {
        #[test]
        fn lengths() {
            super::lengths(&super::$subject());
        }
        #[test]
        fn packed() {
            super::packed(&super::$subject());
        }
        #[test]
        fn repeated() {
            super::repeated(&super::$subject());
        }
        #[test]
        fn chained() {
            super::chained(&super::$subject());
        }
    })* };
}
suite!(cpu interpreter emulator_f32 emulator_bf16);

/// A planted error: bounds are such that a wrong device does not pass.
#[test]
fn a_wrong_run_fails() {
    let subject = interpreter();
    let mut case = subject.case("gla", 20, Decay::Weak, None);
    let right = subject.run(&case);
    case.inputs[0][0] += 1e-2;
    let (outcome, gradient) = case.truth();
    let bounds = Arithmetic::Bf16.tolerance();
    assert!(relative_error(&right.outputs[0].data, &outcome.outputs[0]) > 1e-5);
    assert!(relative_error(&right.gradients.inputs[1].data, &gradient.inputs[1]) > 1e-5);
    case.inputs[0].iter_mut().for_each(|x| *x *= 1.02);
    let (outcome, _) = case.truth();
    assert!(relative_error(&right.outputs[0].data, &outcome.outputs[0]) > bounds.outputs);
}

/// Terms are what the gradient of a param is the sum of, and no wrong gradient hides behind them.
#[test]
fn terms_of_params_add_up() {
    let subject = interpreter();
    for name in ["mamba2", "retnet", "rwkv6"] {
        let case = subject.case(name, 60, Decay::Weak, None);
        let (_, gradient) = case.truth();
        for (sum, terms) in gradient.params.iter().zip(case.param_terms()) {
            let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!(terms > 0.0 && norm <= terms * (1.0 + 1e-12), "{name}");
        }
        let found = subject.run(&case).gradients.params;
        let wrong: Vec<Tensor> = (found.iter())
            .map(|right| Tensor {
                shape: right.shape.clone(),
                data: right.data.iter().map(|x| -x).collect(),
            })
            .collect();
        let bound = Arithmetic::Bf16.tolerance().gradients;
        let errors = param_errors(&case, &wrong, &gradient.params, bound);
        assert!(
            errors.iter().all(|&error| error > bound),
            "{name}: {errors:?}"
        );
    }
}
