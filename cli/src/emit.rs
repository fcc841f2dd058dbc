//! `baton emit`: the GPU kernels of a recurrence as PTX with a manifest, or any stage on the way.

use crate::Context;
use crate::failure::Failure;
use crate::gpu::Dtype;
use crate::shape::Shape;
use crate::source::Source;
use crate::tools::Tools;
use baton_codegen::backend::mlir::{self, Options, Toolchain, abi};
use baton_codegen::{Compiler, GpuArtifact, Phase};
use baton_ir::recurrence::Recurrence;
use baton_ir::text::tile;
use baton_ir::tile::{CarryRole, Pace, Role};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Sizes of dims that were not given.
const SIZE: usize = 64;
/// The kernels that a folder gets.
const PHASES: [Phase; 4] = [
    Phase::Forward,
    Phase::ForwardKeep,
    Phase::Entering,
    Phase::Backward,
];

/// Write the GPU kernels of a recurrence as PTX, with a manifest
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton emit mamba2 --dtype bf16 --shape N=128,P=64 -o kernels\n  \
    baton emit mamba2 --level ptx --phase backward\n\n\
    A single step is the forward kernel on one step. Files that exist are replaced."
)]
pub struct Emit {
    /// The name of a built-in recurrence
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    name: Option<String>,
    /// A file with the text of a recurrence
    #[arg(long, value_name = "F.rec")]
    file: Option<PathBuf>,
    /// The GPU: sm_80 code runs on every later one too
    #[arg(long, default_value = "sm_80")]
    target: String,
    /// The dtype of matrices
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    /// Sizes of the dims; 64 for those not given
    #[arg(long, value_name = "K=64,V=64,..")]
    shape: Option<Shape>,
    /// Choices of the schedule: chunk, warps of a block, stages of the ring of copies
    #[arg(long, value_name = "chunk=64,warps=4,stages=3")]
    schedule: Option<Shape>,
    /// Print a stage of one kernel instead
    #[arg(long, value_enum, conflicts_with = "output")]
    level: Option<Level>,
    /// Which kernel is printed
    #[arg(long, value_enum, default_value = "forward")]
    phase: Kernel,
    /// The folder to write to
    #[arg(short, long, required_unless_present = "level", value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Level {
    /// The chunk program
    Chunked,
    /// The tile program
    Tile,
    /// The module given to MLIR
    Mlir,
    /// The kernel
    Ptx,
    /// What ptxas makes of it
    Sass,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kernel {
    /// Outputs and leaving states
    Forward,
    /// The same, and the states that enter each chunk
    Keep,
    /// The states that enter each chunk
    Entering,
    /// Every gradient
    Backward,
}

impl Kernel {
    fn phase(self) -> Phase {
        match self {
            Kernel::Forward => Phase::Forward,
            Kernel::Keep => Phase::ForwardKeep,
            Kernel::Entering => Phase::Entering,
            Kernel::Backward => Phase::Backward,
        }
    }
}

/// What is compiled, and how.
struct Work {
    source: Source,
    recurrence: Recurrence,
    compiler: Compiler,
    sizes: Vec<usize>,
    chunk: usize,
    options: Options,
}

impl Emit {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let work = self.work()?;
        match (self.level, &self.output) {
            (Some(level), _) => {
                let text = work.level(level, self.phase.phase())?;
                context
                    .output
                    .result(|| json!({ "text": text }), || text.clone());
                Ok(())
            }
            (None, Some(folder)) => {
                let manifest = work.write(folder)?;
                let file = folder.join("manifest.json");
                let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
                write(&file, &format!("{text}\n"))?;
                context.output.result(
                    || manifest.clone(),
                    || format!("{} kernels in {}\n", PHASES.len(), folder.display()),
                );
                Ok(())
            }
            (None, None) => Err(Failure::new("neither --output nor --level given")),
        }
    }

    fn work(&self) -> Result<Work, Failure> {
        let source = match (&self.name, &self.file) {
            (_, Some(file)) => Source::file(file)?,
            (name, None) => Source::builtin(name.as_deref().unwrap_or_default())?,
        };
        let (recurrence, _) = source.verify()?;
        let names: Vec<&str> = recurrence.dims.iter().map(String::as_str).collect();
        let shape = self.shape.clone().unwrap_or_default();
        shape.only(&names)?;
        let sizes: Vec<usize> = names
            .iter()
            .map(|name| shape.get(name).unwrap_or(SIZE))
            .collect();
        let mut options = self.dtype.schedule(&self.target)?;
        let choices = self.schedule.clone().unwrap_or_default();
        choices.only(&["chunk", "warps", "stages"])?;
        if let Some(warps) = choices.get("warps") {
            if ![1, 2, 4, 8].contains(&warps) {
                return Err(Failure::new(format!(
                    "warps={warps} given, expected 1, 2, 4 or 8"
                )));
            }
            options.warps = Some(warps as u32);
        }
        if let Some(stages) = choices.get("stages") {
            if !(1..=4).contains(&stages) {
                return Err(Failure::new(format!(
                    "stages={stages} given, expected 1 to 4"
                )));
            }
            options.stages = stages as u32;
        }
        let compiler = Compiler::new(&recurrence, &sizes).map_err(|list| source.failure(list))?;
        let options = compiler.gpu_options(&options);
        let chunk = match choices.get("chunk") {
            Some(chunk) if [16, 32, 64, 128].contains(&chunk) => chunk,
            Some(chunk) => {
                return Err(Failure::new(format!(
                    "chunk={chunk} given, expected 16, 32, 64 or 128"
                )));
            }
            None => compiler.gpu_chunk(&options).map_err(refused)?,
        };
        Ok(Work {
            source,
            recurrence,
            compiler,
            sizes,
            chunk,
            options,
        })
    }
}

impl Work {
    fn level(&self, level: Level, phase: Phase) -> Result<String, Failure> {
        let program = || self.compiler.gpu_program(phase, self.chunk, &self.options);
        let ptx = || {
            self.compile(&Toolchain::new(), phase)
                .map(|made| made.kernel.ptx)
        };
        Ok(match level {
            Level::Chunked => {
                let (_, facts) = self.source.verify()?;
                let forward = baton_codegen::derive(&self.recurrence, &facts)
                    .map_err(|diagnostic| self.source.failure(vec![diagnostic]))?;
                let chunked = match phase {
                    Phase::Backward => baton_codegen::grad(&forward),
                    _ => forward,
                };
                baton_ir::text::chunked::print(&chunked)
            }
            Level::Tile => tile::print(&program()),
            Level::Mlir => mlir::lower(&program(), &self.options).map_err(refused)?.0,
            Level::Ptx => ptx()?,
            Level::Sass => Tools::find()?
                .assemble(&ptx()?, self.options.chip)?
                .sass()?,
        })
    }

    fn compile(&self, toolchain: &Toolchain, phase: Phase) -> Result<GpuArtifact, Failure> {
        let made = self
            .compiler
            .gpu(toolchain, phase, self.chunk, &self.options);
        made.map_err(refused)
    }

    /// Writes every kernel; gives the manifest.
    fn write(&self, folder: &Path) -> Result<Value, Failure> {
        std::fs::create_dir_all(folder)
            .map_err(|why| Failure::new(format!("cannot make `{}`: {why}", folder.display())))?;
        let toolchain = Toolchain::new();
        let mut kernels = vec![];
        for phase in PHASES {
            let made = self.compile(&toolchain, phase)?;
            let file = format!("{}.ptx", made.program.name);
            write(&folder.join(&file), &made.kernel.ptx)?;
            kernels.push(self.entry(&file, phase, &made));
        }
        Ok(json!({ "generator": env!("CARGO_PKG_VERSION"), "kernels": kernels }))
    }

    fn entry(&self, file: &str, phase: Phase, made: &GpuArtifact) -> Value {
        let program = &made.program;
        let text = baton_ir::text::print(&self.recurrence);
        let sizes: serde_json::Map<_, _> = (self.recurrence.dims.iter().cloned())
            .zip(self.sizes.iter().map(|size| json!(size)))
            .collect();
        let ports: Vec<Value> = (program.ports.iter())
            .map(|port| {
                let dtype = match abi::in_f32(port, &self.options) {
                    true => "f32",
                    false => self.options.storage.name(),
                };
                json!({
                    "name": port.name, "role": role(port.role), "pace": pace(port.pace),
                    "by_head": abi::by_head(port), "dims": port.dims, "dtype": dtype,
                })
            })
            .collect();
        let carries: Vec<Value> = (program.carries.iter())
            .map(|carry| json!({ "name": carry.name, "role": carry_role(carry.role), "dims": carry.dims }))
            .collect();
        json!({
            "file": file,
            "name": program.name,
            "recurrence": self.recurrence.name,
            "text_hash": format!("{:016x}", fnv1a(text.as_bytes())),
            "ptx_hash": format!("{:016x}", fnv1a(made.kernel.ptx.as_bytes())),
            "phase": label(phase),
            "target": self.options.chip,
            "dtype": self.options.storage.name(),
            "products": format!("{:?}", self.options.products).to_lowercase(),
            "sizes": sizes,
            "chunk": self.chunk,
            "warps": made.kernel.launch.threads / 32,
            "stages": made.kernel.launch.stages,
            "threads": made.kernel.launch.threads,
            "shared_bytes": made.kernel.launch.shared_bytes,
            "ports": ports,
            "carries": carries,
        })
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)
        .map_err(|why| Failure::new(format!("cannot write `{}`: {why}", file.display())))
}

fn refused(why: mlir::Error) -> Failure {
    Failure::new(why.to_string())
}

fn label(phase: Phase) -> &'static str {
    match phase {
        Phase::Forward => "forward",
        Phase::ForwardKeep => "keep",
        Phase::Entering => "entering",
        Phase::Backward => "backward",
        Phase::Summary => "summary",
        Phase::LogDecay => "log_decay",
        Phase::BackwardState => "backward_state",
    }
}

fn role(role: Role) -> String {
    match role {
        Role::Input(i) => format!("input {i}"),
        Role::Param(i) => format!("param {i}"),
        Role::Output(i) => format!("output {i}"),
        Role::DOutput(i) => format!("d_output {i}"),
        Role::DInput(i) => format!("d_input {i}"),
        Role::DParam(i) => format!("d_param {i}"),
        Role::Entering(i) => format!("entering {i}"),
    }
}

fn pace(pace: Pace) -> &'static str {
    match pace {
        Pace::Step => "step",
        Pace::Chunk => "chunk",
        Pace::Task => "task",
    }
}

fn carry_role(role: CarryRole) -> String {
    match role {
        CarryRole::State(i) => format!("state {i}"),
        CarryRole::DState(i) => format!("d_state {i}"),
        CarryRole::LogScalar(i) | CarryRole::LogRow(i) | CarryRole::LogCol(i) => {
            format!("log_decay {i}")
        }
    }
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
