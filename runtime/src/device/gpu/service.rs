//! Launches of the service kernels: sums of parts, rows moved about, borders of segments chained.

use super::kernel::GpuKernel;
use super::run::Place;
use super::{Machine, Parameter, Storage};
use crate::Error;
use baton_codegen::Service;

/// Numbers of a wide thread.
const WIDE: usize = 4;

/// A sum over parts, entry by entry, in their order; see [`Service::Sum`].
pub(super) struct Sum<'a> {
    /// Rows, steps, columns, numbers of an entry, parts. Without parts the sum is zero.
    pub sizes: [usize; 5],
    /// Where the first part is, in f32, and its strides by row, step, column and part.
    pub from: u64,
    pub strides: [i64; 4],
    /// Which row of the parts each row of the sum takes; the same when absent.
    pub rows: Option<&'a [i64]>,
    pub to: Place,
    /// The dtype of the sum.
    pub storage: Storage,
}

fn words(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(super) fn sum(
    kernel: &GpuKernel,
    machine: &mut dyn Machine,
    sum: &Sum<'_>,
) -> Result<(), Error> {
    let [rows, steps, columns, entries, parts] = sum.sizes;
    let wide = entries.is_multiple_of(WIDE);
    if !wide && sum.storage != Storage::F32 {
        let why = format!("sums of {entries} numbers in 16 bits: expected a multiple of {WIDE}");
        return Err(kernel.unsupported(why));
    }
    let units = if wide { entries / WIDE } else { entries };
    let threads = [rows, steps, columns, units]
        .into_iter()
        .map(|n| n as u64)
        .product::<u64>();
    if threads == 0 {
        return Ok(());
    }
    let index = match sum.rows {
        Some(rows) => machine.input(&words(rows))?,
        None => 0,
    };
    let mut parameters = vec![index.into(), sum.from.into()];
    parameters.extend(sum.strides.map(Parameter::Long));
    parameters.push(sum.to.address.into());
    parameters.extend(sum.to.strides.map(Parameter::Long));
    let sizes = [rows, steps, columns, units, parts];
    parameters.extend(sizes.map(|n| Parameter::Long(n as i64)));
    let service = Service::Sum {
        storage: sum.storage,
        wide,
    };
    launch(kernel, machine, service, [threads, 1], &parameters)
}

/// Rows of f32 from `from` to `to`, which of them said by `rows`; zeros where `from` is null.
pub(super) fn gather(
    kernel: &GpuKernel,
    machine: &mut dyn Machine,
    rows: &[i64],
    entries: usize,
    [from, to]: [u64; 2],
) -> Result<(), Error> {
    let row = 4 * entries as i64;
    let copy = Sum {
        sizes: [rows.len(), 1, 1, entries, usize::from(from != 0)],
        from,
        strides: [row, 0, 0, 0],
        rows: Some(rows),
        to: Place {
            address: to,
            strides: [row, 0, 0],
        },
        storage: Storage::F32,
    };
    sum(kernel, machine, &copy)
}

/// The borders of the segments of each sequence; see [`Service::Chain`].
pub(super) struct Chain<'a> {
    /// First segment and number of segments of each sequence.
    pub sequences: &'a [[i64; 2]],
    /// H, and rows and columns of the state.
    pub heads: usize,
    pub dims: [usize; 2],
    /// What arrives at each sequence, or null.
    pub outer: u64,
    /// What each segment adds; becomes what arrives at it.
    pub own: u64,
    /// Log decays by head, row, column; null where there are none.
    pub logs: [u64; 3],
    pub reverse: bool,
}

pub(super) fn chain(
    kernel: &GpuKernel,
    machine: &mut dyn Machine,
    chain: &Chain<'_>,
) -> Result<(), Error> {
    let [rows, columns] = chain.dims;
    let entries = (chain.heads * rows * columns) as u64;
    let table = machine.input(&words(chain.sequences.as_flattened()))?;
    let mut parameters: Vec<Parameter> = vec![table.into(), chain.outer.into(), chain.own.into()];
    parameters.extend(chain.logs.map(Parameter::from));
    let sizes = [chain.heads, rows, columns, usize::from(chain.reverse)];
    parameters.extend(sizes.map(|n| Parameter::Int(n as i32)));
    let grid = [entries, chain.sequences.len() as u64];
    launch(kernel, machine, Service::Chain, grid, &parameters)
}

/// `threads` along x, blocks along y.
fn launch(
    kernel: &GpuKernel,
    machine: &mut dyn Machine,
    service: Service,
    [threads, y]: [u64; 2],
    parameters: &[Parameter],
) -> Result<(), Error> {
    let name = service.name(&kernel.schedule);
    let code = kernel.service(service)?;
    let blocks = threads.div_ceil(code.launch.threads.into());
    let x = i32::try_from(blocks).map_err(|_| {
        kernel.unsupported(format!(
            "{threads} numbers to add up or move: too many for a launch"
        ))
    })?;
    machine.launch(&name, &code, [x as u32, y as u32], parameters)
}

#[cfg(test)]
mod tests;
