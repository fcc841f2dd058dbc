//! How long a kernel would take on a GPU that is not there, read off its machine code.
//!
//! A [`Listing`] is what nvdisasm prints of a kernel with its encodings: instructions, and for each what the assembler
//! tells the hardware (clocks to wait, barriers to set and to wait for). A [`Walk`] is the way of one warp through it:
//! what follows from the thread's number alone is computed, so it is known which lanes go where and which banks of
//! shared memory they touch; what depends on data takes both sides. [`clocks`] runs the walks of all warps of a
//! multiprocessor against a [`Machine`], whose rates and latencies are published measurements, and
//! [`predict`](predict()) makes a time of a launch from that, with its parts and what bounds it.
//!
//! This is a prediction and not a measurement: what it leaves out stands in `docs/gpu.md`. It knows nothing of how
//! kernels are made.

#![deny(missing_docs)]

mod clocks;
mod error;
mod known;
mod machine;
mod predict;
mod sass;
mod shared;
mod unit;
mod walk;

pub use clocks::{Busy, Without, clocks};
pub use error::Error;
pub use machine::{A100, H100, MACHINES, Machine};
pub use predict::{Launch, Parts, Prediction, predict};
pub use sass::{Control, Guard, Instruction, Listing};
pub use sass::{Operand, Place};
pub use unit::{Unit, Work, works};
pub use walk::{Step, Walk};
