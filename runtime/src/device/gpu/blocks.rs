//! The engine's machine on a GPU: launches as parameters and grids of thread blocks, sums and chains as
//! service kernels, so that nothing comes back to the host between launches.

use super::kernels::{GpuKernels, MOST_RANGES};
use super::memory::{DeviceMemory, Parameter, ReadMemory};
use super::storage::{bytes, values};
use crate::engine::machine::{Chain, HostMachine, Launch, Machine, Sum, Summary, identities};
use crate::tensor::contiguous;
use crate::{Error, Tensor, View};
use baton_codegen::Service;
use baton_codegen::target::Storage;
use std::sync::Arc;

/// Numbers of a wide thread of a sum.
const WIDE: usize = 4;

/// Kernels on the memory of one run.
pub(crate) struct Blocks<M> {
    kernels: Arc<GpuKernels>,
    pub memory: M,
}

fn words(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl<M: DeviceMemory> Blocks<M> {
    pub fn new(kernels: Arc<GpuKernels>, memory: M) -> Self {
        Self { kernels, memory }
    }

    /// `threads` along x, blocks along y.
    fn service(
        &mut self,
        service: Service,
        [threads, y]: [u64; 2],
        parameters: &[Parameter],
    ) -> Result<(), Error> {
        let (name, kernel) = self.kernels.service(service)?;
        let blocks = threads.div_ceil(kernel.launch.threads.into());
        let x = i32::try_from(blocks).map_err(|_| {
            self.kernels.refused(format!(
                "{threads} numbers to add up or move: too many for a launch"
            ))
        })?;
        self.memory
            .launch(&name, &kernel, [x as u32, y as u32], parameters)
    }
}

impl<M: DeviceMemory> Machine for Blocks<M> {
    fn room(&mut self, bytes: usize) -> Result<u64, Error> {
        self.memory.output(bytes)
    }

    fn zeros(&mut self, bytes: usize) -> Result<u64, Error> {
        self.memory.input(&vec![0; bytes])
    }

    fn identities(&mut self, count: usize, n: usize) -> Result<u64, Error> {
        self.memory
            .input(&bytes(&identities(count, n), Storage::F32))
    }

    fn adds(&self) -> bool {
        false
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), Error> {
        let extent = launch.cut.extent;
        let (heads, groups) = (extent.heads, extent.groups);
        let ranges = launch.table.len();
        if ranges > MOST_RANGES {
            return Err(self.kernels.refused(format!(
                "{ranges} ranges of sequences and their segments: at most {MOST_RANGES}"
            )));
        }
        let made = self.kernels.made(launch.phase, launch.cut)?;
        let mut parameters = vec![
            self.memory
                .input(&words(launch.table.as_flattened()))?
                .into(),
            Parameter::Int(heads as i32),
            Parameter::Int((heads / groups.max(1)).max(1) as i32),
        ];
        for port in &made.program.ports {
            let at = launch.ports[&port.role];
            parameters.push(at.address.into());
            parameters.extend(at.strides.map(Parameter::Long));
        }
        for carry in &made.program.carries {
            parameters.extend(launch.carries[&carry.role].map(Parameter::from));
        }
        let grid = [heads as u32 / made.kernel.launch.heads, ranges as u32];
        self.memory
            .launch(&made.program.name, &made.kernel, grid, &parameters)
    }

    fn sum(&mut self, sum: &Sum<'_>) -> Result<(), Error> {
        let [rows, steps, columns, entries, parts] = sum.sizes;
        // A caller's rows may be apart by less than what a wide thread reads and writes at once.
        let aligned = |at: u64, strides: &[i64], bytes: usize| {
            let unit = (WIDE * bytes) as u64;
            let strides = strides.iter().map(|stride| stride.unsigned_abs());
            std::iter::once(at)
                .chain(strides)
                .all(|place| place.is_multiple_of(unit))
        };
        let wide = entries.is_multiple_of(WIDE)
            && aligned(sum.from, &sum.strides, Storage::F32.bytes() as usize)
            && aligned(
                sum.to.address,
                &sum.to.strides,
                sum.storage.bytes() as usize,
            );
        let units = if wide { entries / WIDE } else { entries };
        let threads = [rows, steps, columns, units];
        let threads = threads.into_iter().map(|n| n as u64).product::<u64>();
        if threads == 0 {
            return Ok(());
        }
        let index = match sum.rows {
            Some(rows) => self.memory.input(&words(rows))?,
            None => 0,
        };
        let mut parameters = vec![index.into(), sum.from.into()];
        parameters.extend(sum.strides.map(Parameter::Long));
        parameters.push(sum.to.address.into());
        parameters.extend(sum.to.strides.map(Parameter::Long));
        let sizes = [rows, steps, columns, units, parts];
        parameters.extend(sizes.map(|n| Parameter::Long(n as i64)));
        let storage = sum.storage;
        self.service(Service::Sum { storage, wide }, [threads, 1], &parameters)
    }

    fn chain(&mut self, chain: &Chain<'_>) -> Result<(), Error> {
        let [rows, columns] = chain.dims;
        let Summary::Diagonal(logs) = chain.summary else {
            unreachable!("plans of blocks keep sequences whole where a summary is a matrix")
        };
        let entries = (chain.heads * rows * columns) as u64;
        let table = self.memory.input(&words(chain.sequences.as_flattened()))?;
        let mut parameters: Vec<Parameter> =
            vec![table.into(), chain.outer.into(), chain.own.into()];
        parameters.extend(logs.map(Parameter::from));
        let sizes = [chain.heads, rows, columns, usize::from(chain.reverse)];
        parameters.extend(sizes.map(|n| Parameter::Int(n as i32)));
        let grid = [entries, chain.sequences.len() as u64];
        self.service(Service::Chain, grid, &parameters)
    }
}

impl<M: ReadMemory> HostMachine for Blocks<M> {
    fn lend(
        &mut self,
        view: &View<'_>,
        _inner: usize,
        storage: Storage,
    ) -> Result<(u64, Vec<i64>), Error> {
        let tensor = view.to_tensor();
        let address = self.memory.input(&bytes(&tensor.data, storage))?;
        let strides = contiguous(&tensor.shape).into_iter();
        let strides = strides.map(|stride| (stride as u64 * u64::from(storage.bytes())) as i64);
        Ok((address, strides.collect()))
    }

    fn take(&mut self, address: u64, shape: Vec<usize>, storage: Storage) -> Result<Tensor, Error> {
        let data = values(&self.memory.read(address)?, storage);
        Ok(Tensor { shape, data })
    }
}

#[cfg(test)]
mod tests;
