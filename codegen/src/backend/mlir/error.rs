//! Why this back end makes no kernel.

use std::fmt;

/// Why no kernel could be made.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The program asks for what this back end has not.
    Unsupported(String),
    /// What MLIR said.
    Mlir(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unsupported(what) => write!(f, "{what}"),
            Error::Mlir(what) => write!(f, "MLIR: {what}"),
        }
    }
}

impl std::error::Error for Error {}
