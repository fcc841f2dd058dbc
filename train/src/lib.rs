//! Training recurrent language models that run past their training length.

#![deny(missing_docs)]

pub mod checkpoint;
pub mod config;
pub mod corpus;
pub mod data;
pub mod demo;
mod error;
pub mod eval;
pub mod files;
pub mod generate;
pub mod given;
pub mod initial_state;
pub mod metrics;
pub mod models;
pub mod op;
pub mod optimizer;
pub mod origin;
pub mod plot;
pub mod pretrained;
pub mod ranks;
pub mod report;
pub mod reproduce;
pub mod rng;
pub mod runs;
pub mod schedule;
#[cfg(test)]
mod sequential;
pub mod small;
pub mod tasks;
pub mod tokenizer;
pub mod trainer;

pub use error::Error;

/// The README's Rust examples, as doc tests.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
pub struct Readme;
