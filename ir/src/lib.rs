//! The intermediate representation of Baton: what a linear recurrence *is*, at three levels.
//!
//! | level | module | says |
//! |---|---|---|
//! | 1 | [`recurrence`] | one head at one time step, as a person writes it |
//! | 2 | [`chunked`] | one chunk of time steps as tensor algebra, with the entering and leaving state |
//! | 3 | [`tile`] | a program over tiles of fixed size: loads, products, maps, stores |
//!
//! Each level can be printed, parsed, verified and interpreted in f64; the level-1 interpreter
//! ([`interp::recurrence`]) is the truth that every other executor is compared with.
//!
//! # What a program means
//!
//! A recurrence is straight-line text run once for each time step, in order, for each head of
//! each batch row. A state's name means its *current* value: before its update the value that
//! the previous step left, after it the new one. Everything else is computed where it is defined.
//! A *chunk* is C consecutive time steps; chunking changes how a result is computed, never what
//! it is.
//!
//! This crate names no machine: no target, device, file, environment or clock.

#![deny(missing_docs)]

pub mod builtin;
pub mod chunked;
pub mod diag;
pub mod interp;
pub mod pointwise;
pub mod recurrence;
pub mod running;
pub mod span;
pub mod text;
pub mod tile;
pub mod verify;
