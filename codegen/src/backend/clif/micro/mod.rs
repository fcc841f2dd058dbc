//! Micro-kernels: what 128-bit vectors would hold back, called from generated code by address.
//!
//! One table of functions for each instruction set, chosen once for the process. All kernels are
//! `extern "C"` with pointers and 64-bit words, so that generated code calls them like any C
//! function.

mod ahead;
mod decay;
mod entries;
mod functions;
mod matmul;
pub mod multiply;
mod rows;
pub mod running;
mod solve;
mod subnormal;
mod transpose;
mod trilinear;
pub(super) mod vector;

pub use entries::{Kernels, scan_flags};
pub use functions::{LOG, TANH, has_kernel};
pub use matmul::Shape;
#[cfg(test)]
pub use trilinear::Form;
pub use trilinear::workspace as trilinear_workspace;
