//! How a kernel is launched: its parameters, its grid, its dtypes.
//!
//! One thread block runs one range of time of one sequence for `heads` heads of a group ([`Launch`](crate::target::Launch));
//! H / G is a multiple of that. The grid is (H / heads, ranges). Parameters, in order, pointers and strides in bytes as 64-bit words:
//!
//! | parameters | hold |
//! |---|---|
//! | `table` | four i64 a range: batch, first step, steps, first chunk |
//! | `heads`, `group_heads` | H and H / G, two i32 |
//! | 4 a port | address; from batch to batch (of a port of pace Task: from range to range); from step to step (of pace Chunk: from chunk to chunk); from head to head |
//! | 2 a carry | address of what enters, null for zero; address of what leaves |
//!
//! A port that is not per head is indexed by group, unless it is held in parts: then each block
//! writes its own, in f32, and they are added outside, in order. Carries are
//! f32, `[ranges, H, dims]`. Matrices need 16-byte alignment of address and strides.

use crate::target::{Gpu, Storage};
use baton_ir::tile::{Held, PortDecl, TileProgram};

impl Gpu {
    /// Whether each head has its own place in a port, or, of a port that is not per head, each block.
    pub fn by_head(port: &PortDecl) -> bool {
        port.per_head || port.held == Held::Parts
    }

    /// Number of parameters of a kernel.
    pub fn parameters(program: &TileProgram) -> usize {
        3 + 4 * program.ports.len() + 2 * program.carries.len()
    }

    /// The dtype of memory that is held so.
    pub fn dtype(&self, held: Held) -> Storage {
        match held {
            Held::Storage => self.storage,
            Held::F32 | Held::Parts => Storage::F32,
        }
    }
}
