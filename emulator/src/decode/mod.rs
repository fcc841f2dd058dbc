//! Tree to program: names become slots and addresses, mnemonics become ops, device functions are inlined.
//!
//! Invariant: a mnemonic is accepted only if every one of its modifiers was understood by the decoder of its
//! first word (`table.rs`). What is not understood is refused by its full name, never skipped.

mod bits;
mod builder;
mod compare;
mod control;
mod convert;
mod copies;
mod float;
mod inline;
mod integer;
mod matrix;
mod memory;
mod modifiers;
mod moves;
mod names;
mod program;
mod site;
mod statements;
mod table;
mod warp;

use crate::error::Result;
use crate::text::tree::{Function, Module};

pub use program::ParameterShape;
pub(crate) use program::{Program, SHARED_BASE};

/// Decodes one kernel of a module.
pub(crate) fn decode(module: &Module, function: &Function) -> Result<Program> {
    builder::Builder::new(module).kernel(function)
}
