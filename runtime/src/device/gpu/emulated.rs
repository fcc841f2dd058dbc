//! The device `emulator`: interprets the PTX that would go to a GPU.
//!
//! Every finding of the emulator is an error of the run: a kernel that races or reads what nothing
//! wrote gives no result here, however right its numbers look.

use super::blocks::Blocks;
use super::kernels::GpuKernels;
use super::lent::OnHost;
use super::memory::{DeviceMemory, Parameter, Ptx, ReadMemory};
use crate::Error;
use crate::device::raw::RawKernel;
use crate::device::{Device, Kernel, Options};
use crate::engine::host::HostKernel;
use crate::engine::machine::HostMachine;
use baton_codegen::target::Gpu;
use baton_emulator::{Buffer, Launch, Memory, Module};
use baton_ir::recurrence::Recurrence;
use std::sync::{Arc, Mutex};

pub use baton_emulator::{Counts, Report};

const NAME: &str = "emulator";

/// The emulator as a device.
#[derive(Clone, Debug)]
pub struct Emulator {
    target: Gpu,
    /// Seed of the order in which warps and blocks run; 0 is the plain one.
    pub seed: u64,
    /// Whether approximate instructions are moved within their documented errors.
    pub approximation_errors: bool,
    /// Where what is executed is written down, if anywhere.
    pub ledger: Option<Ledger>,
}

/// What launches executed, by the kernel's name, in order.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Vec<(String, Counts)>>>);

impl Ledger {
    /// Takes what was written since the last time.
    pub fn take(&self) -> Vec<(String, Counts)> {
        // A run that panicked wrote whole launches alone.
        std::mem::take(&mut self.0.lock().unwrap_or_else(|held| held.into_inner()))
    }

    fn write(&self, name: &str, counts: Counts) {
        let mut all = self.0.lock().unwrap_or_else(|held| held.into_inner());
        all.push((name.to_string(), counts));
    }
}

impl Emulator {
    /// A device whose kernels are made for `target`.
    pub fn new(target: Gpu) -> Self {
        Self {
            target,
            seed: 0,
            approximation_errors: false,
            ledger: None,
        }
    }

    /// The kernels of a recurrence for addresses of the host, which stand for those of a GPU.
    pub fn raw(
        &self,
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
    ) -> Result<Arc<dyn RawKernel>, Error> {
        Ok(Arc::new(OnHost {
            kernels: self.kernels(recurrence, sizes, options)?,
            memories: Box::new(self.memories()),
        }))
    }

    fn kernels(
        &self,
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
    ) -> Result<Arc<GpuKernels>, Error> {
        let target = self.target.clone();
        GpuKernels::new(NAME, recurrence, sizes, options, target).map(Arc::new)
    }

    fn memories(&self) -> impl Fn() -> Emulated + Send + Sync + 'static {
        let of = self.clone();
        move || {
            let mut memory = Emulated::new(of.seed, of.approximation_errors);
            memory.ledger = of.ledger.clone();
            memory
        }
    }
}

impl Device for Emulator {
    fn name(&self) -> &str {
        NAME
    }

    fn load(
        &self,
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
    ) -> Result<Arc<dyn Kernel>, Error> {
        let kernels = self.kernels(recurrence, sizes, options)?;
        let (of, memories) = (kernels.clone(), self.memories());
        let machines =
            move || -> Box<dyn HostMachine> { Box::new(Blocks::new(of.clone(), memories())) };
        Ok(Arc::new(HostKernel::new(kernels, Box::new(machines))))
    }
}

/// The memory of one run, and who interprets the kernels.
pub(crate) struct Emulated {
    memory: Memory,
    buffers: Vec<(u64, Buffer)>,
    seed: u64,
    errors: bool,
    ledger: Option<Ledger>,
}

impl Emulated {
    pub fn new(seed: u64, errors: bool) -> Self {
        Self {
            memory: Memory::new(),
            buffers: vec![],
            seed,
            errors,
            ledger: None,
        }
    }

    fn keep(&mut self, buffer: Buffer) -> u64 {
        let address = self.memory.address(buffer);
        self.buffers.push((address, buffer));
        address
    }

    fn buffer(&self, address: u64) -> Result<Buffer, Error> {
        let found = self.buffers.iter().find(|(at, _)| *at == address);
        found
            .map(|(_, buffer)| *buffer)
            .ok_or_else(|| failed(format!("no buffer at {address:#x}")))
    }

    /// What is at an address, also where nothing has written.
    pub fn bytes(&self, address: u64) -> Result<&[u8], Error> {
        self.buffer(address).map(|buffer| self.memory.read(buffer))
    }
}

fn failed(reason: impl ToString) -> Error {
    Error::Unsupported {
        device: NAME.into(),
        reason: reason.to_string(),
    }
}

impl DeviceMemory for Emulated {
    fn input(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let buffer = self.memory.input(bytes);
        Ok(self.keep(buffer))
    }

    fn output(&mut self, bytes: usize) -> Result<u64, Error> {
        let buffer = self.memory.output(bytes);
        Ok(self.keep(buffer))
    }

    fn launch(
        &mut self,
        name: &str,
        kernel: &Ptx,
        [x, y]: [u32; 2],
        parameters: &[Parameter],
    ) -> Result<(), Error> {
        let module = Module::parse(&kernel.text).map_err(failed)?;
        let launch = Launch {
            grid: [x, y, 1],
            block: [kernel.launch.threads, 1, 1],
            dynamic_shared: kernel.launch.shared_bytes,
            parameters: parameters
                .iter()
                .map(|parameter| match *parameter {
                    Parameter::Int(value) => value.into(),
                    Parameter::Long(value) => value.into(),
                })
                .collect(),
            schedule_seed: self.seed,
            approximation_errors: self.errors,
            // For each block: a launch of many is no endless one.
            budget: Launch::default().budget * u64::from(x) * u64::from(y),
        };
        let report = module
            .kernel(name)
            .and_then(|k| k.launch(&launch, &mut self.memory))
            .map_err(failed)?;
        if let Some(ledger) = &self.ledger {
            ledger.write(name, report.counts.clone());
        }
        match report.findings.as_slice() {
            [] => Ok(()),
            findings => {
                let all: Vec<String> = findings.iter().map(ToString::to_string).collect();
                Err(failed(format!(
                    "{} findings: {}",
                    all.len(),
                    all.join("; ")
                )))
            }
        }
    }
}

impl ReadMemory for Emulated {
    fn read(&mut self, address: u64) -> Result<Vec<u8>, Error> {
        let buffer = self.buffer(address)?;
        match self.memory.unwritten(buffer).first() {
            None => Ok(self.memory.read(buffer).to_vec()),
            Some(range) => Err(failed(format!(
                "bytes {range:?} of a result were never written"
            ))),
        }
    }
}
