//! NVIDIA GPUs, and the emulator that stands in for one: the same kernels, launched alike.
//!
//! [`kernel`] has the kernels of a recurrence, [`cut`] says how time is cut, [`run`] which kernels run
//! on which memory in what order; a [`Machine`] has the memory and launches. Two clients hand memory
//! to a run: [`host`] has tensors of the host, which it rounds to the storage dtype on the way in,
//! and [`raw`] has addresses of a caller who keeps everything on the device.

mod cut;
mod emulated;
mod gradient;
pub(crate) mod host;
pub(crate) mod kernel;
pub(crate) mod made;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod raw;
mod run;
mod segment;
mod service;
mod storage;
mod window;

pub use baton_codegen::target::{Gpu as Schedule, Products, Storage};
pub use emulated::{Emulator, Report};
pub use made::supply;
pub use storage::rounded;

use crate::Error;
use baton_codegen::target::Launch;

/// A kernel, ready to be launched.
pub(crate) struct Ptx {
    pub text: String,
    pub launch: Launch,
}

/// A parameter of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Parameter {
    /// A number of 32 bits.
    Int(i32),
    /// A number of 64 bits, or an address.
    Long(i64),
}

impl From<u64> for Parameter {
    fn from(address: u64) -> Self {
        Parameter::Long(address as i64)
    }
}

/// Device memory of one run, and launches on it in the order of the calls.
pub(crate) trait Machine {
    /// Memory that holds `bytes`; kernels only read it.
    fn input(&mut self, bytes: &[u8]) -> Result<u64, Error>;
    /// Memory of `bytes` that nothing has written.
    fn output(&mut self, bytes: usize) -> Result<u64, Error>;
    /// Runs a kernel by name on `grid` blocks, after everything before it.
    fn launch(
        &mut self,
        name: &str,
        kernel: &Ptx,
        grid: [u32; 2],
        parameters: &[Parameter],
    ) -> Result<(), Error>;
}

/// A machine whose memory the host can read.
pub(crate) trait HostMachine: Machine {
    /// The bytes at an address that [`input`](Machine::input) or [`output`](Machine::output) gave,
    /// after every launch before.
    fn read(&mut self, address: u64) -> Result<Vec<u8>, Error>;
}
