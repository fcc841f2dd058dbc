//! NVIDIA GPUs, and the emulator that stands in for one: the same kernels, launched alike.
//!
//! [`kernel`] says which kernels run on which memory; a [`Machine`] has the memory and launches.
//! Numbers are exchanged with the host in f32 and rounded to the storage dtype on the way in.

mod emulated;
pub(crate) mod kernel;
mod storage;

pub use baton_codegen::backend::mlir::{Options as Schedule, Products, Storage};
pub use emulated::{Emulator, Report};

use crate::Error;
use baton_codegen::backend::mlir;

/// A parameter of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Parameter {
    /// A number of 32 bits.
    Int(i32),
    /// A number of 64 bits, or an address.
    Long(i64),
}

/// Device memory of one run, and launches on it.
pub(crate) trait Machine {
    /// Memory that holds `bytes`; kernels only read it.
    fn input(&mut self, bytes: &[u8]) -> Result<u64, Error>;
    /// Memory of `bytes` that nothing has written.
    fn output(&mut self, bytes: usize) -> Result<u64, Error>;
    /// Runs a kernel by name on `grid` blocks.
    fn launch(
        &mut self,
        name: &str,
        kernel: &mlir::Kernel,
        grid: [u32; 2],
        parameters: &[Parameter],
    ) -> Result<(), Error>;
    /// The bytes at an address that [`input`](Self::input) or [`output`](Self::output) gave.
    fn read(&mut self, address: u64) -> Result<Vec<u8>, Error>;
}
