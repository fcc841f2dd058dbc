//! Runs of a case on a device, in hostile memory, and their comparison with the truth.
//!
//! Inputs are strided views of memory filled with NaN around them; outputs start as NaN where
//! checks are on. So what is read outside or left unwritten shows as NaN in a result.

use crate::tolerance::Tolerance;
use crate::{Case, relative_error};
use baton_ir::recurrence::Port;
use baton_runtime::{Call, Device, Gradients, Options, Tensor, View};

/// Tensors in f32, each inside memory filled with NaN, with gaps between steps and at both ends.
pub struct Surrounded {
    data: Vec<f32>,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

const MARGIN: usize = 37;

impl Surrounded {
    /// `lead` dims may have gaps behind them; the rest is contiguous.
    fn new(values: &[f64], shape: &[usize], lead: usize) -> Surrounded {
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
        Surrounded::strided(values, shape.to_vec(), strides)
    }

    /// A tensor with these strides, which are as wide as its dims at least.
    pub fn strided(values: &[f64], shape: Vec<usize>, strides: Vec<usize>) -> Surrounded {
        let reach = shape.iter().zip(&strides).map(|(n, stride)| n * stride);
        let span = reach.max().unwrap_or(1);
        let mut data = vec![f32::NAN; MARGIN + span + MARGIN];
        for (i, value) in values.iter().enumerate() {
            let (mut rest, mut at) = (i, MARGIN);
            for axis in (0..shape.len()).rev() {
                at += rest % shape[axis] * strides[axis];
                rest /= shape[axis];
            }
            data[at] = *value as f32;
        }
        Surrounded {
            data,
            shape,
            strides,
        }
    }

    /// The tensor within its memory.
    pub fn view(&self) -> View<'_> {
        View {
            data: &self.data[MARGIN..],
            shape: self.shape.clone(),
            strides: self.strides.clone(),
        }
    }
}

/// A case in f32 memory.
pub struct Prepared<'c> {
    case: &'c Case,
    inputs: Vec<Surrounded>,
    params: Vec<Surrounded>,
    /// States in, in order.
    pub states: Vec<Surrounded>,
    d_outputs: Vec<Surrounded>,
    d_states: Vec<Surrounded>,
    cu_seqlens: Option<Vec<i64>>,
    /// Whether states in, and arriving gradients of states, are left out.
    absent: [bool; 2],
}

impl<'c> Prepared<'c> {
    /// Lays out a case.
    pub fn new(case: &'c Case) -> Self {
        let e = &case.extents;
        let sequences = e.cu_seqlens.as_ref().map_or(e.batch, |ends| ends.len() - 1);
        let all = |values: &[Vec<f64>], ports: &[Port], outer: &[usize]| {
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
            absent: [false; 2],
        }
    }

    /// With states in, or arriving gradients of states, left out: zero, as they are in the case then.
    pub fn without(self, states: bool, d_states: bool) -> Self {
        Prepared {
            absent: [states, d_states],
            ..self
        }
    }

    /// What is called with.
    pub fn call(&self) -> Call<'_> {
        Call {
            inputs: self.inputs.iter().map(Surrounded::view).collect(),
            params: self.params.iter().map(Surrounded::view).collect(),
            states: views(&self.states, self.absent[0]),
            cu_seqlens: self.cu_seqlens.as_deref(),
        }
    }

    /// Runs forward and backward; the backward from what the forward kept, or from nothing.
    pub fn run(&self, device: &dyn Device, options: &Options, keep: bool) -> Results {
        let sizes = &self.case.extents.sizes;
        let kernel = device
            .load(&self.case.recurrence, sizes, options)
            .expect("it loads");
        let call = self.call();
        let forward = kernel.forward(&call, keep).expect("it runs");
        let d_outputs = views(&self.d_outputs, false);
        let d_states = views(&self.d_states, self.absent[1]);
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

fn views(all: &[Surrounded], absent: bool) -> Vec<Option<View<'_>>> {
    all.iter().map(|s| (!absent).then(|| s.view())).collect()
}

/// What a run gives.
pub struct Results {
    /// Outputs in order.
    pub outputs: Vec<Tensor>,
    /// Leaving states in order.
    pub states: Vec<Tensor>,
    /// Gradients.
    pub gradients: Gradients,
}

impl Results {
    /// The bits of everything.
    pub fn bits(&self) -> Vec<u32> {
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

/// Runs a case and compares everything with the truth.
pub fn check(case: &Case, device: &dyn Device, options: &Options, keep: bool, bounds: Tolerance) {
    check_prepared(&Prepared::new(case), device, options, keep, bounds);
}

/// The same of a case that is laid out; gives what was found.
pub fn check_prepared(
    prepared: &Prepared<'_>,
    device: &dyn Device,
    options: &Options,
    keep: bool,
    bounds: Tolerance,
) -> Results {
    let case = prepared.case;
    let found = prepared.run(device, options, keep);
    let (outcome, gradient) = case.truth();
    let what = format!(
        "{} {} T={} {options:?} keep={keep}",
        device.name(),
        case.recurrence.name,
        case.extents.time
    );
    let compare = |part: &str, found: &[Tensor], truth: &[Vec<f64>], bound: f64| {
        assert_eq!(found.len(), truth.len(), "{what}: {part}");
        for (i, (found, truth)) in found.iter().zip(truth).enumerate() {
            let error = relative_error(&found.data, truth);
            assert!(
                error <= bound,
                "{what}: {part} {i}: relative error {error:e}"
            );
        }
    };
    let (near, far) = (bounds.outputs, bounds.gradients);
    compare("output", &found.outputs, &outcome.outputs, near);
    compare("state", &found.states, &outcome.states, near);
    compare("d_input", &found.gradients.inputs, &gradient.inputs, far);
    let errors = param_errors(case, &found.gradients.params, &gradient.params, far);
    for (i, error) in errors.into_iter().enumerate() {
        assert!(
            error <= far,
            "{what}: d_param {i}: relative error {error:e}"
        );
    }
    compare("d_state", &found.gradients.states, &gradient.states, far);
    found
}

/// The errors of params' gradients. Such a gradient is a sum over all steps, often of one number a
/// head, and may cancel; what rounding can do to it is by its terms, and errors of neighbouring steps have
/// a state in common, so they do not average out. So an error above the bound is taken relative to what the
/// magnitudes of the terms add up to: the condition of the sum.
pub fn param_errors(case: &Case, found: &[Tensor], truth: &[Vec<f64>], bound: f64) -> Vec<f64> {
    assert_eq!(found.len(), truth.len());
    let pairs = found.iter().zip(truth);
    let errors: Vec<f64> = pairs
        .map(|(found, truth)| relative_error(&found.data, truth))
        .collect();
    if errors.iter().all(|&error| error <= bound) {
        return errors;
    }
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let against = truth.iter().zip(case.param_terms());
    let scaled = errors.iter().zip(against);
    scaled
        .map(|(&error, (truth, terms))| match norm(truth) {
            0.0 => error,
            sum => error * sum / sum.max(terms),
        })
        .collect()
}
