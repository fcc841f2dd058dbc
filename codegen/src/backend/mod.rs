//! Back ends: what turns a tile program into the code of a [`Target`](crate::Target). Each implements that
//! trait, and nothing outside names one.

#[cfg(feature = "clif")]
pub mod clif;
pub mod mlir;
