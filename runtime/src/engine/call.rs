//! What a run reads and what it writes, as addresses.

use baton_codegen::target::Storage;

/// Where a tensor is; strides in bytes over batch, steps and heads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strided {
    pub address: u64,
    pub strides: [i64; 3],
}

impl Strided {
    /// Of a param, of which only the stride over heads counts.
    pub fn by_head(self) -> Self {
        Self {
            strides: [0, 0, self.strides[2]],
            ..self
        }
    }
}

/// What every run reads.
pub(crate) struct Arguments {
    pub inputs: Vec<Strided>,
    pub params: Vec<Strided>,
    /// f32 `[S, H, dims...]` without gaps; null is zero.
    pub states: Vec<u64>,
}

/// What a backward run writes.
pub(crate) struct Wanted {
    /// As the inputs.
    pub inputs: Vec<Strided>,
    /// Of each; where heads do not share it, the dtype that the kernels write.
    pub dtypes: Vec<Storage>,
    /// f32; only the stride over heads counts.
    pub params: Vec<Strided>,
    /// As the states in.
    pub states: Vec<u64>,
}
