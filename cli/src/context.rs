//! What the command line hands to every verb.

use crate::failure::Failure;
use crate::output::Output;
use baton_train::ranks::{self, Group};
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Instant;

/// What every verb is given.
pub struct Context {
    /// When the process started.
    pub started: Instant,
    /// Where results go.
    pub output: Output,
    /// The command line itself, which shells and manuals are told of.
    pub command: fn() -> clap::Command,
    /// The ranks that work together, once a verb has asked for them.
    pub ranks: OnceCell<Rc<dyn Group>>,
}

impl Context {
    /// The ranks that were started together, or this process alone.
    pub fn ranks(&self) -> Result<Rc<dyn Group>, Failure> {
        if let Some(known) = self.ranks.get() {
            return Ok(known.clone());
        }
        let started = ranks::start()?;
        Ok(self.ranks.get_or_init(|| started).clone())
    }

    /// Whether this process writes and speaks for all ranks.
    pub fn is_first(&self) -> Result<bool, Failure> {
        Ok(self.ranks()?.rank() == 0)
    }
}
