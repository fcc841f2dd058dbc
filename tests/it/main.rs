//! One binary for every integration test.

mod cost;
mod devices;
mod docs;
#[cfg(feature = "mlir")]
mod gpu;
#[cfg(feature = "mlir")]
mod gpu_plans;
mod levels;
mod nonfinite;
mod reads;
mod shipped;
mod slopes;
mod steps;
mod suite;
mod tidy;
mod tiles;
mod widths;
