//! One binary for every integration test.

mod devices;
mod docs;
mod fuzz;
#[cfg(feature = "mlir")]
mod gpu;
#[cfg(feature = "mlir")]
mod gpu_plans;
mod levels;
mod shipped;
mod slopes;
mod tidy;
mod tiles;

// `fuzz` takes in a file of the command line, which knows its failures by this path.
use fuzz::failure;
