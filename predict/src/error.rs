//! What a listing may be refused for.

use std::fmt;

/// Why there is no prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A line that is no instruction, with its number from 1.
    Line {
        /// The line.
        line: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// No instruction at all.
    Empty,
    /// A warp that does not come to its end.
    Endless {
        /// The address at which it was given up.
        address: u32,
    },
    /// A launch of nothing, or of blocks that no multiprocessor can hold.
    Launch {
        /// What was given and what was expected.
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Line { line, expected } => {
                write!(
                    f,
                    "line {line} of the machine code is not as nvdisasm prints it: expected {expected}"
                )
            }
            Error::Empty => write!(
                f,
                "the machine code has no instruction, expected what `nvdisasm -c -hex` prints of a kernel"
            ),
            Error::Endless { address } => {
                write!(
                    f,
                    "a warp does not come to an end: given up at {address:#x}"
                )
            }
            Error::Launch { what } => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for Error {}
