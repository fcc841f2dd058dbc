//! Level 2 in f64: what every op of a [`Chunked`](crate::chunked::Chunked) program means, said by loops.
//!
//! [`run_chunk`] runs one chunk of one group; [`forward`] and [`reverse`] run whole sequences.
//! Decays are summed pair by pair and only then exponentiated: nothing here rescales, factors or
//! reorders, so this is what the kernels' rearrangements are measured against.

mod chunk;
mod whole;

#[cfg(test)]
mod tests;

pub use chunk::{Bindings, run_chunk};
pub use whole::{Arriving, Entering, Whole, forward, reverse};
