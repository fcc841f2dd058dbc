//! `baton emit`: the GPU kernels of a recurrence as PTX with a manifest, or any stage on the way.

mod entry;
mod errors;
mod maker;
mod shipped;

use crate::context::Context;
use crate::failure::Failure;
use crate::gpu::Dtype;
use crate::shape::Shape;
use crate::source::Source;
use crate::tools::Tools;
use baton_codegen::target::Gpu;
use baton_codegen::{Artifact, Compiler, Phase};
use baton_ir::recurrence::Recurrence;
use baton_ir::text::tile;
use baton_kernels::manifest::Manifest;
pub use entry::label;
use entry::{GENERATOR, entry};
use maker::refused;
pub use maker::{Maker, make_folder, write};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Sizes of dims that were not given.
const SIZE: usize = 64;

/// Write the GPU kernels of a recurrence as PTX, with a manifest
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton emit mamba2 --dtype bf16 --shape N=128,P=64 -o kernels\n  \
    baton emit mamba2 --level ptx --phase backward\n\n\
    A single step is the forward kernel on one step. Files that exist are replaced."
)]
pub struct Emit {
    /// A file, - for the standard input, or the name of a built-in recurrence
    #[arg(value_name = "FILE|NAME", required_unless_present_any = ["file", "shipped"], conflicts_with = "file")]
    place: Option<String>,
    /// The same as FILE
    #[arg(long, value_name = "F.rec")]
    file: Option<PathBuf>,
    /// Every kernel that is shipped (of the built-in recurrence NAME), compressed; what is there and unchanged is kept
    #[arg(long, requires = "output", conflicts_with_all = ["file", "shape", "schedule", "dtype", "target"])]
    shipped: bool,
    /// The GPU: sm_80 code runs on every later one too
    #[arg(long, default_value = "sm_80")]
    target: String,
    /// The dtype of matrices
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    /// Sizes of the dims; 64 for those not given
    #[arg(long, value_name = "K=64,V=64,..")]
    shape: Option<Shape>,
    /// Choices of the schedule: chunk, warps of a block, stages of the ring of copies, heads of a block
    #[arg(long, value_name = "chunk=64,warps=4,stages=3")]
    schedule: Option<Shape>,
    /// Print a stage of one kernel instead
    #[arg(long, value_enum, conflicts_with = "output")]
    level: Option<Level>,
    /// Which kernel is printed
    #[arg(long, value_enum, default_value = "forward", conflicts_with = "output")]
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
    chunk: usize,
    target: Gpu,
}

impl Emit {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        if let (true, Some(folder)) = (self.shipped, &self.output) {
            return shipped::write_all(context, folder, self.place.as_deref());
        }
        let work = self.work()?;
        match (self.level, &self.output) {
            (Some(level), _) => {
                let text = work.level(level, self.phase.phase())?;
                context
                    .output
                    .result(|| json!({ "text": text }), || text.clone())
            }
            (None, Some(folder)) => {
                let manifest = work.write(folder)?;
                context.output.result(
                    || json!(manifest),
                    || {
                        format!(
                            "{} kernels in {}\n",
                            manifest.kernels.len(),
                            folder.display()
                        )
                    },
                )
            }
            (None, None) => Err(Failure::new("neither --output nor --level given")),
        }
    }

    fn work(&self) -> Result<Work, Failure> {
        let source = Source::given(self.place.as_deref(), self.file.as_deref())?;
        let (recurrence, _) = source.verify()?;
        let names: Vec<&str> = recurrence.dims.iter().map(String::as_str).collect();
        let shape = self.shape.clone().unwrap_or_default();
        shape.only(&names)?;
        let sizes: Vec<usize> = names
            .iter()
            .map(|name| shape.get(name).unwrap_or(SIZE))
            .collect();
        let mut target = self.dtype.schedule(&self.target)?;
        let choices = self.schedule.clone().unwrap_or_default();
        choices.only_of("--schedule", &["chunk", "warps", "stages", "heads"])?;
        let choice = |name, allowed: &[usize], expected: &str| match choices.get(name) {
            Some(given) if !allowed.contains(&given) => Err(Failure::new(format!(
                "{name}={given} given, expected {expected}"
            ))),
            given => Ok(given),
        };
        if let Some(warps) = choice("warps", &[1, 2, 4, 8], "1, 2, 4 or 8")? {
            target.warps = Some(warps as u32);
        }
        if let Some(stages) = choice("stages", &[1, 2, 3, 4], "1 to 4")? {
            target.stages = stages as u32;
        }
        let beside = "1, 2 or 4 heads of a group side by side";
        if let Some(heads) = choice("heads", &[1, 2, 4], beside)? {
            target.heads = Some(heads as u32);
        }
        let compiler = Compiler::new(&recurrence, &sizes).map_err(|list| source.failure(list))?;
        let chunk = choice("chunk", &[16, 32, 64, 128], "16, 32, 64 or 128")?;
        let (compiler, chunk) = compiler.fit(&target, chunk).map_err(refused)?;
        let target = compiler.settled(&target);
        Ok(Work {
            source,
            recurrence,
            compiler,
            chunk,
            target,
        })
    }
}

impl Work {
    fn level(&self, level: Level, phase: Phase) -> Result<String, Failure> {
        let program = || {
            let Work {
                compiler, target, ..
            } = self;
            compiler.program_for(target, phase, self.chunk)
        };
        let ptx = || {
            let lowered = self.lower(phase)?;
            Maker::new().ptx(&lowered.program.name, &lowered.code.text)
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
            Level::Mlir => self.lower(phase)?.code.text,
            Level::Ptx => ptx()?,
            Level::Sass => Tools::find()?.assemble(&ptx()?, self.target.chip)?.sass()?,
        })
    }

    fn lower(&self, phase: Phase) -> Result<Artifact<Gpu>, Failure> {
        let made = self.compiler.compile(&self.target, phase, self.chunk);
        made.map_err(refused)
    }

    /// Makes every kernel, then writes them with the recurrence and the manifest, which it gives: one that cannot be
    /// made leaves nothing.
    fn write(&self, folder: &Path) -> Result<Manifest, Failure> {
        let maker = Maker::new();
        let (mut kernels, mut files) = (vec![], vec![]);
        for phase in self.compiler.phases(&self.target) {
            let lowered = self.lower(phase)?;
            let ptx = maker.ptx(&lowered.program.name, &lowered.code.text)?;
            let file = format!("{}.ptx", lowered.program.name);
            let Work {
                compiler, target, ..
            } = self;
            let name = file.clone();
            kernels.push(entry(compiler, target, phase, &lowered, &ptx, name));
            files.push((file, ptx));
        }
        let manifest = Manifest {
            generator: GENERATOR.into(),
            kernels,
            services: vec![],
            absent: vec![],
        };
        files.push((
            format!("{}.rec", self.recurrence.name),
            self.source.text.clone(),
        ));
        files.push(("manifest.json".into(), manifest.print()));
        make_folder(folder)?;
        for (file, text) in &files {
            write(&folder.join(file), text)?;
        }
        Ok(manifest)
    }
}
