//! Messages name the tensor, what was given and what was expected.

use super::*;
use crate::device::cpu::Cpu;
use crate::{Device, Options};
use baton_ir::{builtin, text};

const N: usize = 16;
const P: usize = 8;

/// Shapes of a good Mamba-2 call with B=2, T=5, H=4, G=2.
fn shapes() -> Vec<Vec<usize>> {
    vec![
        vec![2, 5, 4, P],
        vec![2, 5, 2, N],
        vec![2, 5, 2, N],
        vec![2, 5, 4],
        vec![4],
        vec![4],
        vec![4],
        vec![2, 4, N, P],
    ]
}

fn tensors(shapes: &[Vec<usize>]) -> Vec<Tensor> {
    shapes
        .iter()
        .map(|shape| Tensor::full(shape, 0.0))
        .collect()
}

fn call<'a>(tensors: &'a [Tensor], cu_seqlens: Option<&'a [i64]>) -> Call<'a> {
    Call {
        inputs: tensors[..4].iter().map(Tensor::view).collect(),
        params: tensors[4..7].iter().map(Tensor::view).collect(),
        states: tensors[7..]
            .iter()
            .map(|state| Some(state.view()))
            .collect(),
        cu_seqlens,
    }
}

fn mamba2() -> Recurrence {
    text::parse(builtin::text("mamba2").unwrap()).unwrap()
}

fn message(shapes: &[Vec<usize>], cu_seqlens: Option<&[i64]>) -> String {
    let tensors = tensors(shapes);
    match bind(&mamba2(), &[N, P], &call(&tensors, cu_seqlens)) {
        Ok(extent) => format!("{extent:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_good_call_binds_every_symbol() {
    let tensors = tensors(&shapes());
    let extent = bind(&mamba2(), &[N, P], &call(&tensors, None)).unwrap();
    let expected = Extent {
        batch: 2,
        time: 5,
        heads: 4,
        groups: 2,
        sequences: 2,
    };
    assert_eq!(extent, expected);
    assert_eq!(
        infer_sizes(&mamba2(), &call(&tensors, None)).unwrap(),
        [N, P]
    );
}

#[test]
fn a_shape_error_names_the_tensor_the_given_and_the_expected() {
    let cases: [(usize, &[usize], &str); 6] = [
        (
            0,
            &[2, 5, 4],
            "tensor `x` has shape [2, 5, 4], expected [B, T, H, P=8]",
        ),
        (
            1,
            &[2, 6, 2, N],
            "tensor `b` has shape [2, 6, 2, 16], expected [B=2, T=5, G, N=16]",
        ),
        (
            2,
            &[2, 5, 4, N],
            "tensor `c` has shape [2, 5, 4, 16], expected [B=2, T=5, G=2, N=16]",
        ),
        (
            3,
            &[2, 5, 4, 1],
            "tensor `dt` has shape [2, 5, 4, 1], expected [B=2, T=5, H=4]",
        ),
        (4, &[3], "tensor `a_log` has shape [3], expected [H=4]"),
        (
            7,
            &[2, 4, P, N],
            "tensor `S` has shape [2, 4, 8, 16], expected [B=2, H=4, N=16, P=8]",
        ),
    ];
    for (tensor, shape, expected) in cases {
        let mut shapes = shapes();
        shapes[tensor] = shape.to_vec();
        assert_eq!(message(&shapes, None), expected);
    }
}

#[test]
fn heads_fall_into_groups() {
    let mut shapes = shapes();
    shapes[1][2] = 3;
    shapes[2][2] = 3;
    let message = message(&shapes, None);
    assert!(
        message.starts_with("H=4 heads do not fall into G=3 groups of `b`"),
        "{message}"
    );
}

#[test]
fn packing_offsets_are_checked() {
    let mut shapes = shapes();
    shapes[..4].iter_mut().for_each(|shape| shape[0] = 1);
    shapes[7][0] = 3;
    assert!(message(&shapes, Some(&[0, 2, 2, 5])).contains("sequences: 3"));
    for (ends, wrong) in [
        (
            &[0, 2, 5][..],
            "tensor `S` has shape [3, 4, 16, 8], expected [S=2, H=4, N=16, P=8]",
        ),
        (&[0, 3, 2, 5], "cu_seqlens has 2 after 3 at position 2"),
        (&[0, 2, 2, 6], "cu_seqlens has offsets from 0 to 6"),
        (&[-1, 2, 2, 5], "cu_seqlens has offsets from -1 to 5"),
        (&[0], "cu_seqlens has 1 offsets"),
        (&[], "cu_seqlens has 0 offsets"),
    ] {
        let message = message(&shapes, Some(ends));
        assert!(message.starts_with(wrong), "{message}");
    }
    shapes[..4].iter_mut().for_each(|shape| shape[0] = 2);
    assert!(message(&shapes, Some(&[0, 2, 2, 5])).starts_with("cu_seqlens has B=2"));
}

#[test]
fn views_that_reach_outside_or_overflow_are_errors() {
    let tensors = tensors(&shapes());
    let mut call = call(&tensors, None);
    call.inputs[0].strides[0] += 1;
    let error = bind(&mamba2(), &[N, P], &call).unwrap_err().to_string();
    assert!(
        error.starts_with("tensor `x` with shape [2, 5, 4, 8]"),
        "{error}"
    );
    call.inputs[0].strides = vec![0; 4];
    call.inputs[0].shape = vec![usize::MAX / 8, 5, 4, P];
    let error = bind(&mamba2(), &[N, P], &call).unwrap_err().to_string();
    assert!(
        error.contains("more entries than memory can hold"),
        "{error}"
    );
    call.inputs[0].strides.pop();
    let error = bind(&mamba2(), &[N, P], &call).unwrap_err().to_string();
    assert_eq!(error, "tensor `x` has 4 sizes and 3 strides");
}

#[test]
fn counts_and_sizes_are_checked() {
    let tensors = tensors(&shapes());
    let mut call = call(&tensors, None);
    for (sizes, expected) in [
        (&[N][..], "1 sizes given, expected one for each of [N, P]"),
        (
            &[N, 0],
            "dimension `P` has size 0, expected at least 1 and at most 16777216",
        ),
        (
            &[1 << 32, P],
            "dimension `N` has size 4294967296, expected at least 1 and at most 16777216",
        ),
        (
            &[1 << 24, 1 << 7],
            "state `S` has 2147483648 numbers, expected at most 2147483647",
        ),
    ] {
        assert_eq!(
            bind(&mamba2(), sizes, &call).unwrap_err().to_string(),
            expected
        );
    }
    call.inputs.pop();
    let error = bind(&mamba2(), &[N, P], &call).unwrap_err().to_string();
    assert_eq!(error, "3 inputs given, expected 4: [x, b, c, dt]");
}

#[test]
fn the_cpu_loads_no_dimension_of_size_zero() {
    let cpu = Cpu::new(Some(1)).unwrap();
    for name in builtin::NAMES {
        let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
        for (empty, dim) in recurrence.dims.iter().enumerate() {
            let mut sizes = vec![4; recurrence.dims.len()];
            sizes[empty] = 0;
            let error = cpu.load(&recurrence, &sizes, &Options::default());
            let expected =
                format!("dimension `{dim}` has size 0, expected at least 1 and at most 16777216");
            assert_eq!(error.err().unwrap().to_string(), expected, "{name}");
        }
    }
}
