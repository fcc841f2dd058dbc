//! Every operation against finite differences of its own forward in f32, and against plain sums.

use super::*;
use baton_ir::builtin;
use baton_runtime::device::interpreter::Interpreter;
use baton_runtime::{Device as _, Kernel, Options, Tensor as HostTensor};
use burn::Tensor;
use burn::tensor::{Device, TensorData};
use std::sync::Arc;

/// Mamba-2 with states [N, P].
fn mamba2(n: usize, p: usize) -> Arc<dyn Kernel> {
    let text = builtin::text("mamba2").unwrap();
    let recurrence = baton_ir::text::parse(text).unwrap();
    let size = |dim: &String| if dim == "N" { n } else { p };
    let sizes: Vec<usize> = recurrence.dims.iter().map(size).collect();
    let loaded = Interpreter.load(&recurrence, &sizes, &Options::default());
    loaded.unwrap()
}

/// Reproducible numbers in (-1, 1).
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub(super) fn leaf<const D: usize>(data: &HostTensor) -> Tensor<D> {
    let device = Device::flex().autodiff();
    let data = TensorData::new(data.data.clone(), data.shape.clone());
    Tensor::from_data(data, &device).require_grad()
}

pub(super) fn host(shape: &[usize], seed: u64) -> HostTensor {
    HostTensor {
        shape: shape.to_vec(),
        data: numbers(shape.iter().product(), seed),
    }
}

pub(super) fn data<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    Value::new(tensor).unwrap().to_host().data
}

/// Compares the gradient of `f` in input `which` with a central difference along a direction.
fn check_direction(
    inputs: &[HostTensor],
    f: impl Fn(&[HostTensor]) -> (f64, Vec<Vec<f32>>),
    tolerance: f64,
) {
    let (_, gradients) = f(inputs);
    assert_eq!(gradients.len(), inputs.len());
    for (which, gradient) in gradients.iter().enumerate() {
        let direction = numbers(inputs[which].data.len(), 77 + which as u64);
        let step = 2e-2f32;
        let moved = |sign: f32| {
            let mut inputs = inputs.to_vec();
            let elements = inputs[which].data.iter_mut().zip(&direction);
            elements.for_each(|(x, d)| *x += sign * step * d);
            f(&inputs).0
        };
        let numeric = (moved(1.0) - moved(-1.0)) / (2.0 * step as f64);
        let derived: f64 = gradient
            .iter()
            .zip(&direction)
            .map(|(g, d)| (g * d) as f64)
            .sum();
        let scale = gradient.iter().map(|g| (g * g) as f64).sum::<f64>().sqrt();
        assert!(scale > 1e-3, "input {which} has no gradient");
        assert!(
            (numeric - derived).abs() <= tolerance * scale.max(1.0),
            "input {which}: difference quotient {numeric}, gradient {derived}"
        );
    }
}

/// Weighs every element of the results, so that no gradient is symmetric by chance.
fn weigh(results: Vec<Vec<f32>>) -> f64 {
    let weighted = results.iter().enumerate().map(|(i, r)| {
        let weights = numbers(r.len(), 5 + i as u64);
        r.iter()
            .zip(weights)
            .map(|(r, w)| *r as f64 * w as f64)
            .sum::<f64>()
    });
    weighted.sum()
}

/// The same weighted sum as a Burn scalar.
pub(super) fn weighed(results: Vec<Value>) -> Tensor<1> {
    let terms = results.into_iter().enumerate().map(|(i, value)| {
        let count = value.shape().iter().product();
        let flat: Tensor<1> = match value.shape().len() {
            1 => value.tensor::<1>().unwrap(),
            2 => value.tensor::<2>().unwrap().reshape([count]),
            3 => value.tensor::<3>().unwrap().reshape([count]),
            _ => value.tensor::<4>().unwrap().reshape([count]),
        };
        let weights = HostTensor {
            shape: vec![count],
            data: numbers(count, 5 + i as u64),
        };
        (flat * Value::from_host(weights).tensor::<1>().unwrap()).sum()
    });
    terms.reduce(|a, b| a + b).unwrap()
}

#[test]
fn causal_conv_has_its_gradients_and_chains() {
    let inputs = [
        host(&[2, 6, 5], 1),
        host(&[5, 1, 4], 2),
        host(&[5], 3),
        host(&[2, 3, 5], 4),
    ];
    for silu in [true, false] {
        check_direction(
            &inputs,
            |inputs| {
                let (x, w) = (leaf::<3>(&inputs[0]), leaf::<3>(&inputs[1]));
                let (b, s) = (leaf::<1>(&inputs[2]), leaf::<3>(&inputs[3]));
                let [x_, w_] = [x.clone(), w.clone()];
                let run = causal_conv_packed(x_, w_, b.clone(), silu, Some(s.clone()), None);
                let (y, out) = run.unwrap();
                let loss = weigh(vec![data(y.clone()), data(out.clone())]);
                let grads =
                    weighed(vec![Value::new(y).unwrap(), Value::new(out).unwrap()]).backward();
                let of = [
                    data(x.grad(&grads).unwrap()),
                    data(w.grad(&grads).unwrap()),
                    data(b.grad(&grads).unwrap()),
                    data(s.grad(&grads).unwrap()),
                ];
                (loss, of.to_vec())
            },
            2e-3,
        );
    }
    let [x, w, b, s] = [0, 1, 2, 3].map(|i| inputs[i].clone());
    let run = |x: Tensor<3>, s: Tensor<3>| causal_conv(x, leaf(&w), leaf(&b), Some(s)).unwrap();
    let (whole, last) = run(leaf(&x), leaf(&s));
    for cut in [0, 1, 2, 5, 6] {
        let (first, between) = run(leaf::<3>(&x).slice([0..2, 0..cut]), leaf(&s));
        let (second, end) = run(leaf::<3>(&x).slice([0..2, cut..6]), between);
        assert_eq!(
            data(Tensor::cat(vec![first, second], 1)),
            data(whole.clone())
        );
        assert_eq!(data(end), data(last.clone()));
    }
    let taps = |c: usize| -> f32 {
        (0..4)
            .map(|w_| inputs[1].data[c * 4 + w_] * inputs[0].data[(2 + w_) * 5 + c])
            .sum()
    };
    let u = inputs[2].data[3] + taps(3);
    let want = u / (1.0 + (-u).exp());
    assert!((data(whole)[5 * 5 + 3] - want).abs() < 1e-6);
    let plain = causal_conv_packed(leaf(&x), leaf(&w), leaf(&b), false, Some(leaf(&s)), None);
    let (plain, _) = plain.unwrap();
    assert!((data(plain)[5 * 5 + 3] - u).abs() < 1e-6);
}

#[test]
fn norms_have_their_gradients() {
    let inputs = [host(&[2, 3, 2, 4], 1), host(&[2, 3, 8], 2), host(&[8], 3)];
    check_direction(
        &inputs,
        |inputs| {
            let (y, z) = (leaf::<4>(&inputs[0]), leaf::<3>(&inputs[1]));
            let w = leaf::<1>(&inputs[2]);
            let out = gated_rms_norm(y.clone(), z.clone(), w.clone(), 4, 1e-5).unwrap();
            let loss = weigh(vec![data(out.clone())]);
            let grads = weighed(vec![Value::new(out).unwrap()]).backward();
            let of = [
                data(y.grad(&grads).unwrap()),
                data(z.grad(&grads).unwrap()),
                data(w.grad(&grads).unwrap()),
            ];
            (loss, of.to_vec())
        },
        2e-2,
    );
    let out = data(
        gated_rms_norm(
            leaf::<4>(&inputs[0]),
            leaf(&inputs[1]),
            leaf(&inputs[2]),
            4,
            1e-5,
        )
        .unwrap(),
    );
    let silu = |z: f32| z / (1.0 + (-z).exp());
    let u: Vec<f32> = (12..16)
        .map(|i| inputs[0].data[i] * silu(inputs[1].data[i]))
        .collect();
    let rms = (u.iter().map(|u| u * u).sum::<f32>() / 4.0 + 1e-5).sqrt();
    for i in 0..4 {
        assert!((out[12 + i] - u[i] / rms * inputs[2].data[4 + i]).abs() < 1e-6);
    }

    check_direction(
        &[host(&[3, 8], 4), host(&[8], 5)],
        |inputs| {
            let (x, w) = (leaf::<2>(&inputs[0]), leaf::<1>(&inputs[1]));
            let out = rms_norm(x.clone(), w.clone(), 1e-5).unwrap();
            let loss = weigh(vec![data(out.clone())]);
            let grads = weighed(vec![Value::new(out).unwrap()]).backward();
            (
                loss,
                vec![data(x.grad(&grads).unwrap()), data(w.grad(&grads).unwrap())],
            )
        },
        2e-3,
    );
}

#[test]
fn cross_entropy_embedding_and_split_have_their_gradients() {
    let ids = [3, 0, 3, 1, 2, 4];
    check_direction(
        &[host(&[5, 7], 1)],
        |inputs| {
            let table = leaf::<2>(&inputs[0]);
            let rows = embed(table.clone(), &ids, [2, 3]).unwrap();
            let parts = split(rows, &[&[2], &[2, 2], &[1]]).unwrap();
            assert_eq!(parts[1].shape(), [2, 3, 2, 2]);
            let logits = parts[1].clone().tensor::<4>().unwrap().reshape([2, 3, 4]);
            let extra = weighed(vec![parts[0].clone()]);
            let loss = cross_entropy(logits, vec![0, 1, 2, 3, 1, 0]).unwrap() + extra.clone();
            let grads = loss.backward();
            (
                data(loss)[0] as f64,
                vec![data(table.grad(&grads).unwrap())],
            )
        },
        2e-3,
    );
    let logits = host(&[1, 2, 3], 9);
    let got = token_losses(leaf(&logits), &[2, 0]).unwrap();
    let row = &logits.data[..3];
    let want = row.iter().map(|l| l.exp()).sum::<f32>().ln() - row[2];
    assert!((got[0] - want).abs() < 1e-6);
    let error = token_losses(leaf(&logits), &[3, 0])
        .unwrap_err()
        .to_string();
    assert_eq!(error, "token 3 is outside the vocabulary of 3");
}

#[test]
fn weights_say_which_targets_count() {
    let (logits, targets) = (host(&[2, 3, 4], 3), vec![0, 1, 2, 3, 1, 0]);
    let weights = [0.0, 1.0, 0.5, 0.0, 2.0, 1.0];
    check_direction(
        std::slice::from_ref(&logits),
        |inputs| {
            let logits = leaf::<3>(&inputs[0]);
            let given = Some(weights.to_vec());
            let loss = weighted_cross_entropy(logits.clone(), targets.clone(), given, 4.5);
            let loss = loss.unwrap();
            let grads = loss.backward();
            let gradient = data(logits.grad(&grads).unwrap());
            for (row, weight) in gradient.chunks(4).zip(weights) {
                assert_eq!(row.iter().all(|g| *g == 0.0), weight == 0.0);
            }
            (data(loss)[0] as f64, vec![gradient])
        },
        2e-3,
    );
    let each = token_losses(leaf(&logits), &targets).unwrap();
    let want: f32 = each.iter().zip(weights).map(|(l, w)| l * w / 4.5).sum();
    let loss = weighted_cross_entropy(leaf(&logits), targets.clone(), Some(weights.into()), 4.5);
    assert!((data(loss.unwrap())[0] - want).abs() < 1e-6);
    let loss = weighted_cross_entropy(leaf(&logits), targets, Some(vec![1.0]), 1.0);
    let error = loss.unwrap_err().to_string();
    assert_eq!(error, "1 weights given for 6 targets");
}

#[test]
fn a_recurrence_passes_gradients_through_all_ports() {
    let (b, t, h, g, n, p) = (2, 5, 4, 2, 3, 2);
    let kernel = mamba2(n, p);
    let inputs = [
        host(&[b, t, h * p + 2 * g * n], 1),
        host(&[b, t, h], 2),
        host(&[h], 3),
        host(&[h], 4),
        host(&[h], 5),
        host(&[b, h, n, p], 6),
    ];
    check_direction(
        &inputs,
        |inputs| {
            let xbc = leaf::<3>(&inputs[0]);
            let dt = leaf::<3>(&inputs[1]);
            let params = [2, 3, 4].map(|i| leaf::<1>(&inputs[i]));
            let state = leaf::<4>(&inputs[5]);
            let mut given = split(xbc.clone(), &[&[h, p], &[g, n], &[g, n]]).unwrap();
            given.push(Value::new(dt.clone()).unwrap());
            let run = apply_values(
                &kernel,
                1,
                Given {
                    inputs: given,
                    params: params.clone().map(|p| Value::new(p).unwrap()).to_vec(),
                    states: Some(vec![Value::new(state.clone()).unwrap()]),
                    cu_seqlens: None,
                },
            )
            .unwrap();
            let results = [run.outputs, run.states].concat();
            let loss = weigh(results.iter().map(|r| r.to_host().data).collect());
            let grads = weighed(results).backward();
            let mut of = vec![
                data(xbc.grad(&grads).unwrap()),
                data(dt.grad(&grads).unwrap()),
            ];
            of.extend(params.map(|p| data(p.grad(&grads).unwrap())));
            of.push(data(state.grad(&grads).unwrap()));
            (loss, of)
        },
        5e-3,
    );
}

#[test]
fn a_port_the_loss_does_not_reach_is_zero_gradient() {
    let kernel = mamba2(2, 2);
    let given = |x: Tensor<4>| Given {
        inputs: vec![
            Value::new(x).unwrap(),
            Value::from_host(host(&[1, 3, 1, 2], 2)),
            Value::from_host(host(&[1, 3, 1, 2], 3)),
            Value::from_host(host(&[1, 3, 1], 4)),
        ],
        params: (5..8).map(|s| Value::from_host(host(&[1], s))).collect(),
        ..Given::default()
    };
    let x = leaf::<4>(&host(&[1, 3, 1, 2], 1));
    let run = apply_values(&kernel, 1, given(x.clone())).unwrap();
    let last = run.states[0].clone().tensor::<4>().unwrap().sum();
    let through_state = data(x.grad(&last.backward()).unwrap());
    assert!(through_state.iter().all(|g| *g != 0.0));
    let run = apply_values(&kernel, 1, given(x.clone())).unwrap();
    let first = run.outputs[0]
        .clone()
        .tensor::<4>()
        .unwrap()
        .slice([0..1, 0..1])
        .sum();
    let through_output = data(x.grad(&first.backward()).unwrap());
    assert!(through_output[..2].iter().all(|g| *g != 0.0));
    assert!(through_output[2..].iter().all(|g| *g == 0.0));
}

#[test]
fn foreign_tensors_are_refused_by_name() {
    let ints = Tensor::<1>::from_data(
        TensorData::from([1.0f64, 2.0]),
        (&Device::flex(), burn::tensor::DType::F64),
    );
    let error = Value::new(ints).unwrap_err().to_string();
    assert_eq!(error, "expected elements of type F32, given F64");
}
