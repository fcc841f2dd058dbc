//! Burn tensors whose rank is known at run time, wherever they lie.
//!
//! Burn's `Tensor<D>` carries its rank in its type; a recurrence has ports of any rank. A [`Value`]
//! forgets the rank and keeps everything else: the memory (shared, never copied by a conversion)
//! and the place in the autodiff graph. It is in f32, and on the Flex backend or (feature `cuda`)
//! on Burn's CUDA device. This is the one place that knows both: whatever else is given is refused
//! with its name here, once, and operations ask [`on_host`](Value::on_host) and nothing more.

use super::flex::{flex, readable, view};
use crate::Error;
use burn::Tensor;
use burn::backend::autodiff::ops::NodeGuard;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata};
use burn::tensor::{DType, Device, Shape, TensorData};

/// An f32 tensor of any rank.
#[derive(Clone, Debug)]
pub struct Value(Repr);

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)]
enum Repr {
    Flex(On<Flex>),
    #[cfg(feature = "cuda")]
    Cuda(On<burn::backend::Cuda>),
}

/// A tensor of one backend, in a graph or outside.
#[derive(Debug)]
pub(super) enum On<B: Home> {
    Plain(FloatTensor<B>),
    Recorded(FloatTensor<Autodiff<B>>),
}

impl<B: Home> Clone for On<B> {
    fn clone(&self) -> Self {
        match self {
            On::Plain(tensor) => On::Plain(tensor.clone()),
            On::Recorded(tensor) => On::Recorded(tensor.clone()),
        }
    }
}

/// A backend that values can be on.
pub(super) trait Home: Backend {
    /// The value of a tensor.
    fn value(tensor: On<Self>) -> Value;
    /// The tensor of a value that is on this backend.
    fn of(value: &Value) -> Option<&On<Self>>;
    /// A tensor of this backend without its rank.
    fn erase<const D: usize>(tensor: Tensor<D>) -> Result<On<Self>, String>;
    /// The tensor with its rank, which is `D`.
    fn typed<const D: usize>(tensor: On<Self>) -> Tensor<D>;
    /// The device as Burn's tensors name it.
    fn device(device: Self::Device) -> Device;
}

macro_rules! home {
    ($backend:ty, $variant:ident) => {
        impl Home for $backend {
            fn value(tensor: On<Self>) -> Value {
                Value(Repr::$variant(tensor))
            }

            fn of(value: &Value) -> Option<&On<Self>> {
                match &value.0 {
                    Repr::$variant(tensor) => Some(tensor),
                    #[cfg(feature = "cuda")]
                    _ => None,
                }
            }

            fn erase<const D: usize>(tensor: Tensor<D>) -> Result<On<Self>, String> {
                let erased = match tensor.is_autodiff() {
                    true => tensor
                        .try_into_primitive::<Autodiff<Self>>()
                        .map(On::Recorded),
                    false => tensor.try_into_primitive::<Self>().map(On::Plain),
                };
                erased.map_err(|e| format!("{e:?}"))
            }

            fn typed<const D: usize>(tensor: On<Self>) -> Tensor<D> {
                match tensor {
                    On::Plain(tensor) => Tensor::from_primitive::<Self>(tensor),
                    On::Recorded(tensor) => Tensor::from_primitive::<Autodiff<Self>>(tensor),
                }
            }

            fn device(device: Self::Device) -> Device {
                Device::new(device)
            }
        }
    };
}

home!(Flex, Flex);
#[cfg(feature = "cuda")]
home!(burn::backend::Cuda, Cuda);

/// Runs one body for the tensor of whichever backend.
macro_rules! each {
    ($repr:expr, $on:ident => $body:expr) => {
        match $repr {
            Repr::Flex($on) => $body,
            #[cfg(feature = "cuda")]
            Repr::Cuda($on) => $body,
        }
    };
}

impl<B: Home> On<B> {
    /// The tensor outside of any graph.
    pub(super) fn inner(&self) -> &FloatTensor<B> {
        match self {
            On::Plain(tensor) => tensor,
            On::Recorded(tensor) => tensor.primitive(),
        }
    }

    /// The guard of its node; a constant gets a node of its own.
    pub(super) fn node(&self) -> NodeGuard {
        match self {
            On::Plain(tensor) => FloatTensor::<Autodiff<B>>::new(tensor.clone()).node(),
            On::Recorded(tensor) => tensor.node(),
        }
    }

    fn detach(&self) -> Self {
        On::Plain(self.inner().clone())
    }

    fn reshape(self, shape: Shape) -> Self {
        match self {
            On::Plain(tensor) => On::Plain(B::float_reshape(tensor, shape)),
            On::Recorded(tensor) => On::Recorded(Autodiff::<B>::float_reshape(tensor, shape)),
        }
    }

    fn device(&self) -> Device {
        <B as Home>::device(self.inner().device())
    }

    #[cfg(feature = "cuda")]
    fn to_host(&self) -> baton_runtime::Tensor {
        let data = burn::backend::read_sync(B::float_into_data(self.inner().clone()));
        let data =
            data.unwrap_or_else(|e| panic!("a tensor cannot be read from its device: {e:?}"));
        baton_runtime::Tensor {
            shape: self.inner().shape().to_vec(),
            data: data.try_to_vec().expect("a value is in f32"),
        }
    }
}

/// Whether a tensor on `device` has its memory on the host, where fused operations read it.
pub(super) fn on_host(device: &Device) -> bool {
    *device == Device::flex()
}

/// The device of models whose kernels are loaded on `target`: that GPU where the kernels take its memory,
/// else the host. A GPU without the feature `cuda` is refused.
pub fn device(target: &dyn baton_runtime::Device) -> Result<Device, Error> {
    match target.gpu() {
        None => Ok(Device::flex()),
        #[cfg(feature = "cuda")]
        Some(gpu) => {
            let device = Device::cuda(gpu);
            // An exponential needs everything that Burn's kernels do, libdevice of a toolkit included.
            let tried = Tensor::<1>::from_data([0.0f32], &device).exp();
            let tried = tried.try_into_data().map(|_| device);
            tried.map_err(|e| Error::Config(format!("Burn's CUDA device runs no kernel: {e:?}")))
        }
        #[cfg(not(feature = "cuda"))]
        Some(_) => Err(Error::Config(format!(
            "device `{}` given to a model, expected one of the host: training on a GPU needs the feature \
             `cuda` of baton-train (`train-cuda` of the command line)",
            target.name()
        ))),
    }
}

impl Value {
    /// Forgets the rank of a tensor; refuses other backends and other element types.
    pub fn new<const D: usize>(tensor: Tensor<D>) -> Result<Self, Error> {
        #[cfg(feature = "cuda")]
        let erased = match on_host(&tensor.device()) {
            true => Flex::erase(tensor).map(Flex::value),
            false => burn::backend::Cuda::erase(tensor).map(burn::backend::Cuda::value),
        };
        #[cfg(not(feature = "cuda"))]
        let erased = Flex::erase(tensor).map(Flex::value);
        let value = erased.map_err(|e| {
            let backends = match cfg!(feature = "cuda") {
                true => "Flex backend or CUDA device",
                false => "Flex backend",
            };
            Error::Tensor(format!("expected a tensor on Burn's {backends}: {e}"))
        })?;
        match each!(&value.0, on => on.inner().dtype()) {
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
        Ok(each!(self.0, on => Home::typed(on)))
    }

    /// A constant in memory of the host.
    pub fn from_host(tensor: baton_runtime::Tensor) -> Self {
        Flex::value(On::Plain(flex(tensor.data, &tensor.shape)))
    }

    /// A contiguous copy on the host.
    pub fn to_host(&self) -> baton_runtime::Tensor {
        match &self.0 {
            Repr::Flex(on) => view(&readable(on.inner())).to_tensor(),
            #[cfg(feature = "cuda")]
            Repr::Cuda(on) => on.to_host(),
        }
    }

    /// The device that its memory is of.
    pub fn device(&self) -> Device {
        each!(&self.0, on => on.device())
    }

    /// The value on `device`: itself if it is there, else a constant with the same elements.
    pub fn on(self, device: &Device) -> Self {
        if self.device() == *device {
            return self;
        }
        let baton_runtime::Tensor { shape, data } = self.to_host();
        let rows = TensorData::new(data, [shape.iter().product::<usize>()]);
        let rows = Tensor::<1>::from_data(rows, &device.clone().without_autodiff());
        let value = Value::new(rows).expect("a device that models can be on");
        value.reshape(&shape)
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> Vec<usize> {
        each!(&self.0, on => on.inner().shape().to_vec())
    }

    /// The same elements in row order under other sizes, whose product is the same.
    pub(crate) fn reshape(self, shape: &[usize]) -> Self {
        if self.shape() == shape {
            return self;
        }
        let shape = Shape::from(shape.to_vec());
        each!(self.0, on => Home::value(on.reshape(shape)))
    }

    /// The same elements, cut off from the graph.
    pub fn detach(&self) -> Self {
        each!(&self.0, on => Home::value(on.detach()))
    }

    /// Whether a graph is being recorded around this value.
    pub(crate) fn recorded(&self) -> bool {
        each!(&self.0, on => matches!(on, On::Recorded(_)))
    }

    /// Whether its memory is on the host.
    pub(super) fn on_host(&self) -> bool {
        matches!(self.0, Repr::Flex(_))
    }

    /// The memory of a value that is on the host.
    pub(super) fn flex(&self) -> &FlexTensor {
        Flex::of(self)
            .expect("fused operations are for memory of the host")
            .inner()
    }
}
