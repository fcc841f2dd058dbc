//! Scheduling: which kernels a recurrence needs, and how their work is cut up.

mod lower;

pub use lower::lower;
