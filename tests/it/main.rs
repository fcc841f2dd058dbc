//! One binary for every integration test.

mod levels;
mod tiles;
