//! Ranks on the command line: who prepares a folder, who speaks.
//!
//! The first rank prepares what others then find; it alone writes and prints. What fails on one ends all (`main.rs`).

use crate::failure::Failure;
use baton_train::ranks::{Group, launched, on_this_machine};
use std::thread::available_parallelism;

/// What `work` gives, done by the first rank before any other begins with it.
pub fn in_turn<T>(
    group: &dyn Group,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    if group.rank() > 0 {
        group.gather(&[]);
    }
    let done = work()?;
    if group.rank() == 0 {
        group.gather(&[]);
    }
    Ok(done)
}

/// Refuses several ranks for what one process does.
pub fn alone() -> Result<(), Failure> {
    match launched() {
        0 | 1 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} ranks were started, expected one: `train`, `post-train` and `eval` (but for `eval logits`) share \
             their work, and everything else would be done {count} times"
        ))),
    }
}

/// Threads where none are asked for: every core, or this rank's share of those of the machine.
pub fn threads(asked: Option<usize>) -> Option<usize> {
    let share = |ranks| match ranks {
        1 => None,
        ranks => Some((available_parallelism().map_or(1, usize::from) / ranks).max(1)),
    };
    asked.or_else(|| share(on_this_machine()))
}
