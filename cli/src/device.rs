//! Devices by their names on the command line.

use crate::gpu::Dtype;
use crate::ranks;
use baton_runtime::device::cpu::Cpu;
use baton_runtime::device::cuda::Cuda;
use baton_runtime::device::gpu::{Emulator, Gpu, Storage};
use baton_runtime::device::interpreter::Interpreter;
use baton_runtime::{Device, Error};
use baton_tune::kit::{Schedule, gpu};
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// A device's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Compiled code on the cores of this machine, in f32
    Cpu,
    /// Step by step in f64: slow, and the truth to compare with
    Interpreter,
    /// The GPU kernels, interpreted: slow, every access checked
    Emulator,
    /// An NVIDIA GPU, by its driver
    Cuda,
}

impl Name {
    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Name::Cpu => "cpu",
            Name::Interpreter => "interpreter",
            Name::Emulator => "emulator",
            Name::Cuda => "cuda",
        }
    }
}

/// What runs, in words.
pub fn words(name: Name, threads: Option<usize>) -> String {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    match (name, threads.unwrap_or_else(cores)) {
        (Name::Cpu, 1) => "cpu, 1 thread".into(),
        (Name::Cpu, threads) => format!("cpu, {threads} threads"),
        (name, _) => name.text().into(),
    }
}

/// The device of this name, with `threads` threads; every core when absent.
pub fn device(name: Name, threads: Option<usize>) -> Result<Box<dyn Device>, Error> {
    Ok(match name {
        Name::Cpu => Box::new(Cpu::new(threads)?),
        Name::Interpreter => Box::new(Interpreter),
        gpu => of_schedule(gpu, Gpu::sm_80(Storage::F32))?
            .expect("the devices that need no schedule are above"),
    })
}

/// The device of this name with kernels made by `schedule`; none of those that need no schedule.
pub fn of_schedule(name: Name, schedule: Gpu) -> Result<Option<Box<dyn Device>>, Error> {
    Ok(match name {
        Name::Cpu | Name::Interpreter => None,
        Name::Emulator => Some(Box::new(Emulator::new(schedule))),
        Name::Cuda => Some(Box::new(Cuda::new(ranks::gpu()?, schedule)?)),
    })
}

/// The device of this name, with matrices in `dtype` where it has a choice.
pub fn chosen(
    name: Name,
    dtype: Option<Dtype>,
    threads: Option<usize>,
) -> Result<Box<dyn Device>, Error> {
    let dtype = dtype.unwrap_or_default();
    let schedule = dtype
        .schedule("sm_80")
        .map_err(|_| Error::Argument(format!("no schedule for {}", dtype.name())))?;
    match of_schedule(name, schedule)? {
        Some(device) => Ok(device),
        None if dtype != Dtype::F32 => Err(Error::Argument(format!(
            "--dtype {} given with --device {}, expected f32",
            dtype.name(),
            name.text()
        ))),
        None => device(name, threads),
    }
}

/// The GPU of this name, or its emulator, with kernels of a schedule that was chosen.
pub fn scheduled(
    name: Name,
    dtype: Option<Dtype>,
    schedule: &Schedule,
) -> Result<Box<dyn Device>, Error> {
    let dtype = dtype.unwrap_or_default();
    let base = gpu(dtype.name()).expect("every dtype has a schedule");
    let device = of_schedule(name, schedule.of(&base))?;
    device.ok_or_else(|| {
        let name = name.text();
        Error::Argument(format!("a schedule of kernels given with --device {name}"))
    })
}

/// Parses a chunk length.
pub fn chunk() -> impl TypedValueParser<Value = usize> {
    PossibleValuesParser::new(["16", "32", "64", "128"])
        .map(|text| text.parse().expect("every possible value is a number"))
}

/// Parses a number of threads.
pub fn threads() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u16).range(1..=1024).map(usize::from)
}

/// What the machine calls its CPU.
pub fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_string())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.into())
}
