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
mod site;
mod table;
mod warp;

use std::sync::Arc;

use crate::error::Result;
use crate::op::{Slot, Special, Step};
use crate::text::tree::{Function, Module, Variable};

/// One kernel, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub name: String,
    pub steps: Vec<Step>,
    pub slots: u32,
    pub constants: Vec<(Slot, u64)>,
    pub specials: Vec<(Special, Slot)>,
    /// Module variables whose addresses are known at launch.
    pub globals: Vec<(Arc<Variable>, Slot)>,
    /// The PTX instructions that are counted, by their mnemonics.
    pub kinds: Vec<String>,
    pub parameters: Vec<ParameterShape>,
    pub parameter_bytes: u32,
    /// Static shared memory ends here; the addresses begin at `SHARED_BASE`.
    pub shared_end: u64,
    pub local_bytes: u64,
    pub max_block: Option<[u32; 3]>,
    pub required_block: Option<[u32; 3]>,
}

/// One kernel parameter as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterShape {
    /// Its name in the PTX text.
    pub name: String,
    /// Its size.
    pub bytes: u32,
    /// Its place among the parameters.
    pub(crate) offset: u32,
}

/// The first bytes of shared memory belong to the system on current targets.
pub(crate) const SHARED_BASE: u64 = 1024;

/// Dynamic shared memory is aligned so, as the driver does.
pub(crate) const DYNAMIC_ALIGN: u64 = 16;

/// Decodes one kernel of a module.
pub(crate) fn decode(module: &Module, function: &Function) -> Result<Program> {
    builder::Builder::new(module).kernel(function)
}
