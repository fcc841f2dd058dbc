//! What the command line hands to every verb.

use crate::output::Output;
use std::time::Instant;

/// What every verb is given.
pub struct Context {
    /// When the process started.
    pub started: Instant,
    /// Where results go.
    pub output: Output,
    /// The command line itself, which shells and manuals are told of.
    pub command: fn() -> clap::Command,
}
