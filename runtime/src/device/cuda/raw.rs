//! Runs on device memory and a stream of the caller's, for other frameworks.
//!
//! Nothing is copied but tables of ranges, and nothing waits: launches follow each other in the
//! stream's order, and so do the memory that a run needs for itself and its release. What a call may
//! hold, and which kernels run, are [`engine::raw`](crate::engine)'s; here are the stream and its
//! memory.

use super::context::{Context, check, failed};
use crate::Error;
use crate::device::gpu::blocks::Blocks;
use crate::device::gpu::kernels::GpuKernels;
use crate::device::gpu::memory::{DeviceMemory, Parameter, Ptx};
use crate::device::raw::{DeviceBackward, DeviceCall, DeviceForward, RawKernel};
use crate::engine::machine::{Kernels, Machine};
use crate::engine::raw;
use baton_codegen::target::Storage;
use baton_ir::recurrence::Recurrence;
use baton_ir::tile::Role;
use cudarc::driver::{result, sys};
use std::sync::Arc;

/// The kernels of a recurrence on streams of one GPU's primary context.
pub(super) struct OnStreams {
    context: Arc<Context>,
    kernels: Arc<GpuKernels>,
}

impl RawKernel for OnStreams {
    fn recurrence(&self) -> &Recurrence {
        &self.kernels.shapes().recurrence
    }

    fn sizes(&self) -> &[usize] {
        &self.kernels.shapes().sizes
    }

    fn dtype(&self, role: Role) -> Option<Storage> {
        raw::dtype(&*self.kernels, role)
    }

    fn kept_bytes(&self, call: &DeviceCall<'_>) -> Result<usize, Error> {
        raw::kept(&*self.kernels, call)
    }

    unsafe fn forward(
        &self,
        call: &DeviceCall<'_>,
        to: &DeviceForward,
        stream: u64,
    ) -> Result<(), Error> {
        self.on(stream, |machine| {
            raw::forward(&*self.kernels, machine, call, to)
        })
    }

    unsafe fn backward(
        &self,
        call: &DeviceCall<'_>,
        with: &DeviceBackward,
        stream: u64,
    ) -> Result<(), Error> {
        self.on(stream, |machine| {
            raw::backward(&*self.kernels, machine, call, with)
        })
    }

    unsafe fn wait(&self, stream: u64) -> Result<(), Error> {
        let _entered = self.context.enter()?;
        // SAFETY: the caller's promise.
        let waited = unsafe { result::stream::synchronize(stream as sys::CUstream) };
        check("a run", waited)
    }
}

impl OnStreams {
    pub fn new(context: Arc<Context>, kernels: Arc<GpuKernels>) -> Self {
        Self { context, kernels }
    }

    /// A run on a stream that is not being captured.
    fn on(
        &self,
        stream: u64,
        run: impl FnOnce(&mut dyn Machine) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let _entered = self.context.enter()?;
        let stream = stream as sys::CUstream;
        // SAFETY: the stream is the caller's and alive.
        let capturing = check("the stream", unsafe {
            result::stream::is_capturing(stream)
        })?;
        if capturing != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE {
            return Err(failed(
                "the stream is being captured; run outside of a graph",
            ));
        }
        let memory = OnStream {
            context: &self.context,
            stream,
            buffers: vec![],
        };
        let mut blocks = Blocks::new(self.kernels.clone(), memory);
        let ran = run(&mut blocks);
        let freed = blocks.memory.free();
        ran.and(freed)
    }
}

/// A caller's stream with the memory of one run, allocated, used and freed in the stream's order; the
/// context is entered.
struct OnStream<'a> {
    context: &'a Context,
    stream: sys::CUstream,
    buffers: Vec<sys::CUdeviceptr>,
}

impl OnStream<'_> {
    fn free(&mut self) -> Result<(), Error> {
        let mut freed = Ok(());
        for address in self.buffers.drain(..) {
            // SAFETY: allocated on this stream; every use of it is on the stream already.
            let one = unsafe { result::free_async(address, self.stream) };
            freed = freed.and(check("freeing memory of a run", one));
        }
        freed
    }
}

impl DeviceMemory for OnStream<'_> {
    fn input(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let address = self.output(bytes.len())?;
        if !bytes.is_empty() {
            // SAFETY: as long as `bytes`; the driver stages pageable memory before the copy returns.
            let copied = unsafe { result::memcpy_htod_async(address, bytes, self.stream) };
            check("a copy to the GPU", copied)?;
        }
        Ok(address)
    }

    fn output(&mut self, bytes: usize) -> Result<u64, Error> {
        // SAFETY: nothing reads it before it is written.
        let address = unsafe { result::malloc_async(self.stream, bytes.max(1)) };
        let address = check(&format!("{bytes} bytes of GPU memory"), address)?;
        self.buffers.push(address);
        Ok(address)
    }

    fn launch(
        &mut self,
        name: &str,
        kernel: &Ptx,
        grid: [u32; 2],
        parameters: &[Parameter],
    ) -> Result<(), Error> {
        let function = self.context.function(name, kernel)?;
        // SAFETY: the parameters are those of the kernel; their addresses are of this run's memory or
        // the caller's, who promised it.
        unsafe {
            self.context
                .launch(function, &kernel.launch, grid, parameters, self.stream)
        }
    }
}
