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

/// Burn's core, under the name that its macros expand to.
pub use burn;
pub use error::Error;
