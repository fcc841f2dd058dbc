//! The one error of the crate: what was given, where, and what was expected.

use std::fmt;

/// Why a module cannot be read, or a kernel cannot be run as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line of the PTX text, counted from 1, where one is to blame.
    pub line: Option<u32>,
    /// What was found and what was expected.
    pub message: String,
}

/// What the crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a line.
    pub(crate) fn at(line: u32, message: impl Into<String>) -> Error {
        Error {
            line: Some(line),
            message: message.into(),
        }
    }

    /// An error of no line: a launch that does not fit its kernel.
    pub(crate) fn general(message: impl Into<String>) -> Error {
        Error {
            line: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "PTX line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}
