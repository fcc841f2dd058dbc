//! What can go wrong around a tuning; a candidate that is wrong is no error.

use std::path::{Path, PathBuf};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read or written, or does not hold what it should.
    #[error("`{}`: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The plan of the rules, which every other is measured against, does not pass the gate.
    #[error(
        "the default plan of `{recurrence}` does not give what the step interpreter gives: {reason}; nothing was tuned"
    )]
    Default {
        /// The recurrence.
        recurrence: String,
        /// What differs.
        reason: String,
    },
    /// The interpreter refused the gate's inputs.
    #[error("the step interpreter: {0}")]
    Truth(String),
    /// The device failed where it should not.
    #[error(transparent)]
    Device(#[from] baton_runtime::Error),
}

impl Error {
    /// About a file.
    pub fn file(path: &Path, why: impl ToString) -> Self {
        Error::File {
            path: path.into(),
            why: why.to_string(),
        }
    }
}
