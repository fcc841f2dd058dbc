//! See [`baton_runtime::memory`].

pub use baton_runtime::memory::keep;
