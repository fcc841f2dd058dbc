//! The f32 memory behind tensors on the Flex backend: made, viewed, and walked by rows.
//!
//! Nothing here copies unless the layout forbids otherwise, and then once. What a fused operation
//! reads, it reads through these; a tensor on another device never comes here.

use baton_runtime::View;
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};

/// Memory of the host as a tensor, without a copy.
pub(super) fn flex(data: Vec<f32>, shape: &[usize]) -> FlexTensor {
    debug_assert_eq!(data.len(), shape.iter().product::<usize>());
    FlexTensor::new(
        Bytes::from_elems(data),
        Layout::contiguous(Shape::from(shape.to_vec())),
        DType::F32,
    )
}

/// The tensor, copied only if a stride of it is negative.
pub(super) fn readable(tensor: &FlexTensor) -> FlexTensor {
    match tensor.layout().strides().iter().all(|&s| s >= 0) {
        true => tensor.clone(),
        false => tensor.to_contiguous(),
    }
}

/// A strided view of a [`readable`] tensor.
pub(super) fn view(tensor: &FlexTensor) -> View<'_> {
    let layout = tensor.layout();
    let storage: &[f32] = tensor.storage();
    View {
        data: &storage[layout.start_offset().min(storage.len())..],
        shape: layout.shape().to_vec(),
        strides: layout.strides().iter().map(|&s| s as usize).collect(),
    }
}

/// Rows of `width` contiguous elements at one distance from each other.
///
/// Holds the tensor that they lie in; made without a copy whenever the trailing dims are
/// contiguous and the leading ones evenly spaced, which every slice of a projection's columns is.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    tensor: FlexTensor,
    /// Number of rows.
    pub count: usize,
    /// Elements in a row.
    pub width: usize,
    stride: usize,
}

impl Rows {
    /// The rows of a tensor whose last `inner` dims make one row.
    pub fn new(tensor: &FlexTensor, inner: usize) -> Self {
        let tensor = readable(tensor);
        let (shape, strides) = (
            tensor.layout().shape().to_vec(),
            tensor.layout().strides().to_vec(),
        );
        let (outer, inner) = shape.split_at(shape.len() - inner);
        let (outer_strides, inner_strides) = strides.split_at(outer.len());
        let (count, width) = (outer.iter().product(), inner.iter().product());
        let dense = run_stride(inner, inner_strides, 1).is_some();
        match outer_strides.last().map_or(Some(width), |&last| {
            run_stride(outer, outer_strides, last as usize)
        }) {
            Some(stride) if dense => Rows {
                tensor,
                count,
                width,
                stride,
            },
            _ => Rows {
                tensor: tensor.to_contiguous(),
                count,
                width,
                stride: width,
            },
        }
    }

    /// Row number `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        let start = self.tensor.layout().start_offset() + i * self.stride;
        &self.tensor.storage()[start..start + self.width]
    }
}

/// The stride of the innermost of `shape`, if all of it is one evenly spaced run of that stride.
fn run_stride(shape: &[usize], strides: &[isize], innermost: usize) -> Option<usize> {
    let mut expected = innermost;
    for (&size, &stride) in shape.iter().zip(strides).rev() {
        if size != 1 && stride as usize != expected {
            return None;
        }
        expected *= size;
    }
    Some(innermost)
}
