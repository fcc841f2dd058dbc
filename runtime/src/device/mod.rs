//! The device trait, and what a caller hands to a kernel and gets back.
//!
//! Layouts (outermost first): inputs and outputs `[B, T, H, dims...]`, inputs `per group`
//! `[B, T, G, dims...]`, params `[H, dims...]`, states `[B, H, dims...]`. With `cu_seqlens` of
//! S + 1 offsets B is 1 and states are `[S, H, dims...]`. Order of tensors: as declared.

pub mod check;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod interpreter;
pub mod raw;

use crate::{Error, Tensor, View};
use baton_ir::recurrence::Recurrence;
use std::any::Any;
use std::sync::Arc;

/// Sizes of the dims of a recurrence, in order of declaration.
pub type Sizes = Vec<usize>;

/// What a person may choose about a kernel; every field has a good default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// Chunk length C (16, 32, 64 or 128); that of the plan when absent, by rules or as tuned.
    pub chunk: Option<usize>,
    /// Bytes of entering states that a forward run may keep for its backward; above that it keeps
    /// checkpoints and the backward rebuilds what lies between. 512 MiB when absent.
    pub keep_bytes: Option<usize>,
}

/// The arguments of one run.
#[derive(Clone, Debug)]
pub struct Call<'a, T = f32> {
    /// Every input.
    pub inputs: Vec<View<'a, T>>,
    /// Every param.
    pub params: Vec<View<'a, T>>,
    /// Every state in; `None` is zero.
    pub states: Vec<Option<View<'a, T>>>,
    /// Offsets of packed sequences along T: `0 = o[0] <= ... <= o[S] = T`.
    pub cu_seqlens: Option<&'a [i64]>,
}

/// What a forward run returns.
pub struct Forward<T = f32> {
    /// Every output.
    pub outputs: Vec<Tensor<T>>,
    /// Every state out.
    pub states: Vec<Tensor<T>>,
    /// What the backward needs, when it was asked for.
    pub saved: Option<Saved>,
}

/// What a forward run keeps for its backward; opaque, owned by the device that made it.
pub struct Saved(pub(crate) Box<dyn Any + Send + Sync>);

/// What a backward run returns: a gradient for everything that was given.
pub struct Gradients<T = f32> {
    /// Of every input.
    pub inputs: Vec<Tensor<T>>,
    /// Of every param.
    pub params: Vec<Tensor<T>>,
    /// Of every state in.
    pub states: Vec<Tensor<T>>,
}

/// A recurrence compiled for one device, one set of sizes and one set of options.
pub trait Kernel: Send + Sync {
    /// Runs forward; `keep` asks for what the backward needs.
    fn forward(&self, call: &Call<'_>, keep: bool) -> Result<Forward, Error>;

    /// Runs backward; an absent arriving gradient is zero. `saved` may be absent: then the
    /// entering states are rebuilt.
    fn backward(
        &self,
        call: &Call<'_>,
        saved: Option<&Saved>,
        d_outputs: &[Option<View<'_>>],
        d_states: &[Option<View<'_>>],
    ) -> Result<Gradients, Error>;

    /// One time step (T = 1), updating the states in place; returns the outputs.
    fn step(&self, call: &Call<'_>, states: &mut [Tensor]) -> Result<Vec<Tensor>, Error>;

    /// The same kernel for memory that the caller has on the device; none of a device whose memory is
    /// the host's.
    fn raw(&self) -> Option<Arc<dyn raw::RawKernel>> {
        None
    }
}

/// A machine that runs recurrences.
pub trait Device: Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &str;

    /// The number of the GPU whose memory its kernels take ([`Kernel::raw`]), if any.
    fn gpu(&self) -> Option<usize> {
        None
    }

    /// Compiles, or finds in the cache, the kernels of `recurrence` for `sizes`.
    fn load(
        &self,
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
    ) -> Result<Arc<dyn Kernel>, Error>;
}
