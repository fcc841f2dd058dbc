//! Burn tensors whose rank is known at run time, and the f32 memory behind them.
//!
//! Burn's `Tensor<D>` carries its rank in its type; a recurrence has ports of any rank. A [`Value`]
//! forgets the rank and keeps everything else: the memory (shared, never copied by a conversion)
//! and the place in the autodiff graph. It exists on the Flex backend in f32 only; whatever else
//! is given is refused with its name here, once, so that nothing below has to ask again.

use crate::Error;
use baton_runtime::View;
use burn::Tensor;
use burn::backend::autodiff::ops::NodeGuard;
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Bytes, DType, Shape};

type Recorded = FloatTensor<Autodiff<Flex>>;

/// An f32 tensor on the Flex backend, of any rank.
#[derive(Clone, Debug)]
pub struct Value(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Plain(FlexTensor),
    Recorded(Recorded),
}

impl Value {
    /// Forgets the rank of a tensor; refuses other backends and other element types.
    pub fn new<const D: usize>(tensor: Tensor<D>) -> Result<Self, Error> {
        let repr = if tensor.is_autodiff() {
            tensor
                .try_into_primitive::<Autodiff<Flex>>()
                .map(Repr::Recorded)
        } else {
            tensor.try_into_primitive::<Flex>().map(Repr::Plain)
        };
        let value = Value(repr.map_err(|e| {
            Error::Tensor(format!("expected a tensor on Burn's Flex backend: {e:?}"))
        })?);
        match value.flex().dtype() {
            DType::F32 => Ok(value),
            other => Err(Error::Tensor(format!(
                "expected elements of type F32, given {other:?}"
            ))),
        }
    }

    /// The tensor with its rank; refuses a rank that is not the value's.
    pub fn tensor<const D: usize>(self) -> Result<Tensor<D>, Error> {
        let rank = self.shape().len();
        if rank != D {
            return Err(Error::Tensor(format!(
                "expected a tensor of rank {D}, given shape {:?}",
                self.shape()
            )));
        }
        Ok(match self.0 {
            Repr::Plain(tensor) => Tensor::from_primitive::<Flex>(tensor),
            Repr::Recorded(tensor) => Tensor::from_primitive::<Autodiff<Flex>>(tensor),
        })
    }

    /// A constant from memory of the host.
    pub fn from_host(tensor: baton_runtime::Tensor) -> Self {
        Value(Repr::Plain(flex(tensor.data, &tensor.shape)))
    }

    /// A contiguous copy on the host.
    pub fn to_host(&self) -> baton_runtime::Tensor {
        let flex = readable(self.flex());
        view(&flex).to_tensor()
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> Vec<usize> {
        self.flex().layout().shape().to_vec()
    }

    /// The same elements, cut off from the graph.
    pub fn detach(&self) -> Self {
        Value(Repr::Plain(self.flex().clone()))
    }

    /// Whether a graph is being recorded around this value.
    pub(crate) fn recorded(&self) -> bool {
        matches!(self.0, Repr::Recorded(_))
    }

    pub(super) fn flex(&self) -> &FlexTensor {
        match &self.0 {
            Repr::Plain(tensor) => tensor,
            Repr::Recorded(tensor) => tensor.primitive(),
        }
    }

    /// The guard of its node; a constant gets a node of its own.
    pub(super) fn node(&self) -> NodeGuard {
        match &self.0 {
            Repr::Plain(tensor) => Recorded::new(tensor.clone()).node(),
            Repr::Recorded(tensor) => tensor.node(),
        }
    }

    pub(super) fn plain(tensor: FlexTensor) -> Self {
        Value(Repr::Plain(tensor))
    }

    pub(super) fn from_node(tensor: Recorded) -> Self {
        Value(Repr::Recorded(tensor))
    }
}

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
