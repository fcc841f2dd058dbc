//! The device `cuda`: an NVIDIA GPU, by its driver.
//!
//! The driver's library is looked for when a device is made, never before: a program with this
//! feature builds and starts where there is no driver, and [`Cuda::new`] says what is missing.
//! Which kernels run on which memory is [`gpu`](super::gpu)'s; here are the context with its
//! loaded kernels, the memory of a run, and calls on memory that the caller has on the device.

mod context;
mod machine;
mod raw;

use super::gpu::blocks::Blocks;
use super::gpu::kernels::GpuKernels;
use crate::Error;
use crate::device::raw::RawKernel;
use crate::device::{Call, Device, Forward, Gradients, Kernel, Options, Saved};
use crate::engine::host::HostKernel;
use crate::engine::machine::HostMachine;
use crate::{Tensor, View};
use baton_codegen::target::Gpu;
use baton_ir::recurrence::Recurrence;
use context::{Context, NAME, failed};
use machine::OnDevice;
pub use machine::Stopwatch;
use raw::OnStreams;
use std::sync::Arc;

/// A GPU; clones share its context and its loaded kernels.
#[derive(Clone)]
pub struct Cuda {
    ordinal: usize,
    context: Arc<Context>,
    target: Gpu,
    stopwatch: Option<Stopwatch>,
}

impl Cuda {
    /// The GPU of this number, with kernels made for `target`.
    ///
    /// Fails with what was not found: the driver's library, a GPU of this number, or what the
    /// target asks of it. The target's limit of shared memory is lowered to the GPU's.
    pub fn new(ordinal: usize, mut target: Gpu) -> Result<Self, Error> {
        let context = Context::new(ordinal)?;
        runs_on(target.chip, context.capability).map_err(failed)?;
        target.shared_limit = target.shared_limit.min(context.shared_limit);
        Ok(Self {
            ordinal,
            context: Arc::new(context),
            target,
            stopwatch: None,
        })
    }

    /// How many GPUs there are.
    pub fn count() -> Result<usize, Error> {
        Context::count()
    }

    /// The same GPU with kernels made for another target.
    pub fn with_target(&self, mut target: Gpu) -> Result<Self, Error> {
        runs_on(target.chip, self.context.capability).map_err(failed)?;
        target.shared_limit = target.shared_limit.min(self.context.shared_limit);
        Ok(Self {
            target,
            ..self.clone()
        })
    }

    /// The same, whose kernels are timed on tensors of the host.
    pub fn timed(&self, stopwatch: Stopwatch) -> Self {
        Self {
            stopwatch: Some(stopwatch),
            ..self.clone()
        }
    }

    /// The GPU's name, as its driver gives it.
    pub fn gpu(&self) -> &str {
        &self.context.gpu
    }

    /// What the driver's version can do, as CUDA counts: 12040 is 12.4.
    pub fn driver(&self) -> u32 {
        self.context.driver
    }

    /// The kernels of a recurrence, for memory that the caller has on the device.
    pub fn raw(
        &self,
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
    ) -> Result<Arc<dyn RawKernel>, Error> {
        let kernels = self.kernels(recurrence, sizes, options)?;
        Ok(Arc::new(OnStreams::new(self.context.clone(), kernels)))
    }

    fn kernels(
        &self,
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
    ) -> Result<Arc<GpuKernels>, Error> {
        let target = self.target.clone();
        GpuKernels::new(NAME, recurrence, sizes, options, target).map(Arc::new)
    }
}

/// Whether code for `chip` runs on a GPU of this compute capability: `sm_80` on 8.0 and later,
/// `sm_90a` on 9.0 alone.
fn runs_on(chip: &str, (major, minor): (u32, u32)) -> Result<(), String> {
    let given = chip.strip_prefix("sm_").unwrap_or_default();
    let digits = given.trim_end_matches('a');
    let Ok(asked) = digits.parse::<u32>() else {
        return Err(format!("target `{chip}` is not of the form sm_80"));
    };
    let has = 10 * major + minor;
    let runs = match given == digits {
        true => has >= asked,
        false => has == asked,
    };
    match runs {
        true => Ok(()),
        false => Err(format!(
            "kernels for {chip} do not run on a GPU of compute capability {major}.{minor}"
        )),
    }
}

impl Device for Cuda {
    fn name(&self) -> &str {
        NAME
    }

    fn gpu(&self) -> Option<usize> {
        Some(self.ordinal)
    }

    fn load(
        &self,
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
    ) -> Result<Arc<dyn Kernel>, Error> {
        let kernels = self.kernels(recurrence, sizes, options)?;
        let (context, of) = (self.context.clone(), kernels.clone());
        let stopwatch = self.stopwatch.clone();
        let machines = move || -> Box<dyn HostMachine> {
            let memory = OnDevice::new(context.clone(), stopwatch.clone());
            Box::new(Blocks::new(of.clone(), memory))
        };
        Ok(Arc::new(CudaKernel {
            raw: Arc::new(OnStreams::new(self.context.clone(), kernels.clone())),
            host: HostKernel::new(kernels, Box::new(machines)),
        }))
    }
}

/// One kernel for both kinds of memory.
struct CudaKernel {
    host: HostKernel,
    raw: Arc<dyn RawKernel>,
}

impl Kernel for CudaKernel {
    fn forward(&self, call: &Call<'_>, keep: bool) -> Result<Forward, Error> {
        self.host.forward(call, keep)
    }

    fn backward(
        &self,
        call: &Call<'_>,
        saved: Option<&Saved>,
        d_outputs: &[Option<View<'_>>],
        d_states: &[Option<View<'_>>],
    ) -> Result<Gradients, Error> {
        self.host.backward(call, saved, d_outputs, d_states)
    }

    fn step(&self, call: &Call<'_>, states: &mut [Tensor]) -> Result<Vec<Tensor>, Error> {
        self.host.step(call, states)
    }

    fn raw(&self) -> Option<Arc<dyn RawKernel>> {
        Some(self.raw.clone())
    }
}

#[cfg(test)]
mod tests;
