//! What can go wrong in training; one clear message each.

use baton_ir::diag::Diagnostic;
use baton_ir::text;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kernel refused its arguments, or could not be made.
    #[error(transparent)]
    Runtime(#[from] baton_runtime::Error),
    /// Chunks cannot be kept or read.
    #[error(transparent)]
    Chunks(#[from] baton_retrieval::Error),
    /// A tensor is not what an operation expects.
    #[error("{0}")]
    Tensor(String),
    /// A setting is impossible.
    #[error("{0}")]
    Config(String),
    /// The text of a recurrence cannot be used.
    #[error("{}", text::render(name, text, diagnostics).trim_end())]
    Text {
        /// What it is called in messages.
        name: String,
        /// The text.
        text: String,
        /// Everything that is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
    /// A checkpoint or report cannot be used.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
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
