//! One binary for every integration test.

mod devices;
mod docs;
#[cfg(feature = "mlir")]
mod gpu;
mod levels;
mod tidy;
mod tiles;
mod train;
