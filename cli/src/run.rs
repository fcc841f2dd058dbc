//! `baton run`: a recurrence on tensors of a file, forward and with all gradients.
//!
//! What the file holds is compared with what the recurrence declares before anything runs: every
//! name, then types, then shapes (the last by the runtime, so that every caller gets the same
//! words). The sizes of the dims are those of the tensors.

pub mod given;

use crate::archive::{Archive, Element, label, pack, wrong_dtype};
use crate::choices::{self, Choices, Origins};
use crate::context::Context;
use crate::device::{self, Name};
use crate::failure::Failure;
use crate::gpu;
use crate::scheduled::Scheduled;
use crate::source::Source;
use baton_codegen::Compiler;
use baton_codegen::schedule::Load;
use baton_data::files::Target;
use baton_ir::recurrence::{Port, Recurrence};
use baton_runtime::device::check::{bind, infer_sizes};
use baton_runtime::device::interpreter::{backward64, forward64};
use baton_runtime::{Call, Error, Forward, Gradients, Options, Tensor, View};
use baton_tune::{Schedule, Store};
use given::{OFFSETS, gradient, plain};
use safetensors::tensor::Dtype;
use serde_json::{Map, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Run a recurrence on the tensors of a safetensors file
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton run mamba2 --inputs in.safetensors --output out.safetensors --grad\n\n\
    The inputs hold, in row-major order:\n  \
    each input   [B, T, H, dims...]   ([B, T, G, dims...] when it is per group)\n  \
    each param   [H, dims...]\n  \
    each state   [B, H, dims...]      optional, zero when absent\n  \
    cu_seqlens   [S + 1], i32 or i64  optional, offsets of packed sequences: B is 1 and states\n                                    \
    are [S, H, dims...]\n  \
    d_<output>, d_<state>             with --grad, one at least: the gradients that arrive, zero where absent\n\n\
    The output holds each output, each final state under the state's name and, with --grad,\n\
    d_<input>, d_<param> and d_<state>, the gradient of the state in. Tensors are f32, or all f64\n\
    with --device interpreter."
)]
pub struct Run {
    /// A file, - for the standard input, or the name of a built-in recurrence
    #[arg(
        value_name = "FILE|NAME",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    place: Option<String>,

    /// The same as FILE
    #[arg(long, value_name = "F.rec")]
    file: Option<PathBuf>,

    /// The tensors to read; - is the standard input
    #[arg(long, value_name = "IN.safetensors")]
    inputs: PathBuf,

    /// The tensors to write; an existing file is replaced when all went well
    #[arg(long, value_name = "OUT.safetensors")]
    output: PathBuf,

    /// Compute every gradient too
    #[arg(long)]
    grad: bool,

    /// Steps of a chunk; those of the plan when absent
    #[arg(long, value_name = "C", value_parser = device::chunk())]
    chunk: Option<usize>,

    /// Threads; every core when absent
    #[arg(long, value_name = "N", value_parser = device::threads())]
    threads: Option<usize>,

    /// Where it runs
    #[arg(long, value_enum, default_value = "cpu")]
    device: Name,

    /// The dtype of matrices on a GPU and its emulator; tensors of files are f32 in any case
    #[arg(long, value_enum)]
    dtype: Option<gpu::Dtype>,

    /// Whose choices plans are made by on the CPU
    #[arg(long, value_enum, default_value = "own")]
    choices: Choices,
}

impl Run {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let source = Source::given(self.place.as_deref(), self.file.as_deref())?;
        let (recurrence, _) = source.verify()?;
        self.used()?;
        let text = self.place.as_deref().map(Path::new);
        let read = [Some(self.inputs.as_path()), self.file.as_deref(), text];
        let target = Target::new(&self.output)?.spares(read.into_iter().flatten())?;
        let archive = Archive::read(&self.inputs)?;
        given::names(&recurrence, &archive.names(), self.grad)?;
        match self.dtype(&recurrence, &archive)? {
            Dtype::F64 => self.execute::<f64>(context, &source, &recurrence, &archive, &target),
            _ => self.execute::<f32>(context, &source, &recurrence, &archive, &target),
        }
    }

    /// Refuses what the interpreter has no use for: it goes step by step, in f64.
    fn used(&self) -> Result<(), Failure> {
        if self.device != Name::Interpreter {
            return Ok(());
        }
        let dtype = self.dtype.filter(|&dtype| dtype != gpu::Dtype::F32);
        let given = match (self.chunk, dtype) {
            (Some(chunk), _) => format!("--chunk {chunk}"),
            (None, Some(dtype)) => format!("--dtype {}", dtype.name()),
            (None, None) => return Ok(()),
        };
        Err(Failure::new(format!(
            "{given} given with --device interpreter, which computes in f64 step by step: expected it without"
        )))
    }

    /// The one type of all tensors but the offsets.
    fn dtype(&self, recurrence: &Recurrence, archive: &Archive) -> Result<Dtype, Error> {
        let expected = match self.device {
            Name::Interpreter => &[Dtype::F32, Dtype::F64][..],
            _ => &[Dtype::F32][..],
        };
        let first = &recurrence.inputs[0].name;
        let mut common = None;
        let rest = archive
            .names()
            .into_iter()
            .filter(|name| name != first && name != OFFSETS);
        for name in [first.clone()].into_iter().chain(rest) {
            let Some(given) = archive.dtype(&name) else {
                continue;
            };
            if !expected.contains(&given) {
                return Err(wrong_dtype(
                    &name,
                    given,
                    match self.device {
                        Name::Interpreter => "f32 or f64",
                        _ => "f32 (or f64 with --device interpreter)",
                    },
                ));
            }
            if *common.get_or_insert(given) != given {
                let expected = format!("{} as `{first}` does", label(common.unwrap_or(given)));
                return Err(wrong_dtype(&name, given, &expected));
            }
        }
        Ok(common.unwrap_or(Dtype::F32))
    }

    /// The plan of a run on the CPU, and where it comes from.
    fn origins<T: Copy>(
        &self,
        store: &Store,
        source: &Source,
        recurrence: &Recurrence,
        sizes: &[usize],
        call: &Call<'_, T>,
    ) -> Result<Origins, Failure> {
        let (compiler, load) = self.load(source, recurrence, sizes, call)?;
        Ok(Origins::new(store, &compiler, load, self.chunk))
    }

    /// The schedule of a run on a GPU or its emulator.
    fn scheduled<T: Copy>(
        &self,
        source: &Source,
        recurrence: &Recurrence,
        sizes: &[usize],
        call: &Call<'_, T>,
    ) -> Result<Scheduled, Failure> {
        match (self.device, self.choices, self.chunk) {
            (Name::Cuda | Name::Emulator, Choices::Own, None) => {
                let (compiler, load) = self.load(source, recurrence, sizes, call)?;
                Scheduled::own(self.device, self.dtype.unwrap_or_default(), &compiler, load)
            }
            _ => Ok(Scheduled::rules()),
        }
    }

    fn load<T: Copy>(
        &self,
        source: &Source,
        recurrence: &Recurrence,
        sizes: &[usize],
        call: &Call<'_, T>,
    ) -> Result<(Compiler, Load), Failure> {
        let compiler = Compiler::of_any(recurrence, sizes).map_err(|list| source.failure(list))?;
        let extent = bind(recurrence, sizes, call)?;
        let lengths: Vec<usize> = match call.cu_seqlens {
            Some(ends) => ends
                .windows(2)
                .map(|two| (two[1] - two[0]) as usize)
                .collect(),
            None => vec![extent.time; extent.batch],
        };
        let load = compiler.load(lengths, [extent.heads, extent.groups]);
        Ok((compiler, load))
    }

    fn execute<T: Real>(
        &self,
        context: &Context,
        source: &Source,
        recurrence: &Recurrence,
        archive: &Archive,
        target: &Target,
    ) -> Result<(), Failure> {
        let take = |ports: &[Port]| -> Result<Vec<Option<Tensor<T>>>, Error> {
            ports.iter().map(|port| archive.take(&port.name)).collect()
        };
        let arriving = |ports: &[Port]| -> Result<Vec<Option<Tensor<T>>>, Error> {
            ports
                .iter()
                .map(|port| archive.take(&gradient(port)))
                .collect()
        };
        let (inputs, params) = (take(&recurrence.inputs)?, take(&recurrence.params)?);
        let states = take(&recurrence.states)?;
        let offsets = archive.offsets(OFFSETS)?;
        let call = Call {
            inputs: inputs.iter().flatten().map(Tensor::view).collect(),
            params: params.iter().flatten().map(Tensor::view).collect(),
            states: views(&states),
            cu_seqlens: offsets.as_deref(),
        };
        let (d_outputs, d_states) = (
            arriving(&recurrence.outputs)?,
            arriving(&recurrence.states)?,
        );
        let arriving = Arriving {
            outputs: views(&d_outputs),
            states: views(&d_states),
        };
        let sizes = infer_sizes(recurrence, &call)?;
        given::exchanged(recurrence, &call)?;
        if let Some(note) = given::doubtful(recurrence, &call) {
            context.output.note(&note);
        }
        let store = Arc::new(self.choices.store()?);
        let scheduled = self.scheduled(source, recurrence, &sizes, &call)?;
        let begun = Instant::now();
        let arriving = self.grad.then_some(&arriving);
        let made = Made {
            store: &store,
            schedule: scheduled.schedule,
        };
        let (forward, gradients) = T::compute(self, made, recurrence, &sizes, &call, arriving)
            .map_err(|error| source.refused(error))?;
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3;

        let mut results = vec![];
        let mut add = |ports: &[Port], name: fn(&Port) -> String, tensors: Vec<Tensor<T>>| {
            results.extend(ports.iter().map(name).zip(tensors));
        };
        add(&recurrence.outputs, plain, forward.outputs);
        add(&recurrence.states, plain, forward.states);
        if let Some(gradients) = gradients {
            add(&recurrence.inputs, gradient, gradients.inputs);
            add(&recurrence.params, gradient, gradients.params);
            add(&recurrence.states, gradient, gradients.states);
        }
        target.write(&pack(&results)?)?;
        let device = self.device.text();
        let origins = match self.device {
            Name::Cpu => Some(self.origins(&store, source, recurrence, &sizes, &call)?),
            _ => None,
        };
        context.output.result(
            || {
                let sizes: Map<_, _> = (recurrence.dims.iter().cloned())
                    .zip(sizes.iter().map(|size| json!(size)))
                    .collect();
                let written: Map<_, _> = (results.iter())
                    .map(|(name, tensor)| (name.clone(), json!(tensor.shape)))
                    .collect();
                json!({
                    "recurrence": recurrence.name,
                    "device": device,
                    "dtype": label(T::DTYPE),
                    "sizes": sizes,
                    "output": self.output.display().to_string(),
                    "tensors": written,
                    "milliseconds": milliseconds,
                    "plan": match self.device {
                        Name::Cuda | Name::Emulator => Some(scheduled.data()),
                        _ => origins.as_ref().map(Origins::data),
                    },
                })
            },
            || {
                let mut text = format!(
                    "{} on {device}, {milliseconds:.1} ms: {}\n",
                    recurrence.name,
                    self.output.display()
                );
                if let Some(origins) = &origins {
                    text.push_str(&format!("  plan         {}\n", origins.text()));
                }
                if let Name::Cuda | Name::Emulator = self.device {
                    text.push_str(&format!("  schedule     {}\n", scheduled.text()));
                }
                for (name, tensor) in &results {
                    text.push_str(&format!("  {name:<12} {:?}\n", tensor.shape));
                }
                text
            },
        )
    }
}

fn views<T: Copy>(tensors: &[Option<Tensor<T>>]) -> Vec<Option<View<'_, T>>> {
    tensors
        .iter()
        .map(|tensor| tensor.as_ref().map(Tensor::view))
        .collect()
}

/// The gradients that arrive.
struct Arriving<'a, T> {
    outputs: Vec<Option<View<'a, T>>>,
    states: Vec<Option<View<'a, T>>>,
}

/// Results of a forward run, and of a backward run where there was one.
type Results<T> = (Forward<T>, Option<Gradients<T>>);

/// What a run is made by, beside its options.
struct Made<'a> {
    store: &'a Arc<Store>,
    schedule: Option<Schedule>,
}

/// A type that recurrences are run in.
trait Real: Element {
    fn compute(
        run: &Run,
        made: Made<'_>,
        recurrence: &Recurrence,
        sizes: &[usize],
        call: &Call<'_, Self>,
        arriving: Option<&Arriving<'_, Self>>,
    ) -> Result<Results<Self>, Error>;
}

impl Real for f32 {
    fn compute(
        run: &Run,
        made: Made<'_>,
        recurrence: &Recurrence,
        sizes: &[usize],
        call: &Call<'_>,
        arriving: Option<&Arriving<'_, f32>>,
    ) -> Result<Results<f32>, Error> {
        let device = match (run.device, run.dtype) {
            (Name::Cpu, None | Some(gpu::Dtype::F32)) => {
                choices::cpu(made.store.clone(), run.threads)
            }
            (name, dtype) => match made.schedule {
                Some(schedule) => device::scheduled(name, dtype, &schedule),
                None => device::chosen(name, dtype, run.threads),
            },
        }?;
        let options = Options {
            chunk: run.chunk.or(made.schedule.map(|schedule| schedule.chunk)),
            ..Options::default()
        };
        let kernel = device.load(recurrence, sizes, &options)?;
        let forward = kernel.forward(call, run.grad)?;
        let gradients = arriving
            .map(|d| kernel.backward(call, forward.saved.as_ref(), &d.outputs, &d.states))
            .transpose()?;
        Ok((forward, gradients))
    }
}

impl Real for f64 {
    fn compute(
        _: &Run,
        _: Made<'_>,
        recurrence: &Recurrence,
        sizes: &[usize],
        call: &Call<'_, f64>,
        arriving: Option<&Arriving<'_, f64>>,
    ) -> Result<Results<f64>, Error> {
        let forward = forward64(recurrence, sizes, call)?;
        let gradients = arriving
            .map(|d| backward64(recurrence, sizes, call, &d.outputs, &d.states))
            .transpose()?;
        Ok((forward, gradients))
    }
}
