//! Running a kernel: the grid, and the launch that asks for it.

mod access;
mod approximate;
mod atomics;
mod barriers;
mod block;
pub(crate) mod clocks;
mod collective;
mod copies;
mod findings;
mod matrix;
pub(crate) mod order;
mod step;
mod traffic;
mod warp;

use crate::decode::Program;
use crate::error::{Error, Result};
use crate::memory::Memory;
use crate::report::Report;

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
pub struct Parameter(Vec<u8>);

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

/// The largest block and dynamic shared memory of current GPUs.
const LARGEST_BLOCK: u64 = 1024;
const MOST_SHARED: u64 = 227 * 1024;

pub(crate) fn launch(
    program: &Program,
    module: u64,
    launch: &Launch,
    memory: &mut Memory,
) -> Result<Report> {
    let parameters = check(program, launch)?;
    let mut machine = block::Machine::new(program, module, launch, memory, parameters);
    let [gx, gy, gz] = launch.grid.map(u64::from);
    let order = order::blocks(gx * gy * gz, launch.schedule_seed);
    for index in order {
        let block = [index % gx, index / gx % gy, index / (gx * gy)].map(|i| i as u32);
        machine.run_block(block);
        if machine.exhausted() {
            break;
        }
    }
    Ok(machine.finish())
}

/// The parameter memory of a launch that fits its kernel.
fn check(program: &Program, launch: &Launch) -> Result<Vec<u8>> {
    let name = &program.name;
    let fail = |message: String| Err(Error::general(format!("kernel `{name}`: {message}")));
    let threads: u64 = launch.block.iter().map(|&n| u64::from(n)).product();
    if threads == 0
        || launch.block.iter().any(|&n| u64::from(n) > LARGEST_BLOCK)
        || threads > LARGEST_BLOCK
    {
        return fail(format!(
            "a block has 1 to 1024 threads, not {:?}",
            launch.block
        ));
    }
    let grid: u128 = launch.grid.iter().map(|&n| u128::from(n)).product();
    if grid == 0 || grid > 1 << 31 {
        return fail(format!(
            "a grid has 1 to 2^31 blocks, not {:?}",
            launch.grid
        ));
    }
    if let Some(required) = program.required_block
        && required != launch.block
    {
        let given = launch.block;
        return fail(format!(
            "it requires blocks of {required:?} threads, not {given:?}"
        ));
    }
    if let Some(most) = program.max_block {
        let most: u64 = most.iter().map(|&n| u64::from(n)).product();
        if threads > most {
            return fail(format!(
                "it allows {most} threads in a block, not {threads}"
            ));
        }
    }
    let shared = program.shared_end + u64::from(launch.dynamic_shared);
    if shared > MOST_SHARED + crate::decode::SHARED_BASE {
        return fail(format!(
            "{shared} bytes of shared memory are more than {MOST_SHARED}"
        ));
    }
    if launch.parameters.len() != program.parameters.len() {
        let (wanted, given) = (program.parameters.len(), launch.parameters.len());
        return fail(format!("it takes {wanted} parameters, not {given}"));
    }
    let mut bytes = vec![0; program.parameter_bytes as usize];
    for (shape, given) in program.parameters.iter().zip(&launch.parameters) {
        if given.0.len() != shape.bytes as usize {
            return fail(format!(
                "parameter `{}` has {} bytes, not {}",
                shape.name,
                shape.bytes,
                given.0.len()
            ));
        }
        let start = shape.offset as usize;
        bytes[start..start + given.0.len()].copy_from_slice(&given.0);
    }
    Ok(bytes)
}
