//! One binary for every integration test.

mod devices;
mod docs;
#[cfg(feature = "mlir")]
mod gpu;
#[cfg(feature = "mlir")]
mod gpu_plans;
mod levels;
mod random;
mod shipped;
mod slopes;
mod tidy;
mod tiles;
