//! Each composed operation beside the fused one, on Flex: values, and gradients of everything given.

use super::super::tests::{data, host, leaf, weighed};
use super::super::{self as fused, Packing};
use super::*;
use baton_runtime::Tensor as HostTensor;

/// Values and gradients of both are the same up to the rounding of sums in another order.
fn same(
    inputs: &[HostTensor],
    fused: impl Fn(&[Value]) -> Vec<Value>,
    composed: impl Fn(&[Value]) -> Vec<Value>,
) {
    let run = |op: &dyn Fn(&[Value]) -> Vec<Value>| {
        // Ranks are forgotten after the leaf, through which gradients are read.
        let leaves: Vec<Tensor<1>> = inputs.iter().map(flat).collect();
        let values = leaves.iter().zip(inputs).map(|(leaf, input)| {
            let value = Value::new(leaf.clone()).unwrap();
            value.reshape(&input.shape)
        });
        let results = op(&values.collect::<Vec<_>>());
        let shapes: Vec<_> = results.iter().map(Value::shape).collect();
        let values: Vec<_> = results.iter().map(|r| r.to_host().data).collect();
        let results = results.into_iter().filter(|r| !r.shape().contains(&0));
        let gradients = weighed(results.collect()).backward();
        let gradients = leaves.iter().map(|l| data(l.grad(&gradients).unwrap()));
        (
            shapes,
            values.into_iter().chain(gradients).collect::<Vec<_>>(),
        )
    };
    let (got, want) = (run(&composed), run(&fused));
    assert_eq!(got.0, want.0);
    for (i, (got, want)) in got.1.iter().zip(&want.1).enumerate() {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            let close = (got - want).abs() <= 2e-6 * want.abs().max(1.0);
            assert!(close, "tensor {i}: {got} composed, {want} fused");
        }
    }
}

fn flat(input: &HostTensor) -> Tensor<1> {
    leaf(&HostTensor {
        shape: vec![input.data.len()],
        data: input.data.clone(),
    })
}

fn t<const D: usize>(value: &Value) -> Tensor<D> {
    value.clone().tensor().unwrap()
}

fn all<const D: usize>(tensors: impl IntoIterator<Item = Tensor<D>>) -> Vec<Value> {
    tensors
        .into_iter()
        .map(|t| Value::new(t).unwrap())
        .collect()
}

#[test]
fn convolutions() {
    for width in [1, 2, 4] {
        for time in [1, 2, 6] {
            let (x, state) = ([2, time, 5], [2, width - 1, 5]);
            let mut inputs = vec![
                host(&x, 1),
                host(&[5, 1, width], 2),
                host(&[5], 3),
                host(&state, 4),
            ];
            inputs.truncate(if width == 1 { 3 } else { 4 });
            for (given, silu) in [(3, true), (inputs.len(), true), (inputs.len(), false)] {
                let inputs = &inputs[..given];
                same(
                    inputs,
                    |v| {
                        let state = v.get(3).map(t);
                        let (x, w, b) = (t(&v[0]), t(&v[1]), t(&v[2]));
                        let run = fused::causal_conv_packed(x, w, b, silu, state, None);
                        all(<[_; 2]>::from(run.unwrap()))
                    },
                    |v| {
                        let state = v.get(3).map(t);
                        all(<[_; 2]>::from(causal_conv(
                            t(&v[0]),
                            t(&v[1]),
                            t(&v[2]),
                            silu,
                            state,
                            None,
                        )))
                    },
                );
            }
        }
    }
}

#[test]
fn convolutions_of_packed_sequences_and_the_states_of_rows() {
    let packing = Packing::new([3, 4], &[1, 4, 6]).unwrap();
    let inputs = [
        host(&[1, 12, 5], 1),
        host(&[5, 1, 4], 2),
        host(&[5], 3),
        host(&[5, 3, 5], 4),
    ];
    for (given, silu) in [(3, true), (4, true), (4, false)] {
        same(
            &inputs[..given],
            |v| {
                let (x, w, b, s) = (t(&v[0]), t(&v[1]), t(&v[2]), v.get(3).map(t));
                let run = fused::causal_conv_packed(x, w, b, silu, s, Some(&packing)).unwrap();
                all(<[_; 2]>::from(run))
            },
            |v| {
                let (x, w, b, s) = (t(&v[0]), t(&v[1]), t(&v[2]), v.get(3).map(t));
                all(<[_; 2]>::from(causal_conv(
                    x,
                    w,
                    b,
                    silu,
                    s,
                    Some(&packing),
                )))
            },
        );
    }
    let chosen = [Some(0), None, None, None, Some(2)];
    same(
        &[host(&[3, 2, 4], 7)],
        |v| vec![packing.enter(&v[0]).unwrap()],
        |v| vec![select(&v[0], &chosen).unwrap()],
    );
}

#[test]
fn norms() {
    same(
        &[host(&[2, 3, 2, 4], 1), host(&[8], 3), host(&[2, 3, 8], 2)],
        |v| {
            let out = fused::gated_rms_norm(t::<4>(&v[0]), t(&v[2]), t(&v[1]), 4, 1e-5);
            all([out.unwrap()])
        },
        |v| {
            let [y, weight, z] = [0, 1, 2].map(|i| v[i].clone());
            vec![norm(y, Some(z), weight, 4, 1e-5).unwrap()]
        },
    );
    same(
        &[host(&[3, 8], 4), host(&[8], 5)],
        |v| all([fused::rms_norm(t::<2>(&v[0]), t(&v[1]), 1e-5).unwrap()]),
        |v| vec![norm(v[0].clone(), None, v[1].clone(), 8, 1e-5).unwrap()],
    );
}

#[test]
fn losses_lookups_and_parts() {
    let targets = vec![0, 1, 2, 3, 1, 0];
    let logits = host(&[2, 3, 4], 3);
    for weights in [None, Some(vec![0.0, 1.0, 0.5, 2.0, 1.0, 0.0])] {
        same(
            std::slice::from_ref(&logits),
            |v| {
                let weights = weights.clone();
                let loss = fused::weighted_cross_entropy(t(&v[0]), targets.clone(), weights, 4.5);
                all([loss.unwrap()])
            },
            |v| {
                let loss = weighted_cross_entropy(t(&v[0]), &targets, weights.clone(), 4.5);
                all([loss])
            },
        );
    }
    let want = fused::token_losses(leaf(&logits), &targets).unwrap();
    let got = data(token_losses(leaf(&logits), &targets));
    assert!(
        got.iter()
            .zip(want)
            .all(|(got, want)| (got - want).abs() < 2e-6)
    );
    let ids = [3, 0, 3, 1, 2, 4];
    same(
        &[host(&[5, 7], 1)],
        |v| all([fused::embed(t(&v[0]), &ids, [2, 3]).unwrap()]),
        |v| all([embed(t(&v[0]), &ids, [2, 3])]),
    );
    let parts: [&[usize]; 3] = [&[2], &[2, 2], &[1]];
    same(
        &[host(&[2, 3, 7], 1)],
        |v| fused::split(t(&v[0]), &parts).unwrap(),
        |v| split(t(&v[0]), &parts).unwrap(),
    );
}
