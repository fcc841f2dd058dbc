//! What training reads and what every part of the program writes: files, texts as tokens, batches by number.
//!
//! A text comes in as documents, records or shards, becomes tokens by a [`tokenizer`], and is read as a [`Source`]:
//! batch `index` as a function of that number. Random numbers are asked for by place ([`rng`]), so nothing here has a
//! cursor. Files are read through [`given`] and written through [`files`], by everyone. What a model is, or a tensor,
//! this crate does not know.

#![deny(missing_docs)]

mod batch;
mod corpus;
mod documents;
mod error;
pub mod files;
pub mod given;
pub mod gzip;
mod hash;
pub mod line;
pub mod novels;
pub mod plain;
pub mod records;
pub mod rng;
mod shard;
pub mod shards;
mod text;
pub mod tokenizer;
mod windows;

pub use batch::{Batch, Order, Sampling, Share, Source};
pub use corpus::{Corpus, Tokens};
pub use documents::{Document, documents};
pub use error::Error;
pub use hash::fnv;
pub use shard::Shard;
pub use text::{HELD_OUT, Text};
