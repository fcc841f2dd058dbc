//! What can be wrong with a configuration; one clear message each.

use baton_ir::diag::Diagnostic;
use baton_ir::text;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// A file cannot be used.
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
}

impl From<baton_data::Error> for Error {
    fn from(error: baton_data::Error) -> Self {
        match error {
            baton_data::Error::File { path, reason } => Error::File { path, reason },
            other => Error::Config(other.to_string()),
        }
    }
}
