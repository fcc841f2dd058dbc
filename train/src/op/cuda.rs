//! The recurrence on Burn's CUDA device: where cubecl's tensors lie, and in whose order work is done.
//!
//! Invariant: a kernel of the runtime never runs beside work of cubecl's on the same memory. Both are
//! on one GPU's *primary* context (cubecl retains it, and so does the runtime), so an address of
//! one is an address of the other. But cubecl launches on streams of its own, one for each thread that
//! asks, made non-blocking, so neither the default stream nor anything else orders them with ours;
//! and it hands out neither a stream (so our launches cannot be put onto it) nor an event, nor takes
//! one. What is left is to wait on the host, twice a run:
//!
//! 1. [`pin`](Addressed::pin) asks cubecl for every address. That allocates what was promised only, makes the
//!    thread's stream wait for the streams that the tensors were made on, and holds the memory in its
//!    place. *Then* it waits for that stream: what is read is written, and whatever a reused
//!    block of memory held before is done with.
//! 2. The kernels are launched on the default stream, and the run waits for it. So memory that cubecl reuses or
//!    frees afterwards is ours no more.
//!
//! An order by events would need cubecl's stream; the price is a GPU that idles at two waits a layer and
//! direction, not measured yet.

use super::addressed::{Addressed, Pin, Raw, apply as apply_on};
use super::given::{Given, Returned};
use crate::Error;
use baton_ir::recurrence::Recurrence;
use baton_ir::tile::Role;
use baton_runtime::device::gpu::Storage;
use baton_runtime::device::raw::{DeviceBackward, DeviceCall, DeviceForward, RawKernel};
use burn::backend::{Cuda, read_sync};
use burn::tensor::{FloatDType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::cuda::CudaRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl_runtime::runtime::Runtime;
use std::sync::Arc;

/// The default stream of the context.
const STREAM: u64 = 0;

type Server = <CudaRuntime as Runtime>::Server;

/// Applies a kernel to values on Burn's CUDA device.
pub(super) fn apply(kernel: Arc<dyn RawKernel>, given: Given) -> Result<Returned, Error> {
    apply_on::<Cuda>(Arc::new(OnDefaultStream(kernel)), given)
}

struct OnDefaultStream(Arc<dyn RawKernel>);

impl Raw for OnDefaultStream {
    fn recurrence(&self) -> &Recurrence {
        self.0.recurrence()
    }

    fn sizes(&self) -> &[usize] {
        self.0.sizes()
    }

    fn dtype(&self, role: Role) -> Option<Storage> {
        self.0.dtype(role)
    }

    fn kept_bytes(&self, call: &DeviceCall<'_>) -> Result<usize, baton_runtime::Error> {
        self.0.kept_bytes(call)
    }

    unsafe fn forward(
        &self,
        call: &DeviceCall<'_>,
        to: &DeviceForward,
    ) -> Result<(), baton_runtime::Error> {
        // SAFETY: the caller's promise; the default stream always lives. What is launched before an
        // error is waited for too.
        unsafe {
            let run = self.0.forward(call, to, STREAM);
            run.and(self.0.wait(STREAM))
        }
    }

    unsafe fn backward(
        &self,
        call: &DeviceCall<'_>,
        with: &DeviceBackward,
    ) -> Result<(), baton_runtime::Error> {
        // SAFETY: as above.
        unsafe {
            let run = self.0.backward(call, with, STREAM);
            run.and(self.0.wait(STREAM))
        }
    }
}

impl Addressed for Cuda {
    fn contiguous(tensor: CubeTensor) -> CubeTensor {
        into_contiguous(tensor)
    }

    fn empty(shape: Shape, device: &CubeDevice, dtype: FloatDType) -> CubeTensor {
        empty_device_contiguous_dtype(device.client(), device.clone(), shape, dtype.into())
    }

    fn pin(tensors: &[&CubeTensor]) -> Result<Vec<(u64, Pin)>, Error> {
        let refused = |what: String| Error::Tensor(format!("memory of Burn's CUDA device: {what}"));
        let pins = tensors.iter().map(|tensor| {
            let pin = tensor.client.get_resource::<Server>(tensor.handle.clone());
            let pin = pin.map_err(|error| refused(error.to_string()))?;
            Ok((pin.resource().ptr, Box::new(pin) as Pin))
        });
        let pins = pins.collect::<Result<Vec<_>, Error>>()?;
        if let Some(tensor) = tensors.first() {
            let done = read_sync(tensor.client.sync());
            done.map_err(|error| refused(error.to_string()))?;
        }
        Ok(pins)
    }
}
