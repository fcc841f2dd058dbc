//! A whole experiment from a plan: bases from fresh weights, post-trainings of each, and measures of
//! all of them.
//!
//! A [`Plan`] is data. It unfolds into [`Job`]s, each a folder that is one run: checkpoint,
//! metrics, `run.json`, and one file for each measure. What is there already is not made again, so
//! an experiment that was stopped goes on where it stood; a job whose folder holds another
//! configuration is refused, and so is a text that its runs did not read. What was measured on another held-out text is
//! measured again. Replicates come first to last, so that a first answer to everything
//! is there early.

mod data;
mod export;
mod jobs;
mod measure;
mod plan;
mod run;
#[cfg(test)]
mod tests;

pub use data::text;
pub use export::export;
pub use jobs::{Job, RunFile};
pub use plan::{Base, Evaluation, Length, Plan, Post};
pub use run::{Done, Settings, run};
