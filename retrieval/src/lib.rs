//! Attention over chunks of the past that are found by their landmarks, and the store that keeps them.
//!
//! A text is cut into chunks; each has a *landmark* (a vector that it is found by) and keys and values of its
//! positions. A query scores all landmarks that it may see and takes the best few ([`choose`]); their scores
//! become weights ([`weigh`]); and queries attend to each chosen chunk by itself, the results summed by
//! those weights ([`chunks`]). Grouped cross attention chooses once a chunk, hierarchical sparse attention
//! at every position: here both are rows of positions that share a choice. The weights multiply the
//! outputs, so they have a gradient, and with them everything that scores are made from: this is
//! what learns to retrieve.
//!
//! What is near is read by attention with a window ([`near`]). A [`Store`] holds chunks whose number
//! has no bound: landmarks in memory, keys and values there up to a bound and beyond it in a file.
//!
//! This crate knows slices of numbers, no model and no tensor library. Work is cut by shapes and every sum
//! has one order, so bits do not depend on threads. Scores exist a tile at a time.
//!
//! Definitions, gradients and the file's format: docs/retrieval.md.

#![deny(missing_docs)]

pub mod choose;
pub mod chunks;
mod exponential;
pub mod near;
mod product;
mod store;
pub mod weigh;

pub use store::{Keeping, Layout, Store};

/// What goes wrong with a store; one clear message each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error("{path}: {reason}")]
    File {
        /// The file, or the folder that it was to be in.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What was given does not fit the store.
    #[error("{0}")]
    Given(String),
}

/// A choice that is none: fewer chunks were there to be chosen from.
pub const NONE: u32 = u32::MAX;

/// Heads of queries and of keys; query heads share key heads in consecutive groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Of queries.
    pub queries: usize,
    /// Of keys and values, a divisor of those.
    pub keys: usize,
    /// Numbers of each.
    pub width: usize,
}

impl Heads {
    /// Query heads that share a key head.
    pub fn shared(&self) -> usize {
        self.queries / self.keys
    }

    /// What scores are multiplied by.
    fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// Numbers of one position of queries.
    fn query(&self) -> usize {
        self.queries * self.width
    }

    /// Numbers of one position of keys.
    fn key(&self) -> usize {
        self.keys * self.width
    }
}

/// Consecutive parts of the given sizes.
fn split<T>(mut all: &mut [T], sizes: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let parts = sizes.map(|size| {
        let (part, rest) = std::mem::take(&mut all).split_at_mut(size);
        all = rest;
        part
    });
    parts.collect()
}
