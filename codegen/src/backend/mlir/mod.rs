//! The GPU back end: a tile program to PTX, through MLIR.
//!
//! `place` decides where every tile is and inserts conversions and barriers, `emit` writes the
//! kernel as MLIR text over the `llvm`, `nvvm` and `scf` dialects, and `toolchain`, the one part that
//! needs MLIR (feature `mlir`), turns it into PTX. [`lower`] is the way to the text, in milliseconds.
//! Products run on tensor cores by `mma.sync`, matrices come in by `cp.async` and out by 16-byte
//! stores. `service` has the kernels between them. Nothing here knows a recurrence.

pub mod abi;
mod emit;
mod forms;
pub mod layout;
mod levels;
mod order;
mod place;
mod service;
mod text;
#[cfg(feature = "mlir")]
mod toolchain;

pub use abi::Launch;
pub use service::{Service, THREADS as SERVICE_THREADS};
#[cfg(feature = "mlir")]
pub use toolchain::Toolchain;

use crate::schedule::side_by_side;
use baton_ir::tile::{Node, Op, Region, TileProgram};
use std::fmt;

/// Why no kernel could be made.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The program asks for what this back end has not.
    Unsupported(String),
    /// What MLIR said.
    Mlir(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unsupported(what) => write!(f, "{what}"),
            Error::Mlir(what) => write!(f, "MLIR: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// The dtype of matrices in global memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// 32 bits.
    F32,
    /// IEEE, 16 bits.
    F16,
    /// Eight bits of exponent, 16 in all.
    Bf16,
}

impl Storage {
    /// Bytes of a number.
    pub fn bytes(self) -> u32 {
        match self {
            Storage::F32 => 4,
            Storage::F16 | Storage::Bf16 => 2,
        }
    }

    /// Its name, in MLIR and elsewhere.
    pub fn name(self) -> &'static str {
        match self {
            Storage::F32 => "f32",
            Storage::F16 => "f16",
            Storage::Bf16 => "bf16",
        }
    }
}

/// How products of f32 are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// Each number as a sum of three bf16: exact to 24 bits, six products for one.
    ThreeTerms,
    /// Each number rounded to tf32: 11 bits.
    Tf32,
}

/// What a kernel is specialised on, besides its program.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The dtype of matrices.
    pub storage: Storage,
    /// How products are made where storage is f32.
    pub products: Products,
    /// Warps of a thread block, a power of two; by the size of the states when absent.
    pub warps: Option<u32>,
    /// Heads of a group that a block runs side by side; by the shape of a run when absent.
    pub heads: Option<u32>,
    /// Stages of the ring of asynchronous copies at most; as many as fit are taken.
    pub stages: u32,
    /// Bytes of shared memory that a block may have.
    pub shared_limit: u32,
    /// The target, as NVVM names it.
    pub chip: &'static str,
    /// The version of PTX, as NVVM names it.
    pub features: &'static str,
}

impl Options {
    /// For every NVIDIA GPU from the A100 on; PTX 8.0 is read by the drivers of CUDA 12.0 and later.
    pub fn sm_80(storage: Storage) -> Self {
        Self {
            storage,
            products: Products::ThreeTerms,
            warps: None,
            heads: None,
            stages: 3,
            shared_limit: 163 * 1024,
            chip: "sm_80",
            features: "+ptx80",
        }
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        32 * self.warps()
    }

    /// Warps of a block.
    pub(crate) fn warps(&self) -> u32 {
        self.warps.unwrap_or(4)
    }

    /// Heads of a block; one where that is not said.
    pub fn heads(&self) -> u32 {
        self.heads.unwrap_or(1)
    }

    /// The same with a number of heads a block.
    pub fn with_heads(&self, heads: u32) -> Self {
        Self {
            heads: Some(heads),
            ..self.clone()
        }
    }

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

    /// Bytes of an operand's element in shared memory.
    pub(crate) fn operand_bytes(&self) -> u32 {
        match self.terms() {
            0 => 4,
            terms => 2 * terms,
        }
    }
}

/// A kernel as PTX.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// The text.
    pub ptx: String,
    /// How it is launched.
    pub launch: Launch,
}

/// The MLIR text of a verified program, and how its kernel is launched.
pub fn lower(program: &TileProgram, options: &Options) -> Result<(String, Launch), Error> {
    let wide = side_by_side(program, options.heads());
    let placement = place::place(&wide.program, options)?;
    let text = emit::module(program, &wide, options, &placement)?;
    let launch = Launch {
        heads: options.heads(),
        threads: options.threads(),
        shared_bytes: placement.shared_bytes,
        stages: placement.stages,
    };
    Ok((text, launch))
}

/// Whether a kernel has the registers for the heads of a block side by side, and heads that share
/// products: else nothing is gained but loads that a cache serves anyway.
pub fn fits_side_by_side(program: &TileProgram, options: &Options) -> bool {
    let shared =
        |node: &Node| node.region == Region::Before && matches!(node.op, Op::Matmul { .. });
    // Where one head has no room several have none, and the search for one is short.
    program.nodes.iter().any(shared)
        && place::is_roomy(program, options)
        && place::is_roomy(&side_by_side(program, options.heads()).program, options)
}
