//! `baton bench`: how long a recurrence takes on this machine, and how much of it that uses.
//!
//! The first thing done is a cold start, from the beginning of the process to the gradients of the
//! shape asked for, compile included. Then the same kernel is measured warm: forward, forward
//! with what a backward needs, backward and step take turns, so that a slow moment of the machine
//! falls on all of them. Freed memory is not part of any time.

mod check;
mod peak;

use crate::archive::Archive;
use crate::choices::{Choices, Origins, cpu};
use crate::context::Context;
use crate::device::{self, cpu_name};
use crate::failure::Failure;
use crate::numbers;
use crate::run::given::{gradient, plain};
use crate::shape::Shape;
use crate::source::Source;
use baton_codegen::schedule::Plan;
use baton_codegen::schedule::cost::{Cost, RunShape};
use baton_codegen::target::Native;
use baton_codegen::{Compiler, Phase};
use baton_ir::recurrence::Recurrence;
use baton_runtime::{Call, Kernel, Options, Tensor};
use baton_tune::Inputs;
use baton_tune::sample::{Sample, timed};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Runs before any that is measured.
const WARM: usize = 2;
/// Runs that are measured however long they take.
const FEWEST: usize = 3;
/// Steps measured for each repetition of a whole run.
const STEPS: usize = 20;
/// The most repetitions of a compile.
const COMPILES: usize = 5;

/// Measure a recurrence on this machine's CPU
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton bench mamba2 --shape B=1,T=2048,H=80,P=64,N=128,G=1 --threads 2 --json\n\n\
    Times are medians with p10, p90 and the minimum. FLOPs are the multiplies and adds of products\n\
    (causal ones halved), bytes those of inputs, outputs and states; the share is of this machine's\n\
    own peak, measured with fused multiply-adds on as many threads. The cold start runs from the\n\
    beginning of the process to the first gradients, compile and making of inputs included."
)]
pub struct Bench {
    /// A file, - for the standard input, or the name of a built-in recurrence
    #[arg(value_name = "FILE|NAME")]
    place: String,

    /// Sizes: T, H and every dim of the recurrence; B and G are 1 when absent
    #[arg(long, value_name = "B=1,T=2048,H=80,..")]
    shape: Shape,

    /// Measure on the tensors of this file, named as for `baton run`; those that it lacks are drawn
    #[arg(long, value_name = "IN.safetensors")]
    inputs: Option<PathBuf>,

    /// Threads; every core when absent
    #[arg(long, value_name = "N", value_parser = device::threads())]
    threads: Option<usize>,

    /// Runs that are measured
    #[arg(long, value_name = "N", default_value = "15", value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,

    /// Measure no more after so many seconds, but three runs at least
    #[arg(long, value_name = "S", value_parser = numbers::time)]
    seconds: Option<f64>,

    /// Steps of a chunk; those of the plan when absent
    #[arg(long, value_name = "C", value_parser = device::chunk())]
    chunk: Option<usize>,

    /// Whose choices plans are made by
    #[arg(long, value_enum, default_value = "own")]
    choices: Choices,

    /// Compare outputs and all gradients of these kernels with the f64 interpreter first, and fail if they are wrong:
    /// on small drawn runs, or with --inputs on the run that is measured
    #[arg(long)]
    check: bool,
}

impl Bench {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let source = Source::find(&self.place)?;
        let (recurrence, facts) = source.verify()?;
        let (sizes, run) = self.shape.run(&recurrence)?;
        let threads = match self.threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let store = Arc::new(self.choices.store()?);
        let device = cpu(store.clone(), Some(threads))?;
        let options = Options {
            chunk: self.chunk,
            ..Options::default()
        };
        let kernel =
            (device.load(&recurrence, &sizes, &options)).map_err(|error| source.refused(error))?;
        let (tensors, inputs_ms) = timed(|| {
            let mut drawn = Inputs::new(&recurrence, &facts, &sizes, run);
            self.put_given(&recurrence, &mut drawn).map(|()| drawn)
        });
        let tensors = tensors?;
        let subject = Subject {
            kernel: &*kernel,
            tensors: &tensors,
        };
        subject.cold()?;
        let cold_start_ms = context.started.elapsed().as_secs_f64() * 1e3;

        let new = || Compiler::of_any(&recurrence, &sizes).map_err(|list| source.failure(list));
        let tuned = baton_tune::Subject::new(
            recurrence.clone(),
            facts.clone(),
            sizes.clone(),
            run,
            threads,
        );
        let tuned = tuned.map_err(|list| source.failure(list))?;
        let compiler = &tuned.compiler;
        let origins = Origins::new(&store, compiler, tuned.load(), self.chunk);
        let plan = origins.plan();
        let given = || self.inputs.is_some().then(|| tensors.clone());
        let checked = self
            .check
            .then(|| check::errors(&tuned, plan, given()))
            .transpose()?;
        let longest = self.seconds.map_or(f64::INFINITY, |seconds| 1e3 * seconds);
        let times = subject.measure(self.repetitions as usize, longest)?;
        let compile = self.compile(new, plan)?;
        let peak = peak::measure(threads);

        let f32s = |_: &_| size_of::<f32>() as u64;
        let count = |phase, chunk, run| Some(Cost::new(&compiler.program(phase, chunk), run, f32s));
        let one = RunShape { time: 1, ..run };
        let [forward, keep, backward, step] = times.map(Sample::new);
        let parts = [
            ("forward", forward, count(Phase::Forward, plan.chunk, run)),
            (
                "forward_keep",
                keep,
                count(Phase::ForwardKeep, plan.chunk, run),
            ),
            (
                "backward",
                backward,
                count(Phase::Backward, plan.chunk, run),
            ),
            ("step", step, count(Phase::Forward, 1, one)),
            ("compile", Sample::new(compile), None),
        ];
        let shape = self.named(&recurrence, &sizes, run);
        let cpu = cpu_name();
        let value = || {
            let mut value = json!({
                "recurrence": recurrence.name,
                "class": facts.class().name(),
                "device": device.name(),
                "dtype": "f32",
                "shape": shape,
                "threads": threads,
                "chunk": plan.chunk,
                "plan": origins.data(),
                "segment": plan.segment.map(|chunks| chunks * plan.chunk),
                "cold_start_ms": cold_start_ms,
                "inputs_ms": inputs_ms,
                "machine": {
                    "cpu": cpu,
                    "peak_gflops": peak.flops * 1e-9,
                    "peak_instructions": peak.instructions,
                },
            });
            for (name, sample, cost) in &parts {
                value[*name] = sample.data(cost.as_ref(), peak.flops);
            }
            if let Some(errors) = checked {
                value["checked_error"] = json!(errors);
            }
            value
        };
        let text = || {
            let list: Vec<_> = shape
                .iter()
                .map(|(name, size)| format!("{name}={size}"))
                .collect();
            let mut text = format!(
                "{} {} f32, chunk {}, {threads} threads\n{cpu}, peak {:.1} GFLOP/s ({})\nplan: {}\n\n\
                 {:<13}{:>12}{:>12}{:>12}{:>12}{:>10}{:>9}\n",
                recurrence.name,
                list.join(" "),
                plan.chunk,
                peak.flops * 1e-9,
                peak.instructions,
                origins.text(),
                "ms",
                "median",
                "p10",
                "p90",
                "min",
                "GFLOP/s",
                "of peak",
            );
            for (name, sample, cost) in &parts {
                let [median, p10, p90, min] =
                    [0.5, 0.1, 0.9, 0.0].map(|share| sample.quantile(share));
                text += &format!("{name:<13}{median:>12.3}{p10:>12.3}{p90:>12.3}{min:>12.3}");
                // A chunk of one step has no products, which are what is counted.
                if cost.as_ref().is_some_and(|cost| cost.flops.products == 0) {
                    text += &format!("{:>10}{:>9}", "-", "-");
                } else if let Some(cost) = cost {
                    let rate = cost.flops.products as f64 / (median * 1e-3);
                    text += &format!("{:>10.1}{:>8.1}%", rate * 1e-9, 100.0 * rate / peak.flops);
                }
                text.push('\n');
            }
            text += &format!(
                "cold start   {cold_start_ms:>12.3}   (making of inputs {inputs_ms:.3})\n"
            );
            if let Some(errors) = checked {
                text += &format!(
                    "relative errors: outputs {:.1e}, gradients {:.1e}\n",
                    errors.outputs, errors.gradients
                );
            }
            text
        };
        context.output.result(value, text)
    }

    /// Puts the tensors of the file in place of those that were drawn.
    fn put_given(&self, recurrence: &Recurrence, drawn: &mut Inputs) -> Result<(), Failure> {
        let Some(path) = &self.inputs else {
            return Ok(());
        };
        let archive = Archive::read(path)?;
        let Recurrence {
            inputs,
            params,
            states,
            outputs,
            ..
        } = recurrence;
        let names = (inputs.iter().chain(params).chain(states).map(plain))
            .chain(outputs.iter().map(gradient));
        let places = (drawn.inputs.iter_mut())
            .chain(&mut drawn.params)
            .chain(&mut drawn.states)
            .chain(&mut drawn.d_outputs);
        let mut unused = archive.names();
        for (name, place) in names.zip(places) {
            unused.retain(|other| *other != name);
            let Some(given) = archive.take::<f32>(&name)? else {
                continue;
            };
            if given.shape != place.shape {
                return Err(Failure::new(format!(
                    "tensor `{name}` has shape {:?}, expected {:?} as --shape says",
                    given.shape, place.shape
                )));
            }
            *place = given;
        }
        match unused.first() {
            None => Ok(()),
            Some(name) => Err(Failure::new(format!(
                "tensor `{name}` has no place in a measurement of `{}`: expected its inputs, params, states and \
                 d_<output>",
                recurrence.name
            ))),
        }
    }

    /// Times from the recurrence to the machine code of a forward and a backward run.
    fn compile(
        &self,
        new: impl Fn() -> Result<Compiler, Failure>,
        plan: &Plan,
    ) -> Result<Vec<f64>, Failure> {
        let once = || -> Result<(), Failure> {
            let compiler = new()?;
            for phase in [Phase::ForwardKeep, Phase::Backward] {
                (compiler.emit(&Native, compiler.planned(phase, plan)))
                    .map_err(|why| Failure::new(why.to_string()))?;
            }
            Ok(())
        };
        (0..COMPILES.min(self.repetitions as usize))
            .map(|_| {
                let (result, time) = timed(once);
                result.map(|()| time)
            })
            .collect()
    }

    /// The sizes by name, as --shape takes them.
    fn named(&self, recurrence: &Recurrence, sizes: &[usize], run: RunShape) -> Map<String, Value> {
        let RunShape {
            batch,
            time,
            heads,
            groups,
            ..
        } = run;
        let shared = recurrence.inputs.iter().any(|port| port.per_group);
        let outer = [("B", batch), ("T", time), ("H", heads), ("G", groups)].into_iter();
        let outer = outer.filter(|(name, _)| shared || *name != "G");
        let outer = outer.map(|(name, size)| (name.to_string(), json!(size)));
        let inner = recurrence
            .dims
            .iter()
            .cloned()
            .zip(sizes.iter().map(|size| json!(size)));
        outer.chain(inner).collect()
    }
}

/// A kernel and what it is measured on.
struct Subject<'a> {
    kernel: &'a dyn Kernel,
    tensors: &'a Inputs,
}

impl Subject<'_> {
    /// A first forward and backward run.
    fn cold(&self) -> Result<(), Failure> {
        let call = self.tensors.call(None);
        let [d_outputs, d_states] = self.tensors.arriving();
        let forward = self.kernel.forward(&call, true)?;
        self.kernel
            .backward(&call, forward.saved.as_ref(), &d_outputs, &d_states)?;
        Ok(())
    }

    /// Milliseconds of forward, forward with what a backward needs, backward and step; no more of them once they took
    /// `longest` milliseconds.
    fn measure(&self, repetitions: usize, longest: f64) -> Result<[Vec<f64>; 4], Failure> {
        let call = self.tensors.call(None);
        let [d_outputs, d_states] = self.tensors.arriving();
        let first: Vec<Tensor> = self.tensors.inputs.iter().map(first_step).collect();
        let step = Call {
            inputs: first.iter().map(Tensor::view).collect(),
            states: vec![None; self.tensors.states.len()],
            ..call.clone()
        };
        let mut states = self.tensors.states.clone();
        let mut times = [const { vec![] }; 4];
        for round in 0..WARM + repetitions {
            let measured: f64 = times.iter().flatten().sum();
            if times[0].len() >= FEWEST && measured >= longest {
                break;
            }
            let (forward, forward_ms) = timed(|| self.kernel.forward(&call, false));
            drop(forward?);
            let (kept, keep_ms) = timed(|| self.kernel.forward(&call, true));
            let saved = kept?.saved;
            let backward = || {
                self.kernel
                    .backward(&call, saved.as_ref(), &d_outputs, &d_states)
            };
            let (gradients, backward_ms) = timed(backward);
            drop(gradients?);
            if round >= WARM {
                times[0].push(forward_ms);
                times[1].push(keep_ms);
                times[2].push(backward_ms);
            }
            for _ in 0..STEPS {
                let (outputs, step_ms) = timed(|| self.kernel.step(&step, &mut states));
                outputs?;
                if round >= WARM {
                    times[3].push(step_ms);
                }
            }
        }
        Ok(times)
    }
}

/// The first step of an input `[B, T, H, dims...]`.
fn first_step(input: &Tensor) -> Tensor {
    let mut view = input.view();
    view.shape[1] = 1;
    view.to_tensor()
}
