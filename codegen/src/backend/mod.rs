//! Back ends: what turns a tile program into code.

#[cfg(feature = "clif")]
pub mod clif;
pub mod mlir;
