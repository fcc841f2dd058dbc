//! The pipeline in one screen: verify, derive, differentiate, lower, emit.
//!
//! A [`Compiler`] holds the chunk programs of one recurrence; [`Compiler::program`] gives the tile
//! program of a [`Phase`], [`Compiler::compile`] its machine code. Everything a kernel needs to be
//! launched stands in the [`Artifact`]: a runtime sees nothing else.

use crate::backend::clif::{self, Code};
use crate::backend::mlir;
use crate::schedule::{SIDE_BY_SIDE, lower};
use crate::{derive, grad};
use baton_ir::chunked::{Chunked, Target};
use baton_ir::diag::Diagnostic;
use baton_ir::recurrence::{Class, Recurrence};
use baton_ir::tile::TileProgram;
use baton_ir::verify::verify;

/// What a kernel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Outputs and leaving states.
    Forward,
    /// The same, and the states that enter each chunk.
    ForwardKeep,
    /// Leaving states and the log decay of the range: what a segment does to any state.
    Summary,
    /// Leaving states and the states that enter each chunk: rebuilds what a backward needs.
    Entering,
    /// The log decay of the range alone.
    LogDecay,
    /// Every gradient, from the states that entered each chunk.
    Backward,
    /// Only the gradient of the entering state.
    BackwardState,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 7] = [
        Phase::Forward,
        Phase::ForwardKeep,
        Phase::Summary,
        Phase::Entering,
        Phase::LogDecay,
        Phase::Backward,
        Phase::BackwardState,
    ];

    fn label(self) -> &'static str {
        match self {
            Phase::Forward => "output_forward",
            Phase::ForwardKeep => "keep_forward",
            Phase::Summary => "summary_forward",
            Phase::Entering => "entering_forward",
            Phase::LogDecay => "decay_forward",
            Phase::Backward => "gradient_backward",
            Phase::BackwardState => "state_backward",
        }
    }

    fn keeps(self) -> bool {
        matches!(self, Phase::ForwardKeep | Phase::Entering)
    }

    fn wants(self, target: Target) -> bool {
        let log = matches!(
            target,
            Target::LogScalar(_) | Target::LogRow(_) | Target::LogCol(_)
        );
        match self {
            Phase::Forward | Phase::ForwardKeep => !log,
            Phase::Summary => log || matches!(target, Target::State(_)),
            Phase::Entering => matches!(target, Target::State(_)),
            Phase::LogDecay => log,
            Phase::Backward => true,
            Phase::BackwardState => matches!(target, Target::DState(_)),
        }
    }
}

/// The chunk programs of a recurrence with its sizes.
pub struct Compiler {
    recurrence: Recurrence,
    class: Class,
    sizes: Vec<usize>,
    forward: Chunked,
    reverse: Chunked,
}

/// A compiled kernel.
pub struct Artifact {
    /// Its tile program: name, chunk, ports and carries are the signature.
    pub program: TileProgram,
    /// The machine code.
    pub code: Code,
}

/// A kernel for a GPU before MLIR.
pub struct Lowered {
    /// Its tile program.
    pub program: TileProgram,
    /// MLIR's text: what the PTX depends on, all of it.
    pub text: String,
    /// How the kernel is launched.
    pub launch: mlir::Launch,
}

/// A kernel for a GPU.
pub struct GpuArtifact {
    /// Its tile program: name, chunk, ports and carries are the signature.
    pub program: TileProgram,
    /// The PTX.
    pub kernel: mlir::Kernel,
}

impl Compiler {
    /// Verifies and derives; `sizes` are those of the dims in order.
    pub fn new(recurrence: &Recurrence, sizes: &[usize]) -> Result<Self, Vec<Diagnostic>> {
        let facts = verify(recurrence)?;
        let forward = derive(recurrence, &facts).map_err(|diagnostic| vec![diagnostic])?;
        let reverse = grad(&forward);
        Ok(Self {
            recurrence: recurrence.clone(),
            class: facts.class,
            sizes: sizes.to_vec(),
            forward,
            reverse,
        })
    }

    /// The recurrence.
    pub fn recurrence(&self) -> &Recurrence {
        &self.recurrence
    }

    /// The sizes of its dims in words: `K=64, V=64`.
    pub fn sizes_text(&self) -> String {
        let dims = self.recurrence.dims.iter().zip(&self.sizes);
        let all: Vec<String> = dims.map(|(dim, size)| format!("{dim}={size}")).collect();
        all.join(", ")
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The name of the kernel of a phase.
    pub fn kernel_name(&self, phase: Phase) -> String {
        format!("{}_{}_f32_cpu", self.recurrence.name, phase.label())
    }

    /// The tile program of a phase for chunks of `chunk` steps.
    pub fn program(&self, phase: Phase, chunk: usize) -> TileProgram {
        let program = match phase {
            Phase::Backward | Phase::BackwardState => &self.reverse,
            _ => &self.forward,
        };
        let program = program.keep(|target| phase.wants(target));
        lower(
            &program,
            &self.sizes,
            chunk,
            phase.keeps(),
            self.kernel_name(phase),
        )
    }

    /// The machine code of a phase for chunks of `chunk` steps.
    pub fn compile(&self, phase: Phase, chunk: usize) -> Result<Artifact, clif::Error> {
        let program = self.program(phase, chunk);
        let code = clif::compile(&program)?;
        Ok(Artifact { program, code })
    }

    /// The phases that devices for GPUs run of this recurrence: those that leave anything.
    pub fn gpu_phases(&self) -> impl Iterator<Item = Phase> {
        let leaves = |phase: &Phase| !self.program(*phase, 16).effects.is_empty();
        Phase::ALL.into_iter().filter(leaves)
    }

    /// The tile program of a phase under its name for a GPU.
    pub fn gpu_program(&self, phase: Phase, chunk: usize, options: &mlir::Options) -> TileProgram {
        let (dtype, chip) = (options.storage.name(), options.chip);
        let mut program = self.program(phase, chunk);
        program.name = format!("{}_{}_{dtype}_{chip}", self.recurrence.name, phase.label());
        if options.heads() > 1 {
            program.name += &format!("_heads{}", options.heads());
        }
        program
    }

    /// The kernels that devices for GPUs run of this recurrence: every phase with one head a block, and
    /// where [`SIDE_BY_SIDE`] fit with those.
    pub fn gpu_kernels(&self, chunk: usize, options: &mlir::Options) -> Vec<(Phase, u32)> {
        let heads = |phase| {
            let wide = self.gpu_shares(phase, chunk, SIDE_BY_SIDE, options);
            [(phase, 1)]
                .into_iter()
                .chain(wide.then_some((phase, SIDE_BY_SIDE)))
        };
        self.gpu_phases().flat_map(heads).collect()
    }

    /// Whether a block can run `heads` heads of a group side by side, and gains by it.
    pub fn gpu_shares(
        &self,
        phase: Phase,
        chunk: usize,
        heads: u32,
        options: &mlir::Options,
    ) -> bool {
        let options = self.gpu_options(&options.with_heads(heads));
        mlir::fits_side_by_side(&self.gpu_program(phase, chunk, &options), &options)
    }

    /// `options` with a number of warps: four, or eight where each thread of four would hold 16 or more
    /// numbers of the states.
    pub fn gpu_options(&self, options: &mlir::Options) -> mlir::Options {
        let entries = |state: &baton_ir::recurrence::Port| -> usize {
            let sizes = state.shape.iter().map(|dim| self.sizes[dim.index()]);
            sizes.product()
        };
        let states: usize = self.recurrence.states.iter().map(entries).sum();
        let many = states * options.heads() as usize >= 4 * 32 * 16;
        let warps = options.warps.or(Some(if many { 8 } else { 4 }));
        mlir::Options {
            warps,
            ..options.clone()
        }
    }

    /// The longest chunk of which every kernel fits with one head a block, for runs whose backward
    /// reads what their forward kept; the reason of the shortest when none does. The diagonal class
    /// runs in chunks of 16: longer ones have more levels for each step, and overflow the registers.
    pub fn gpu_chunk(&self, options: &mlir::Options) -> Result<usize, mlir::Error> {
        let options = &self.gpu_options(&options.with_heads(1));
        let phases = [Phase::ForwardKeep, Phase::Entering, Phase::Backward];
        let fits = |chunk| {
            let lower = |phase| mlir::lower(&self.gpu_program(phase, chunk, options), options);
            phases
                .into_iter()
                .try_for_each(|phase| lower(phase).map(drop))
        };
        let longer: &[usize] = match self.class {
            Class::Diagonal => &[],
            _ => &[64, 32],
        };
        let found = longer.iter().copied().find(|&chunk| fits(chunk).is_ok());
        found.map_or_else(|| fits(16).map(|()| 16), Ok)
    }

    /// A phase for chunks of `chunk` steps as the text that PTX is made from.
    pub fn gpu(
        &self,
        phase: Phase,
        chunk: usize,
        options: &mlir::Options,
    ) -> Result<Lowered, mlir::Error> {
        let program = self.gpu_program(phase, chunk, options);
        let (text, launch) = mlir::lower(&program, &self.gpu_options(options))?;
        Ok(Lowered {
            program,
            text,
            launch,
        })
    }
}

impl Lowered {
    /// The artifact whose PTX was made from this text.
    pub fn with(self, ptx: String) -> GpuArtifact {
        GpuArtifact {
            program: self.program,
            kernel: mlir::Kernel {
                ptx,
                launch: self.launch,
            },
        }
    }
}
