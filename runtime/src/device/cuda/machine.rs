//! The memory of one run on the GPU, and launches on it.
//!
//! Everything is on the context's stream, so order is the order of the calls, and nothing waits until
//! a result is read. Buffers live as long as the run and are freed with it. A result's memory is
//! filled with NaN before it is written: what a kernel leaves out is seen, and nobody reads what
//! another run left behind.

use super::context::{Context, check, failed};
use crate::Error;
use crate::device::gpu::memory::{DeviceMemory, Parameter, Ptx, ReadMemory};
use cudarc::driver::{result, sys};
use std::sync::{Arc, Mutex};

/// Every byte of a NaN in bf16, f16 and f32.
const NAN: u8 = 0xff;

/// Milliseconds that kernels of a device took, summed; clones share the sum.
#[derive(Clone, Debug, Default)]
pub struct Stopwatch(Arc<Mutex<f64>>);

impl Stopwatch {
    /// Takes the sum of all runs that ended since the last time.
    pub fn take(&self) -> f64 {
        std::mem::take(&mut self.0.lock().unwrap_or_else(|held| held.into_inner()))
    }

    fn add(&self, milliseconds: f64) {
        *self.0.lock().unwrap_or_else(|held| held.into_inner()) += milliseconds;
    }
}

pub(super) struct OnDevice {
    context: Arc<Context>,
    /// Where the time of launches is summed, if anywhere, and the events around those that were not waited for.
    stopwatch: Option<Stopwatch>,
    marks: Vec<[sys::CUevent; 2]>,
    buffers: Vec<(sys::CUdeviceptr, usize)>,
    /// Names of the kernels that nobody waited for yet.
    running: Vec<String>,
}

impl OnDevice {
    pub fn new(context: Arc<Context>, stopwatch: Option<Stopwatch>) -> Self {
        Self {
            context,
            stopwatch,
            marks: vec![],
            buffers: vec![],
            running: vec![],
        }
    }

    /// Memory of `bytes`; the context is entered. Its address is a multiple of 256.
    fn allocate(&mut self, bytes: usize) -> Result<sys::CUdeviceptr, Error> {
        // SAFETY: nothing reads it before it is written.
        let address = unsafe { result::malloc_sync(bytes.max(1)) };
        let address = check(&format!("{bytes} bytes of GPU memory"), address)?;
        self.buffers.push((address, bytes));
        Ok(address)
    }

    /// An event at this place of the stream; the context is entered.
    fn mark(&self) -> Result<sys::CUevent, Error> {
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = check("an event", event)?;
        // SAFETY: event and stream are of the context.
        let recorded = unsafe { result::event::record(event, self.context.stream) };
        check("recording an event", recorded)?;
        Ok(event)
    }

    /// Sums what launches took; the context is entered, and the stream has passed them.
    fn settle(&mut self) {
        for [begin, end] in self.marks.drain(..) {
            // SAFETY: the events are ours and were recorded; nobody has them after this.
            unsafe {
                if let (Some(stopwatch), Ok(milliseconds)) =
                    (&self.stopwatch, result::event::elapsed(begin, end))
                {
                    stopwatch.add(f64::from(milliseconds));
                }
                let _ = result::event::destroy(begin);
                let _ = result::event::destroy(end);
            }
        }
    }
}

impl DeviceMemory for OnDevice {
    fn input(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let _entered = self.context.enter()?;
        let address = self.allocate(bytes.len())?;
        if !bytes.is_empty() {
            // SAFETY: the memory is as long as `bytes`; the driver stages pageable memory before the
            // copy returns.
            let copied = unsafe { result::memcpy_htod_async(address, bytes, self.context.stream) };
            check("a copy to the GPU", copied)?;
        }
        Ok(address)
    }

    fn output(&mut self, bytes: usize) -> Result<u64, Error> {
        let _entered = self.context.enter()?;
        let address = self.allocate(bytes)?;
        if bytes > 0 {
            // SAFETY: the memory is `bytes` long.
            let filled =
                unsafe { result::memset_d8_async(address, NAN, bytes, self.context.stream) };
            check("filling GPU memory", filled)?;
        }
        Ok(address)
    }

    fn launch(
        &mut self,
        name: &str,
        kernel: &Ptx,
        grid: [u32; 2],
        parameters: &[Parameter],
    ) -> Result<(), Error> {
        let _entered = self.context.enter()?;
        let function = self.context.function(name, kernel)?;
        let stream = self.context.stream;
        let begin = match self.stopwatch {
            Some(_) => Some(self.mark()?),
            None => None,
        };
        // SAFETY: the parameters are those of the kernel's program; every address in them is of a
        // buffer of this run.
        unsafe {
            self.context
                .launch(function, &kernel.launch, grid, parameters, stream)?;
        }
        if let Some(begin) = begin {
            let end = self.mark()?;
            self.marks.push([begin, end]);
        }
        self.running.push(name.into());
        Ok(())
    }
}

impl ReadMemory for OnDevice {
    fn read(&mut self, address: u64) -> Result<Vec<u8>, Error> {
        let found = self.buffers.iter().find(|(at, _)| *at == address);
        let &(_, bytes) = found.ok_or_else(|| failed(format!("no buffer at {address:#x}")))?;
        let mut read = vec![0; bytes];
        if bytes > 0 {
            let _entered = self.context.enter()?;
            // SAFETY: both are `bytes` long, and `read` outlives the wait.
            let copied =
                unsafe { result::memcpy_dtoh_async(&mut read, address, self.context.stream) };
            check("a copy from the GPU", copied)?;
            // An error of any kernel since the last wait shows here.
            let what = match self.running.is_empty() {
                true => "a copy from the GPU".into(),
                false => format!("a copy from the GPU after {}", self.running.join(", ")),
            };
            // SAFETY: the stream lives as long as the context.
            check(&what, unsafe {
                result::stream::synchronize(self.context.stream)
            })?;
            self.running.clear();
            self.settle();
        }
        Ok(read)
    }
}

impl Drop for OnDevice {
    fn drop(&mut self) {
        let Ok(_entered) = self.context.enter() else {
            return;
        };
        // SAFETY: the buffers are ours; after the wait no kernel uses them. The driver's errors
        // were reported by the call that met them.
        unsafe {
            let _ = result::stream::synchronize(self.context.stream);
            self.settle();
            for (address, _) in self.buffers.drain(..) {
                let _ = result::free_sync(address);
            }
        }
    }
}
