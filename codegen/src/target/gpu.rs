//! A GPU by NVIDIA as a target: dtypes, limits, the choices of a schedule, and how a kernel is launched.

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

/// Bytes that a thread moves at once of rows of `row` bytes, at most 16: what rows and addresses are multiples of.
pub fn grain(row: u32) -> u32 {
    1 << row.trailing_zeros().min(4)
}

/// Sizes of a tile are multiples of this: rows and columns of a piece of a product.
pub(crate) const PIECE: u32 = 16;

/// Bytes of shared memory of a multiprocessor of an H100, and what a block takes of it besides its own.
const MULTIPROCESSOR: u32 = 228 * 1024;
const RESERVED: u32 = 1024;

/// What sizes cost more than others, in words: of dims with their sizes, and of tensors with the bytes of their rows.
pub fn remarks<'a>(
    dims: impl Iterator<Item = (&'a str, usize)>,
    rows: impl Iterator<Item = (&'a str, u32)>,
) -> Vec<String> {
    let mut remarks = vec![];
    for (name, size) in dims {
        let padded = size.next_multiple_of(PIECE as usize);
        if padded > size {
            let more = padded as f64 / size as f64;
            remarks.push(format!(
                "{name}={size} is padded to {padded}: {more:.2} times the work along it"
            ));
        }
    }
    for (name, row) in rows {
        let grain = grain(row);
        if grain < 16 {
            remarks.push(format!(
                "rows of `{name}` have {row} bytes, so they move by {grain} at a time instead of 16"
            ));
        }
    }
    remarks
}

/// How products of f32 are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// Each number as a sum of three bf16: exact to 24 bits, six products for one.
    ThreeTerms,
    /// Each number rounded to tf32: 11 bits.
    Tf32,
}

/// A GPU, with what a kernel is specialised on besides its program.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// The dtype of matrices.
    pub storage: Storage,
    /// How products are made where storage is f32.
    pub products: Products,
    /// Warps of a thread block, a power of two; by the size of the states when absent.
    pub warps: Option<u32>,
    /// Heads of a group that a block runs side by side; one when absent.
    pub heads: Option<u32>,
    /// Stages of the ring of asynchronous copies at most; as many as fit are taken.
    pub stages: u32,
    /// Bytes of shared memory that a block may have at most.
    pub shared_limit: u32,
    /// The target, as NVVM names it.
    pub chip: &'static str,
    /// The version of PTX, as NVVM names it.
    pub features: &'static str,
}

impl Gpu {
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

    /// Blocks that share a multiprocessor where they fit: two of four warps, whose registers leave room for each other,
    /// so that one works while the other waits.
    pub fn beside(&self) -> u32 {
        if self.warps() > 4 { 1 } else { 2 }
    }

    /// Bytes of shared memory that a block should do with, for that.
    pub(crate) fn shared_room(&self) -> u32 {
        self.shared_limit
            .min(MULTIPROCESSOR / self.beside() - RESERVED)
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

/// A kernel before it is assembled.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What the PTX depends on, all of it; [`Assembler`](crate::Assembler) makes that of it.
    pub text: String,
    /// How the kernel is launched.
    pub launch: Launch,
}
