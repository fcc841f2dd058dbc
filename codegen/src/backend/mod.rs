//! Back ends: what turns a tile program into code.

#[cfg(feature = "clif")]
pub mod clif;
#[cfg(feature = "mlir")]
pub mod mlir;
