//! How a kernel is launched: its parameters, its grid, its dtypes.
//!
//! One thread block runs one range of time of one sequence for `heads` heads of a group ([`Launch`]);
//! H / G is a multiple of that. The grid is (H / heads, ranges). Parameters, in order, pointers and strides in bytes as 64-bit words:
//!
//! | parameters | hold |
//! |---|---|
//! | `table` | four i64 a range: batch, first step, steps, first chunk |
//! | `heads`, `group_heads` | H and H / G, two i32 |
//! | 4 a port | address; from batch to batch (of a port of pace Task: from range to range); from step to step (of pace Chunk: from chunk to chunk); from head to head |
//! | 2 a carry | address of what enters, null for zero; address of what leaves |
//!
//! A port that is not per head is indexed by group, unless it is the gradient of an input: then
//! each block writes its own part, in f32, and the parts are added outside, in order. Carries are
//! f32, `[ranges, H, dims]`. Matrices need 16-byte alignment of address and strides.

use super::{Options, Storage};
use baton_ir::tile::{PortDecl, Role, TileProgram};

/// Whether a port is f32 whatever the storage: params, numbers for each step, and sums.
pub fn in_f32(port: &PortDecl, options: &Options) -> bool {
    options.storage == Storage::F32
        || match port.role {
            Role::Param(_) | Role::DParam(_) => true,
            Role::Input(_) | Role::Output(_) | Role::DOutput(_) => port.dims.is_empty(),
            Role::DInput(_) => port.dims.is_empty() || !port.per_head,
            Role::Entering(_) => false,
        }
}

/// Whether each head has its own place in a port, or, of a port that is not per head, each block.
pub fn by_head(port: &PortDecl) -> bool {
    port.per_head || matches!(port.role, Role::DInput(_) | Role::DParam(_))
}

/// What a kernel needs to be launched, besides its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Heads that a block runs side by side.
    pub heads: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// Stages of the ring of asynchronous copies.
    pub stages: u32,
}

/// Number of parameters of `program`.
pub fn parameters(program: &TileProgram) -> usize {
    3 + 4 * program.ports.len() + 2 * program.carries.len()
}
