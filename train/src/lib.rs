//! Training recurrent language models that run past their training length.

#![deny(missing_docs)]

mod error;
pub mod op;
#[cfg(test)]
mod sequential;

pub use error::Error;
