//! The errors of kernels under the emulator, against the step interpreter in f64.

use crate::failure::Failure;
use baton_codegen::Phase;
use baton_codegen::schedule::cost::RunShape;
use baton_codegen::target::Gpu;
use baton_ir::recurrence::{Facts, Recurrence};
use baton_kernels::manifest::Errors;
use baton_runtime::device::gpu::{Emulator, rounded};
use baton_runtime::device::interpreter::{backward64, forward64};
use baton_runtime::{Call, Device, Forward, Gradients, Options, Tensor, View};
use baton_tune::Inputs;

/// The largest errors of the phases of a run that is not cut: of a ragged chunk after a whole one, from a
/// state that is not zero.
pub fn errors(
    recurrence: &Recurrence,
    facts: &Facts,
    sizes: &[usize],
    chunk: usize,
    target: &Gpu,
) -> Result<[(Phase, Errors); 4], Failure> {
    let heads = 2 * target.heads() as usize;
    let shape = RunShape {
        batch: 1,
        time: chunk + 3,
        heads,
        groups: match recurrence.inputs.iter().any(|port| port.per_group) {
            true => 1,
            false => heads,
        },
        entering: true,
    };
    let mut given = Inputs::new(recurrence, facts, sizes, shape);
    for tensor in given.inputs.iter_mut().chain(&mut given.d_outputs) {
        tensor.data = rounded(&tensor.data, target.storage);
    }
    let options = Options {
        chunk: Some(chunk),
        ..Options::default()
    };
    let kernel = Emulator::new(target.clone()).load(recurrence, sizes, &options)?;
    let call = call(&given.inputs, &given.params, &given.states);
    let (arriving, leaving) = (some(&given.d_outputs), some(&given.states));
    let plain = kernel.forward(&call, false)?;
    let kept = kernel.forward(&call, true)?;
    let rebuilt = kernel.backward(&call, None, &arriving, &leaving)?;
    let pulled = kernel.backward(&call, kept.saved.as_ref(), &arriving, &leaving)?;

    let [inputs, params, states, d_outputs] = [
        &given.inputs,
        &given.params,
        &given.states,
        &given.d_outputs,
    ]
    .map(|tensors| tensors.iter().map(wide).collect::<Vec<_>>());
    let call = self::call(&inputs, &params, &states);
    let truth = forward64(recurrence, sizes, &call)?;
    let truth_pulled = backward64(recurrence, sizes, &call, &some(&d_outputs), &some(&states))?;

    let run = [shape.batch, shape.time, shape.heads, shape.groups];
    let outputs = |found: &Forward| Errors {
        run,
        outputs: Some(largest(&[
            (&found.outputs, &truth.outputs),
            (&found.states, &truth.states),
        ])),
        gradients: None,
    };
    let gradients = |found: &Gradients| Errors {
        run,
        outputs: None,
        gradients: Some(largest(&[
            (&found.inputs, &truth_pulled.inputs),
            (&found.params, &truth_pulled.params),
            (&found.states, &truth_pulled.states),
        ])),
    };
    Ok([
        (Phase::Forward, outputs(&plain)),
        (Phase::ForwardKeep, outputs(&kept)),
        (Phase::Entering, gradients(&rebuilt)),
        (Phase::Backward, gradients(&pulled)),
    ])
}

fn call<'a, T: Copy>(
    inputs: &'a [Tensor<T>],
    params: &'a [Tensor<T>],
    states: &'a [Tensor<T>],
) -> Call<'a, T> {
    Call {
        inputs: inputs.iter().map(Tensor::view).collect(),
        params: params.iter().map(Tensor::view).collect(),
        states: some(states),
        cu_seqlens: None,
    }
}

fn some<T: Copy>(tensors: &[Tensor<T>]) -> Vec<Option<View<'_, T>>> {
    tensors.iter().map(|tensor| Some(tensor.view())).collect()
}

fn wide(tensor: &Tensor) -> Tensor<f64> {
    Tensor {
        shape: tensor.shape.clone(),
        data: tensor.data.iter().map(|&x| x.into()).collect(),
    }
}

/// The largest of the relative errors of tensors, in norm; what is not finite is infinite.
fn largest(all: &[(&Vec<Tensor>, &Vec<Tensor<f64>>)]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let one = |(found, truth): (&Tensor, &Tensor<f64>)| {
        let pairs = found.data.iter().zip(&truth.data);
        let error = norm(&mut pairs.map(|(&found, truth)| f64::from(found) - truth));
        let relative = match norm(&mut truth.data.iter().copied()) {
            0.0 => error,
            size => error / size,
        };
        if relative.is_finite() {
            relative
        } else {
            f64::INFINITY
        }
    };
    let pairs = all
        .iter()
        .flat_map(|(found, truth)| found.iter().zip(*truth));
    pairs.map(one).fold(0.0, f64::max)
}
