//! PTX of a kernel's text, where this build can make it.

use super::Error;

#[cfg(feature = "mlir")]
type Inner = super::toolchain::Toolchain;
#[cfg(not(feature = "mlir"))]
type Inner = std::convert::Infallible;

/// What makes PTX: MLIR with LLVM behind it, which the feature `mlir` builds in. Making one takes
/// milliseconds; it serves any number of kernels of one thread.
pub struct Assembler(Inner);

impl Assembler {
    /// None in a build without MLIR.
    pub fn new() -> Option<Self> {
        #[cfg(feature = "mlir")]
        return Some(Self(Inner::new()));
        #[cfg(not(feature = "mlir"))]
        None
    }

    /// The PTX of the one kernel in `text`.
    pub fn ptx(&self, text: &str) -> Result<String, Error> {
        #[cfg(feature = "mlir")]
        return self.0.ptx(text);
        #[cfg(not(feature = "mlir"))]
        {
            let _ = text;
            match self.0 {}
        }
    }
}
