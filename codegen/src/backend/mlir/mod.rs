//! The GPU back end: a tile program to PTX, through MLIR.
//!
//! `pad` brings tiles to sizes that products have, `place` decides where every tile is and inserts conversions and barriers, `emit` writes the
//! kernel as MLIR text over the `llvm`, `nvvm` and `scf` dialects, and `toolchain`, the one part that
//! needs MLIR (feature `mlir`), turns it into PTX. [`Target::emit`] is the way to the text, in milliseconds.
//! Products run on tensor cores by `mma.sync`, matrices come in by `cp.async` and out by 16-byte
//! stores. `service` has the kernels between them. Nothing here knows a recurrence.

mod abi;
mod assembler;
mod emit;
mod error;
mod forms;
pub mod layout;
mod levels;
mod order;
mod pad;
mod place;
mod service;
mod text;
#[cfg(feature = "mlir")]
mod toolchain;

pub use assembler::Assembler;
pub use error::Error;
pub use service::Service;

use pad::pad;

use crate::schedule::{Traits, side_by_side};
use crate::target::{Gpu, Launch, Products, Source, Storage, Target};
use baton_ir::tile::{Node, Op, Region, TileProgram};

impl Gpu {
    /// Terms of an operand; 0 means tf32.
    pub(crate) fn terms(&self) -> u32 {
        match (self.storage, self.products) {
            (Storage::F32, Products::ThreeTerms) => 3,
            (Storage::F32, Products::Tf32) => 0,
            _ => 1,
        }
    }

    /// The dtype of an operand's terms.
    pub(crate) fn operand(&self) -> Storage {
        match self.storage {
            Storage::F32 => Storage::Bf16,
            storage => storage,
        }
    }
}

impl Target for Gpu {
    type Code = Source;
    type Error = Error;

    fn suffix(&self) -> String {
        let (dtype, chip) = (self.storage.name(), self.chip);
        match self.heads() {
            1 => format!("{dtype}_{chip}"),
            heads => format!("{dtype}_{chip}_heads{heads}"),
        }
    }

    /// Decays by channel run in chunks of 16: longer ones have more levels for each step, and overflow
    /// the registers.
    fn chunks(&self, traits: Traits) -> &'static [usize] {
        match traits.by_channel {
            true => &[16],
            false => &[64, 32, 16],
        }
    }

    /// Four warps, or eight where each thread of four would hold more than 64 numbers of the states: beside the
    /// registers of their products those are all that it has.
    fn settled(&self, entries: usize) -> Self {
        let many = entries * self.heads() as usize > 4 * 32 * 64;
        let warps = self.warps.or(Some(if many { 8 } else { 4 }));
        Self {
            warps,
            ..self.clone()
        }
    }

    fn with_heads(&self, heads: u32) -> Self {
        Gpu::with_heads(self, heads)
    }

    /// Where a block has the registers for the heads, and heads share products: else nothing is
    /// gained but loads that a cache serves anyway.
    fn shares(&self, program: &TileProgram) -> bool {
        let shared =
            |node: &Node| node.region == Region::Before && matches!(node.op, Op::Matmul { .. });
        // Where one head has no room several have none, and the search for one is short.
        let roomy = |program: &TileProgram| place::is_roomy(&pad(program).program, self);
        program.nodes.iter().any(shared)
            && roomy(program)
            && roomy(&side_by_side(program, self.heads()).program)
    }

    /// Whether another block fits beside it.
    fn fits(&self, program: &TileProgram) -> Result<bool, Error> {
        let made = self.emit(program)?;
        Ok(made.launch.shared_bytes <= self.shared_room())
    }

    fn emit(&self, program: &TileProgram) -> Result<Source, Error> {
        let wide = side_by_side(program, self.heads());
        let padded = pad(&wide.program);
        let placement = place::place(&padded.program, self)?;
        let text = emit::module(program, &wide, &padded, self, &placement)?;
        let launch = Launch {
            heads: self.heads(),
            threads: self.threads(),
            shared_bytes: placement.shared_bytes,
            stages: placement.stages,
        };
        Ok(Source { text, launch })
    }
}
