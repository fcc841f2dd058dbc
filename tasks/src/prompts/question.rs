//! What is asked of a record.

use super::score::Scoring;

/// One question of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What the rows of tables are called by.
    pub task: String,
    /// Its record, from one on.
    pub number: usize,
    /// What is read.
    pub prompt: String,
    /// The question in it, for scores that look at it.
    pub question: String,
    /// Right answers; of all of them or of any, as it is scored.
    pub references: Vec<String>,
    /// What to choose from, as it follows the prompt.
    pub choices: Vec<String>,
    /// Whether choices, or the first reference, stand right after the prompt as they are, as logged requests do; else a space
    /// is put between where there is none.
    pub verbatim: bool,
    /// Which choice is right.
    pub right: Option<usize>,
    /// How it is scored.
    pub scoring: Scoring,
}
