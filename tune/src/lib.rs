//! The tuner: plans that are measured rather than ruled, and the gate that they pass first.
//!
//! For a recurrence, its sizes and the shape of a run, [`field()`] lists what may be chosen of a plan, ranks it by
//! the cost model and keeps some dozens. A [`Gate`] runs each of these on fresh random inputs, of ragged lengths
//! and packed sequences, and lets through what gives outputs, states and *all* gradients of the f64 step
//! interpreter, to within the table that kernels are held to everywhere ([`arithmetic`]). A [`race()`] times
//! those in turns; what lies within the noise is a tie, and of ties the one nearest to the rules' plan wins.
//! [`tune()`] is the three in order, on a [`Journal`] that holds each result from the moment it is there.
//!
//! What comes out is an [`Entry`]. A [`Store`] finds entries by what they were found for (text, sizes, lengths
//! between powers of two, target, tools, and the programs themselves), so an entry of other programs is missing
//! rather than stale; it is what a CPU device asks ([`Choices`](baton_runtime::device::cpu::Choices)).
//!
//! Nothing here names a recurrence, and nothing tunes by itself: a run looks up, and never measures.
//!
//! [`arithmetic`]: baton_codegen::target::arithmetic

#![deny(missing_docs)]

mod contest;
mod entry;
mod error;
pub mod field;
pub mod gate;
pub mod inputs;
mod journal;
pub mod kit;
pub mod race;
pub mod sample;
mod store;
mod subject;
mod tuner;

pub use contest::{Outcome, Progress, ROUNDS, Terms};
pub use entry::{Chosen, Clock, Entry, Key, Measured, Tried};
pub use error::Error;
pub use field::field;
pub use gate::{Errors, Gate, Lengths, Verdict};
pub use inputs::Inputs;
pub use journal::Journal;
pub use kit::{Bench, Kept, Kit, Schedule, tune_kit};
pub use race::race;
pub use store::{Found, Origin, Store, own_folder};
pub use subject::Subject;
pub use tuner::{Workshop, tune};
