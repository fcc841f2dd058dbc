//! One binary for every integration test.

mod devices;
mod levels;
mod tidy;
mod tiles;
