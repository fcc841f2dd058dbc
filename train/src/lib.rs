//! Training recurrent language models that run past their training length.

#![deny(missing_docs)]

pub mod demo;
mod error;
pub mod eval;
pub mod generate;
pub mod initial_state;
pub mod metrics;
pub mod models;
pub mod op;
pub mod optimizer;
pub mod pretrained;
pub mod ranks;
pub mod reproduce;
pub mod runs;
pub mod trainer;

pub use error::Error;

/// The README's Rust examples, as doc tests.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
pub struct Readme;
