//! Devices, launches and the four state ports.
//!
//! A [`Device`] turns a verified recurrence into a [`Kernel`]; a kernel runs forward, backward
//! and single steps on tensors that the caller owns. Every run takes a state (absent means zero)
//! and returns the state; every backward takes the gradient of the state out and returns that of
//! the state in. [`typed`] gives the same with named fields, for definitions made by the macro.
//!
//! This crate knows nothing of how code was made: it sees an artifact of `baton-codegen`.

#![deny(missing_docs)]

pub mod device;
mod engine;
mod error;
pub mod memory;
pub mod stop;
pub mod tensor;
pub mod typed;

pub use device::interpreter::Interpreter;
pub use device::{Call, Device, Forward, Gradients, Kernel, Options, Saved, Sizes};
pub use error::Error;
pub use tensor::{Tensor, View};
