//! Passkey retrieval: a number hidden in noise, asked for at the end.
//!
//! [`Landmark`] is the text format that published numbers are made with; [`TokenPasskey`] speaks of
//! token ids only, so that it fits any vocabulary, and is scored under teacher forcing.

mod landmark;
mod tokens;

pub use landmark::{Keys, Landmark};
pub use tokens::{Markers, TokenPasskey};
