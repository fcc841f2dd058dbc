//! From a verified recurrence to code: derive, differentiate, schedule, emit.
//!
//! [`derive`] turns the algebra of a step into that of a chunk, [`grad`] differentiates it in
//! reverse, [`schedule`] places it into tile programs, and a back end emits them. [`Compiler`] is
//! the whole way.

#![deny(missing_docs)]

pub mod backend;
#[cfg(feature = "clif")]
mod compile;
mod derive;
mod grad;
pub mod schedule;

#[cfg(feature = "clif")]
pub use compile::{Artifact, Compiler, GpuArtifact, Lowered, Phase};
pub use derive::derive;
pub use grad::grad;
