//! What a kernel is run on: its grid, its parameters, and the choices of a run.

/// What to run a kernel on.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// One for each parameter of the kernel, in order.
    pub parameters: Vec<Parameter>,
    /// 0: blocks in order, warps in turn from barrier to barrier. Others: another order of blocks, and warps
    /// interleaved in short runs, by this seed. A kernel without findings gives the same bits under all.
    pub schedule_seed: u64,
    /// Move the results of approximate instructions within their documented errors.
    pub approximation_errors: bool,
    /// Warp instructions before the launch is given up as endless.
    pub budget: u64,
}

impl Default for Launch {
    /// One block of one thread, no parameters.
    fn default() -> Launch {
        Launch {
            grid: [1; 3],
            block: [1; 3],
            dynamic_shared: 0,
            parameters: vec![],
            schedule_seed: 0,
            approximation_errors: false,
            budget: 1 << 26,
        }
    }
}

/// The bytes of one kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter(pub(super) Vec<u8>);

impl Parameter {
    /// A parameter by its bytes: a structure passed by value.
    pub fn bytes(bytes: &[u8]) -> Parameter {
        Parameter(bytes.to_vec())
    }
}

macro_rules! from_number {
    ($($ty:ty),*) => {$(
        impl From<$ty> for Parameter {
            fn from(value: $ty) -> Parameter {
                Parameter(value.to_le_bytes().to_vec())
            }
        }
    )*};
}

from_number!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);
