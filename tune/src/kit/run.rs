//! A kit's contest, on whatever GPU the bench is.

use super::{Kit, Schedule, gpu};
use crate::contest::{Doors, Field, Outcome, Progress, Terms, contest};
use crate::entry::Clock;
use crate::gate::{Gate, Lengths};
use crate::inputs::Inputs;
use crate::journal::{Head, Journal};
use crate::sample::Sample;
use crate::{Error, Subject};
use baton_codegen::target::Gpu;
use baton_codegen::target::arithmetic::Arithmetic;
use baton_runtime::device::gpu::supply_hashed;
use baton_runtime::{Device, Kernel, Options};
use std::path::Path;

/// Chunks that a sequence has at least to be cut into the fewest segments that a GPU cuts.
const CUT: usize = 12;
/// Milliseconds of kernels that a measurement takes at least, and the most repetitions.
const SHORTEST: f64 = 5.0;
const REPEATED: usize = 20;

/// Runs something, and gives milliseconds by its own clock.
pub type Times<'a> =
    Box<dyn FnMut(&mut dyn FnMut() -> Result<(), Error>) -> Result<f64, Error> + 'a>;

/// A device whose kernels are made so.
pub type Devices<'a> = Box<dyn Fn(Gpu) -> Result<Box<dyn Device>, Error> + 'a>;

/// The GPU as a tuning sees it.
pub struct Bench<'a> {
    /// Makes its devices.
    pub device: Devices<'a>,
    /// What kernels take.
    pub time: Times<'a>,
    /// What its times are of.
    pub clock: Clock,
    /// What the machine is called.
    pub machine: String,
    /// What entries are found by: the GPU's name, or `emulator`.
    pub target: String,
}

fn arithmetic(dtype: &str) -> Arithmetic {
    match dtype {
        "bf16" => Arithmetic::Bf16,
        "f16" => Arithmetic::F16,
        "tf32" => Arithmetic::Tf32,
        _ => Arithmetic::Split,
    }
}

/// Tunes what a kit holds, on whatever GPU the bench is; `watch` is told of every step.
pub fn tune_kit(
    (kit, folder, subject): (&Kit, &Path, &Subject),
    bench: &mut Bench<'_>,
    journal: &mut Journal,
    terms: Terms,
    watch: &mut dyn FnMut(Progress),
) -> Result<Outcome<Schedule>, Error> {
    for made in kit
        .candidates
        .iter()
        .flat_map(|candidate| &candidate.kernels)
    {
        supply_hashed(&made.name, &made.mlir_hash, kit.ptx(folder, made)?);
    }
    let base = gpu(&kit.dtype).expect("a kit that was read has a dtype that there is");
    let schedules: Vec<Schedule> = kit.candidates.iter().map(|c| c.schedule).collect();
    let hashes = kit.candidates.iter().map(|candidate| {
        let all: Vec<String> = (candidate.kernels.iter())
            .map(|made| format!("{} {}\n", made.name, made.mlir_hash))
            .collect();
        baton_kernels::hash(&all.concat())
    });
    let head = Head {
        key: kit.key(subject, &bench.target),
        run: kit.run,
        threads: 1,
        clock: bench.clock,
        choices: schedules.iter().map(|s| serde_json::json!(s)).collect(),
        kernel_hashes: hashes.collect(),
        seed: terms.seed,
    };
    let field = Field {
        choices: &schedules,
        model: kit.candidates.iter().map(|c| c.predicted_ms).collect(),
        distances: schedules
            .iter()
            .map(|s| s.distance(&schedules[0]))
            .collect(),
        machine: bench.machine.clone(),
        per_group: subject.per_group(),
    };
    let longest = schedules.iter().map(|schedule| schedule.chunk).max();
    let chunk = longest.unwrap_or(16);
    let lengths = Lengths {
        chunk,
        reach: CUT * chunk,
        rows: None,
    };
    let inputs = Inputs::new(
        &subject.recurrence,
        &subject.facts,
        &subject.sizes,
        subject.run,
    );
    let inputs = inputs.rounded(base.storage);
    let Bench {
        device,
        time,
        clock,
        ..
    } = bench;
    let doors = Doors {
        gate: Box::new(|seed| Gate::new(subject, lengths, arithmetic(&kit.dtype), seed)),
        make: Box::new(|i| {
            let options = Options {
                chunk: Some(schedules[i].chunk),
                ..Options::default()
            };
            let device = device(schedules[i].of(&base))?;
            Ok(device.load(&subject.recurrence, &subject.sizes, &options)?)
        }),
        clock: Box::new(|_, kernel| measure(kernel, &inputs, time, *clock)),
    };
    contest(&field, doors, &head, journal, terms, watch)
}

/// The median of a few runs forward, with what a backward needs, and backward.
fn measure(
    kernel: &dyn Kernel,
    inputs: &Inputs,
    time: &mut Times<'_>,
    clock: Clock,
) -> Result<f64, Error> {
    let call = inputs.call(None);
    let [d_outputs, d_states] = inputs.arriving();
    let mut run = || -> Result<(), Error> {
        let forward = kernel.forward(&call, true)?;
        kernel.backward(&call, forward.saved.as_ref(), &d_outputs, &d_states)?;
        Ok(())
    };
    let repeated = match clock {
        Clock::Wall => REPEATED,
        // The same work is the same count.
        Clock::Instructions => 1,
    };
    let mut times = vec![];
    while times.len() < repeated && times.iter().sum::<f64>() < SHORTEST {
        times.push(time(&mut run)?);
    }
    Ok(Sample::new(times).quantile(0.5))
}
