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
mod launch;
mod matrix;
pub(crate) mod order;
mod reports;
mod step;
mod traffic;
mod warp;

use crate::decode::Program;
use crate::error::{Error, Result};
use crate::memory::Memory;
use crate::report::Report;
pub use launch::{Launch, Parameter};

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
    let [x, rest @ ..] = launch.grid;
    if grid == 0
        || grid > 1 << 31
        || x > i32::MAX as u32
        || rest.iter().any(|&n| n > u32::from(u16::MAX))
    {
        return fail(format!(
            "a grid has 1 to 2^31 blocks, at most 65535 along y and z, not {:?}",
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
