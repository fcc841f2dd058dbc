//! What can go wrong between a caller and a kernel; nothing here is a panic.

use baton_ir::diag::Diagnostic;

/// An error of a device or of the arguments given to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recurrence is ill-formed or has no chunked form.
    #[error("the recurrence does not verify: {}", .0.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Diagnostic>),
    /// A tensor has the wrong shape.
    #[error("tensor `{tensor}` has shape {given:?}, expected {expected}")]
    Shape {
        /// Its name in the recurrence.
        tensor: String,
        /// The shape given.
        given: Vec<usize>,
        /// The shape expected, with its symbols: `[B=2, T=64, H=8, P=64]`.
        expected: String,
    },
    /// A tensor has the wrong element type.
    #[error("tensor `{tensor}` holds {given}, expected {expected}")]
    Dtype {
        /// Its name.
        tensor: String,
        /// The type given.
        given: String,
        /// The type expected.
        expected: String,
    },
    /// A view reaches past its memory.
    #[error(
        "tensor `{tensor}` with shape {shape:?} and strides {strides:?} reaches past its {len} elements"
    )]
    OutOfBounds {
        /// Its name.
        tensor: String,
        /// Sizes.
        shape: Vec<usize>,
        /// Strides.
        strides: Vec<usize>,
        /// Elements given.
        len: usize,
    },
    /// A tensor that must be given is absent, or one is given that the recurrence does not have.
    #[error("{0}")]
    Argument(String),
    /// The device cannot do it.
    #[error("device `{device}`: {reason}")]
    Unsupported {
        /// The device's name.
        device: String,
        /// What it lacks, and what to use instead.
        reason: String,
    },
    /// A [`Stop`](crate::stop::Stop) was requested while it ran.
    #[error("the run was stopped before its end")]
    Stopped,
}
