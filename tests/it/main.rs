//! One binary for every integration test.

mod devices;
mod docs;
mod levels;
mod tidy;
mod tiles;
mod train;
