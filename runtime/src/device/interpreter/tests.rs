//! The device face: strides, packing, steps, f32 and f64.

use super::*;
use baton_ir::{builtin, text};

/// A sequence without pattern, from -1 to 1.
fn noise(shape: &[usize], seed: u64) -> Tensor<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut tensor = Tensor::full(shape, 0.0);
    for value in &mut tensor.data {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *value = (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
    }
    tensor
}

fn narrow(tensor: &Tensor<f64>) -> Tensor {
    Tensor {
        shape: tensor.shape.clone(),
        data: tensor.data.iter().map(|&x| x as f32).collect(),
    }
}

fn gla() -> (Recurrence, Vec<Tensor<f64>>, Tensor<f64>) {
    let recurrence = text::parse(builtin::text("gla").unwrap()).unwrap();
    let (time, heads, k, v) = (7, 2, 3, 4);
    let inputs = [k, k, v, k].into_iter().enumerate();
    let inputs = inputs
        .map(|(i, n)| noise(&[1, time, heads, n], i as u64 + 1))
        .collect();
    (recurrence, inputs, noise(&[1, heads, k, v], 9))
}

fn call<'a>(inputs: Vec<View<'a, f64>>, state: &'a Tensor<f64>) -> Call<'a, f64> {
    Call {
        inputs,
        params: vec![],
        states: vec![Some(state.view())],
        cu_seqlens: None,
    }
}

/// Steps `from..to` of `[B, T, ...]`.
fn cut<'a>(tensor: &'a Tensor<f64>, from: usize, to: usize) -> View<'a, f64> {
    let mut view = tensor.view();
    view.data = &view.data[from * view.strides[1]..];
    view.shape[1] = to - from;
    view
}

#[test]
fn segments_chain_and_packed_sequences_are_separate() {
    let (recurrence, inputs, state) = gla();
    let sizes = [3, 4];
    let run = |from, to, state: &Tensor<f64>| {
        let views = inputs.iter().map(|input| cut(input, from, to)).collect();
        forward64(&recurrence, &sizes, &call(views, state)).unwrap()
    };
    let whole = run(0, 7, &state);
    let first = run(0, 3, &state);
    let second = run(3, 7, &first.states[0]);
    let joined = [&first.outputs[0].data[..], &second.outputs[0].data[..]].concat();
    assert_eq!(whole.outputs[0].data, joined);
    assert_eq!(whole.states, second.states);

    let other = noise(&[1, 2, 3, 4], 11);
    let second = run(3, 7, &other);
    let states = Tensor {
        shape: vec![3, 2, 3, 4],
        data: [&state.data[..], &state.data[..], &other.data[..]].concat(),
    };
    let packed = Call {
        cu_seqlens: Some(&[0, 3, 3, 7]),
        ..call(inputs.iter().map(Tensor::view).collect(), &states)
    };
    let packed = forward64(&recurrence, &sizes, &packed).unwrap();
    let joined = [&first.outputs[0].data[..], &second.outputs[0].data[..]].concat();
    assert_eq!(packed.outputs[0].data, joined);
    let joined = [
        &first.states[0].data[..],
        &state.data[..],
        &second.states[0].data[..],
    ]
    .concat();
    assert_eq!(packed.states[0].data, joined);
}

#[test]
fn steps_in_f32_are_the_sequence() {
    let (recurrence, inputs, state) = gla();
    let kernel = Interpreter
        .load(&recurrence, &[3, 4], &Options::default())
        .unwrap();
    let inputs: Vec<Tensor> = inputs.iter().map(narrow).collect();
    let mut states = vec![narrow(&state)];
    let given = states.clone();
    let whole = Call {
        inputs: inputs.iter().map(Tensor::view).collect(),
        params: vec![],
        states: vec![Some(given[0].view())],
        cu_seqlens: None,
    };
    let run = kernel.forward(&whole, true).unwrap();
    for t in 0..7 {
        let views = inputs.iter().map(|input| {
            let width = input.shape[2] * input.shape[3];
            View::contiguous(&input.data[t * width..], &[1, 1, 2, input.shape[3]])
        });
        let call = Call {
            inputs: views.collect(),
            params: vec![],
            states: vec![None],
            cu_seqlens: None,
        };
        let outputs = kernel.step(&call, &mut states).unwrap();
        let wanted = &run.outputs[0].data[t * 8..][..8];
        for (given, wanted) in outputs[0].data.iter().zip(wanted) {
            assert!(
                (given - wanted).abs() <= 2e-6,
                "step {t}: {given} and {wanted}"
            );
        }
    }
    let error = kernel.step(&whole, &mut states).unwrap_err().to_string();
    assert!(error.contains("neither cu_seqlens nor states"), "{error}");
}

#[test]
fn an_empty_sequence_hands_its_state_on() {
    let (recurrence, _, state) = gla();
    let empty: Vec<Tensor<f64>> = [3, 3, 4, 3]
        .iter()
        .map(|&n| noise(&[1, 0, 2, n], 1))
        .collect();
    let views: Vec<_> = empty.iter().map(Tensor::view).collect();
    let run = forward64(&recurrence, &[3, 4], &call(views.clone(), &state)).unwrap();
    assert_eq!(
        (run.outputs[0].shape.as_slice(), &run.states[0]),
        (&[1, 0, 2, 4][..], &state)
    );
    let gradients = backward64(
        &recurrence,
        &[3, 4],
        &call(views, &state),
        &[None],
        &[Some(state.view())],
    )
    .unwrap();
    assert_eq!(gradients.states[0], state);
}

#[test]
fn a_recurrence_that_does_not_type_is_refused() {
    let source = "recurrence r { inputs { x: [] } state { s: [] } s = x; output y: [] = x; }";
    let recurrence = text::parse(source).unwrap();
    let error = Interpreter
        .load(&recurrence, &[], &Options::default())
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("[R031] state `s` is never read"),
        "{error}"
    );
}
