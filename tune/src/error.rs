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
    /// What a kernel would be compared with is no finite number: the recurrence, not a kernel, has left f32.
    #[error(
        "the recurrence `{recurrence}` itself is not finite on {numbers}: {tensor} of the f64 step interpreter holds a \
         NaN or what f32 has no finite number for ({case}), so no kernel can be compared with it; keep what its \
         functions take within their domains, as `sqrt(max(n, 0))` does, or give `baton bench --check --inputs` \
         tensors that do"
    )]
    NotFinite {
        /// The recurrence.
        recurrence: String,
        /// What the numbers are called that it ran on.
        numbers: &'static str,
        /// The first tensor that is not finite; `d ` before a gradient.
        tensor: String,
        /// The extents of the run.
        case: String,
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
