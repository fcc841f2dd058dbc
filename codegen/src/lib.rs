//! From a verified recurrence to code: derive, differentiate, schedule, emit.
//!
//! [`derive()`] turns the algebra of a step into that of a chunk ([`step()`] into a chunk of one step, for
//! what has no longer one), [`grad`] differentiates it in
//! reverse, [`schedule`] places it into tile programs, and the back end of a [`target`] emits them.
//! [`Compiler`] is the whole way.

#![deny(missing_docs)]

pub mod backend;
mod compile;
mod derive;
mod fit;
mod grad;
pub mod schedule;
mod step;
pub mod target;

pub use backend::mlir::{Assembler, Service};
pub use compile::{Compiler, Phase};
pub use derive::{Summary, derive};
pub use fit::Misfit;
pub use grad::grad;
pub use step::{derive_any, step};
pub use target::{Artifact, Target};
