//! What can go wrong between a file and a batch; one clear message each.

use std::path::{Path, PathBuf};

/// An error of this crate, and of what reads or answers on its behalf.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting or a text is impossible.
    #[error("{0}")]
    Config(String),
    /// A file cannot be used.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A part of the work that was another's failed: a source of one's own, a model that is asked.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Something is wrong with a file.
    pub fn file(path: &Path, reason: impl ToString) -> Self {
        Error::File {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    /// What is wrong, without the name of the file.
    pub fn reason(self) -> String {
        match self {
            Error::File { reason, .. } => reason,
            other => other.to_string(),
        }
    }
}
