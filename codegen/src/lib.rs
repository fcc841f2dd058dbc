//! From a verified recurrence to code: derive, differentiate, schedule, emit.
//!
//! [`derive`] turns the algebra of a step into that of a chunk, [`grad`] differentiates it in
//! reverse, `schedule` places it into tile programs, and a back end emits them.

#![deny(missing_docs)]

pub mod backend;
mod derive;
mod grad;
pub mod schedule;

pub use derive::derive;
pub use grad::grad;
