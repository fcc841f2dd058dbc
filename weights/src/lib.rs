//! Files of weights: the trainer's checkpoints, the layouts of others both ways, and where a run's data was.
//!
//! A [`Checkpoint`](checkpoint::Checkpoint) holds all that a run needs to go on with the same bits;
//! [`pretrained`] reads and writes what is published and passed on. Weights are plain memory under their names: what a
//! model is that has them, this crate does not know.

#![deny(missing_docs)]

pub mod checkpoint;
pub mod head;
pub mod origin;
pub mod pretrained;
