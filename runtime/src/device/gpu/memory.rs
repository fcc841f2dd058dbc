//! What is asked of a GPU, or of who stands in for one: memory, and launches on it.

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
pub(crate) trait DeviceMemory {
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

/// Device memory that the host can read.
pub(crate) trait ReadMemory: DeviceMemory {
    /// The bytes at an address that [`input`](DeviceMemory::input) or [`output`](DeviceMemory::output) gave,
    /// after every launch before.
    fn read(&mut self, address: u64) -> Result<Vec<u8>, Error>;
}
