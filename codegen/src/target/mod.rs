//! Targets: what kernels are made for, as values.
//!
//! A target says its limits and its choices: chunk lengths, heads of a block, dtypes, what fits. Its back
//! end is the `impl` of [`Target`] in a folder under `backend`, and nothing outside of that folder names
//! it: [`Compiler`](crate::Compiler) takes any target, and a runtime sees the [`Artifact`] of one. So
//! a new back end is a folder and the line that exports its target.

pub mod arithmetic;
mod gpu;

pub(crate) use gpu::PIECE;
pub use gpu::{Gpu, Launch, Products, Source, Storage, grain, remarks};

use crate::schedule::Traits;
use baton_ir::tile::TileProgram;

/// What kernels are made for.
pub trait Target: Clone {
    /// A kernel without its signature: machine code, or a text with how it is launched.
    type Code;
    /// Why there is none.
    type Error: std::error::Error;

    /// How the names of its kernels end: dtype and machine.
    fn suffix(&self) -> String;

    /// Chunk lengths for a recurrence, the preferred first.
    fn chunks(&self, traits: Traits) -> &'static [usize];

    /// The target with every choice made that was left open, for states of `entries` numbers a head.
    fn settled(&self, _entries: usize) -> Self {
        self.clone()
    }

    /// Whether its devices chain segments whose summaries take `sweeps` (`Traits::summary`).
    fn chains(&self, sweeps: usize) -> bool {
        sweeps == 0
    }

    /// The same target with a number of heads a block.
    fn with_heads(&self, _heads: u32) -> Self {
        self.clone()
    }

    /// Whether running this target's heads side by side fits and gains anything, for the program of one head.
    fn shares(&self, _program: &TileProgram) -> bool {
        false
    }

    /// Whether a kernel of a program fits as this target would have it, or just so; by making it, where there is no
    /// quicker way to know.
    fn fits(&self, program: &TileProgram) -> Result<bool, Self::Error> {
        self.emit(program).map(|_| true)
    }

    /// The kernel of a verified program.
    fn emit(&self, program: &TileProgram) -> Result<Self::Code, Self::Error>;
}

/// A compiled kernel: all that a runtime sees.
pub struct Artifact<T: Target> {
    /// Its tile program: name, chunk, ports and carries are the signature.
    pub program: TileProgram,
    /// The code.
    pub code: T::Code,
}

/// The CPU that this process runs on, with f32 throughout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Native;

impl Native {
    /// How the names of its kernels end.
    pub(crate) const SUFFIX: &'static str = "f32_cpu";
}
