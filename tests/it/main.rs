//! One binary for every integration test.

mod constants;
mod cost;
mod decays;
mod devices;
mod docs;
mod errors;
mod fuzz;
#[cfg(feature = "mlir")]
mod gpu;
#[cfg(feature = "mlir")]
mod gpu_plans;
mod levels;
mod long;
mod macros;
mod nonfinite;
mod packages;
mod predict;
mod random;
mod reads;
mod segments;
mod shipped;
#[cfg(feature = "mlir")]
mod sizes;
mod slopes;
mod steps;
mod strata;
mod suite;
mod tidy;
mod tiles;
mod widths;

// `fuzz` takes in files of the command line, which know each other by these paths.
use fuzz::{failure, given, input};
