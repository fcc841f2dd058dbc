//! What decoding gives: a kernel as steps, with what it asks of a launch.

use std::sync::Arc;

use crate::op::{Slot, Special, Step};
use crate::text::tree::Variable;

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
