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

impl From<baton_data::Error> for Error {
    fn from(error: baton_data::Error) -> Self {
        match error {
            baton_data::Error::Config(what) => Error::Config(what),
            baton_data::Error::File { path, reason } => Error::File { path, reason },
            baton_data::Error::Other(other) => match other.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Error::Config(other.to_string()),
            },
        }
    }
}

impl From<baton_config::Error> for Error {
    fn from(error: baton_config::Error) -> Self {
        use baton_config::Error as Wrong;
        match error {
            Wrong::Config(what) => Error::Config(what),
            Wrong::File { path, reason } => Error::File { path, reason },
            Wrong::Text {
                name,
                text,
                diagnostics,
            } => Error::Text {
                name,
                text,
                diagnostics,
            },
        }
    }
}

/// Who asks a model from outside ([`baton_tasks::Predict`]) is told what went wrong in it as it is.
impl From<Error> for baton_data::Error {
    fn from(error: Error) -> Self {
        baton_data::Error::Other(Box::new(error))
    }
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
