//! The pipeline in one screen: verify, derive, differentiate, lower, emit.
//!
//! A [`Compiler`] holds the chunk programs of one recurrence; [`Compiler::program`] gives the tile
//! program of a [`Phase`], [`Compiler::compile`] its kernel for a [`Target`]. Everything a kernel needs to
//! be launched stands in the [`Artifact`]: a runtime sees nothing else.

mod choose;

use crate::derive::{Summary, matrices, summaries};
use crate::schedule::{Load, Plan, Strips, Traits, across, lower_strip};
use crate::step::{derive_any, step};
use crate::target::{Artifact, Native, Target};
use crate::{derive, grad};
use baton_ir::chunked::{self, Chunked};
use baton_ir::diag::Diagnostic;
use baton_ir::recurrence::{Class, DimId, Facts, Port, Recurrence};
use baton_ir::tile::TileProgram;
use baton_ir::verify::{typing, verify};

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
    /// What a segment does to the states that are read in their own update, from the identity: matrices.
    Transition,
    /// Every gradient, from the states that entered each chunk.
    Backward,
    /// Only the gradient of the entering state.
    BackwardState,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 8] = [
        Phase::Forward,
        Phase::ForwardKeep,
        Phase::Summary,
        Phase::Entering,
        Phase::LogDecay,
        Phase::Transition,
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
            Phase::Transition => "transition_forward",
            Phase::Backward => "gradient_backward",
            Phase::BackwardState => "state_backward",
        }
    }

    fn is_of_segments(self) -> bool {
        matches!(
            self,
            Phase::Summary | Phase::LogDecay | Phase::Transition | Phase::BackwardState
        )
    }

    fn keeps(self) -> bool {
        matches!(self, Phase::ForwardKeep | Phase::Entering)
    }

    fn wants(self, target: chunked::Target) -> bool {
        use chunked::Target::{DState, LogCol, LogRow, LogScalar, State};
        let log = matches!(target, LogScalar(_) | LogRow(_) | LogCol(_));
        match self {
            Phase::Forward | Phase::ForwardKeep => !log,
            Phase::Summary => log || matches!(target, State(_)),
            Phase::Entering | Phase::Transition => matches!(target, State(_)),
            Phase::LogDecay => log,
            Phase::Backward => true,
            Phase::BackwardState => matches!(target, DState(_)),
        }
    }
}

/// The chunk programs of a recurrence with its sizes.
#[derive(Clone)]
pub struct Compiler {
    recurrence: Recurrence,
    class: Class,
    traits: Traits,
    /// Sizes of the dims; of a strip where a dim is cut.
    sizes: Vec<usize>,
    strips: Option<Strips>,
    steps: bool,
    chunks: Pair,
    summaries: Vec<Summary>,
    /// Those of a step whose heads can be the rows of tiles.
    rows: Option<Pair>,
}

/// The programs of both directions, and that of summaries which are matrices, if there are any.
#[derive(Clone)]
struct Pair {
    forward: Chunked,
    reverse: Chunked,
    matrices: Option<Chunked>,
}

impl Pair {
    fn of(forward: Chunked) -> Pair {
        Pair {
            reverse: grad(&forward),
            forward,
            matrices: None,
        }
    }

    fn phase(&self, phase: Phase) -> Option<&Chunked> {
        match phase {
            Phase::Backward | Phase::BackwardState => Some(&self.reverse),
            Phase::Transition => self.matrices.as_ref(),
            _ => Some(&self.forward),
        }
    }
}

impl Compiler {
    /// Verifies and derives; `sizes` are those of the dims in order. Refuses what has no chunked form.
    pub fn new(recurrence: &Recurrence, sizes: &[usize]) -> Result<Self, Vec<Diagnostic>> {
        let facts = verify(recurrence)?;
        let forward = derive(recurrence, &facts).map_err(|diagnostic| vec![diagnostic])?;
        Ok(Self::of(recurrence, sizes, &facts, forward, false))
    }

    /// The same for everything that verifies: what has no chunked form is compiled step by step. Refuses inputs
    /// that are matrices. Where no state is a matrix it has the programs of a step too, for heads as rows.
    pub fn of_any(recurrence: &Recurrence, sizes: &[usize]) -> Result<Self, Vec<Diagnostic>> {
        let facts = verify(recurrence)?;
        let (forward, steps) =
            derive_any(recurrence, &facts).map_err(|diagnostic| vec![diagnostic])?;
        let mut compiler = Self::of(recurrence, sizes, &facts, forward, steps);
        let mut ports = recurrence.states.iter().chain(&recurrence.inputs);
        if ports.all(|port| port.shape.len() < 2) {
            let pair = match steps {
                true => compiler.chunks.clone(),
                false => Pair::of(step(recurrence, &typing::check(recurrence)?)),
            };
            compiler.rows = Some(pair);
            let fits = |phase| compiler.across(phase, 2).is_some();
            if ![Phase::ForwardKeep, Phase::Backward].into_iter().all(fits) {
                compiler.rows = None;
            }
        }
        Ok(compiler)
    }

    fn of(
        recurrence: &Recurrence,
        sizes: &[usize],
        facts: &Facts,
        forward: Chunked,
        steps: bool,
    ) -> Self {
        Self {
            recurrence: recurrence.clone(),
            class: facts.class(),
            traits: Traits::of(recurrence, facts, sizes),
            sizes: sizes.to_vec(),
            strips: None,
            steps,
            chunks: Pair {
                matrices: (!steps).then(|| matrices(recurrence, facts)).flatten(),
                ..Pair::of(forward)
            },
            summaries: summaries(facts),
            rows: None,
        }
    }

    /// The same of one strip of a dim that is cut.
    pub fn in_strips(&self, strips: Strips) -> Compiler {
        let width = self.sizes[strips.dim.index()] / strips.count;
        Compiler {
            strips: Some(strips),
            ..self.resized(strips.dim, width)
        }
    }

    /// The same with another size of a dim.
    pub fn resized(&self, dim: DimId, size: usize) -> Compiler {
        let mut resized = self.clone();
        resized.sizes[dim.index()] = size;
        resized
    }

    /// Of which strips its sizes are those of one.
    pub fn strips(&self) -> Option<Strips> {
        self.strips
    }

    /// Sizes of the dims that its kernels have.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The forward chunk program.
    pub(crate) fn forward(&self) -> &Chunked {
        &self.chunks.forward
    }

    /// Whether its programs are those of single steps: then every chunk has one step, whatever is asked for.
    pub fn steps(&self) -> bool {
        self.steps
    }

    /// How its kernels for the CPU cut a run; `chunk` and `keep_bytes` are the caller's choices, if any. Heads are
    /// rows where they can be, unless a chunk of several steps is asked for.
    pub fn plan(&self, load: Load, chunk: Option<usize>, keep_bytes: Option<usize>) -> Plan {
        if self.rows.is_some() && chunk.is_none_or(|steps| steps == 1) {
            let share = self.recurrence.inputs.iter().any(|input| input.per_group);
            let plan = Plan::of_rows(load, self.entries().max().unwrap_or(1), share);
            if let Some(plan) = plan {
                return plan;
            }
        }
        match self.steps {
            true => Plan::of_steps(load),
            false => Plan::of_tasks(self.traits, load, chunk, keep_bytes),
        }
    }

    /// Whether a target's kernels of it are shipped, at sizes at which it has them: a state is a matrix, and none is a
    /// running extreme, whose comparisons come out otherwise in 16 bits, and then gradients are others, or an angle,
    /// as gradients of what it turns are differences (of Mamba-3's query 1.4e-2 off in bf16, where the bound is 1e-2).
    pub fn ships<T: Target>(&self, target: &T) -> bool {
        let matrix = { self.recurrence.states.iter() }.any(|state| state.shape.len() == 2);
        matrix && !self.traits.scanned && self.chunk(target).is_ok()
    }

    /// What a segment does to each state.
    pub fn summaries(&self) -> &[Summary] {
        &self.summaries
    }

    /// What plans need to know of it.
    pub fn traits(&self) -> Traits {
        self.traits
    }

    /// The recurrence.
    pub fn recurrence(&self) -> &Recurrence {
        &self.recurrence
    }

    /// The sizes of its dims in words: `K=64, V=64`.
    pub fn sizes_text(&self) -> String {
        let all = self
            .named_sizes()
            .map(|(dim, size)| format!("{dim}={size}"));
        all.collect::<Vec<String>>().join(", ")
    }

    /// The dims with their sizes.
    pub fn named_sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        let dims = self.recurrence.dims.iter().map(String::as_str);
        dims.zip(self.sizes.iter().copied())
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The phases whose kernels a target's devices run: those that leave anything, without those of segments where
    /// sequences stay whole.
    pub fn phases<T: Target>(&self, target: &T) -> impl Iterator<Item = Phase> {
        let cuts = !self.steps
            && self
                .traits
                .summary
                .is_some_and(|sweeps| target.chains(sweeps));
        let run = move |phase: &Phase| cuts || !phase.is_of_segments();
        Phase::ALL
            .into_iter()
            .filter(run)
            .filter(|&phase| self.leaves(phase))
    }

    /// Whether a phase leaves anything.
    pub fn leaves(&self, phase: Phase) -> bool {
        let program = self.chunks.phase(phase);
        let mut results = program.into_iter().flat_map(|program| &program.results);
        results.any(|&(target, _)| phase.wants(target))
    }

    /// Numbers of each state of a head.
    fn entries(&self) -> impl Iterator<Item = usize> {
        let size = |state: &Port| {
            state
                .shape
                .iter()
                .map(|dim| self.sizes[dim.index()])
                .product()
        };
        self.recurrence.states.iter().map(size)
    }

    /// The tile program of a phase for chunks of `chunk` steps, under its name for the CPU.
    pub fn program(&self, phase: Phase, chunk: usize) -> TileProgram {
        self.named(phase, chunk, Native::SUFFIX)
    }

    /// The tile program of a phase under its name for a target.
    pub fn program_for<T: Target>(&self, target: &T, phase: Phase, chunk: usize) -> TileProgram {
        self.named(phase, chunk, &target.suffix())
    }

    fn named(&self, phase: Phase, chunk: usize, suffix: &str) -> TileProgram {
        let chunk = if self.steps { 1 } else { chunk };
        self.lowered(&self.chunks, phase, chunk, suffix)
    }

    fn lowered(&self, of: &Pair, phase: Phase, chunk: usize, suffix: &str) -> TileProgram {
        let program = match of.phase(phase) {
            Some(program) => program.keep(|target| phase.wants(target)),
            None => of.forward.keep(|_| false),
        };
        let name = format!("{}_{}_{suffix}", self.recurrence.name, phase.label());
        let cut = self.strips.map(|strips| strips.dim);
        lower_strip(&program, &self.sizes, chunk, phase.keeps(), name, cut)
    }

    /// The tile program of a phase whose rows are `rows` heads, where there is one.
    pub fn across(&self, phase: Phase, rows: usize) -> Option<TileProgram> {
        let one = self.lowered(self.rows.as_ref()?, phase, 1, Native::SUFFIX);
        across(&one, rows as u32)
    }

    /// The tile program of a phase for runs of a plan on the CPU.
    pub fn planned(&self, phase: Phase, plan: &Plan) -> TileProgram {
        let across = plan
            .across
            .then(|| self.across(phase, plan.heads))
            .flatten();
        across.unwrap_or_else(|| self.program(phase, plan.chunk))
    }

    /// The kernel of a phase for chunks of `chunk` steps.
    pub fn compile<T: Target>(
        &self,
        target: &T,
        phase: Phase,
        chunk: usize,
    ) -> Result<Artifact<T>, T::Error> {
        self.emit(target, self.program_for(target, phase, chunk))
    }

    /// The kernel of a tile program of this recurrence.
    pub fn emit<T: Target>(
        &self,
        target: &T,
        program: TileProgram,
    ) -> Result<Artifact<T>, T::Error> {
        let code = self.settled(target).emit(&program)?;
        Ok(Artifact { program, code })
    }

    /// `target` with its open choices made for this recurrence's states.
    pub fn settled<T: Target>(&self, target: &T) -> T {
        target.settled(self.entries().sum())
    }

    /// The first of the target's chunk lengths at which every kernel fits with one head a block, for runs
    /// whose backward reads what their forward kept: as the target would have them, else just so. The reason of
    /// the last when none does.
    pub fn chunk<T: Target>(&self, target: &T) -> Result<usize, T::Error> {
        let mut found: Option<Result<usize, T::Error>> = None;
        for &chunk in target.chunks(self.traits) {
            match self.fits(target, chunk) {
                Ok(true) => return Ok(chunk),
                fits if !matches!(found, Some(Ok(_))) => found = Some(fits.map(|_| chunk)),
                _ => {}
            }
        }
        found.expect("a target has chunks")
    }

    /// Whether every kernel of such runs fits at chunks of `chunk` steps, with one head a block, as the target would
    /// have it or just so.
    pub(crate) fn fits<T: Target>(&self, target: &T, chunk: usize) -> Result<bool, T::Error> {
        let target = &self.settled(&target.with_heads(1));
        let mut phases = [Phase::ForwardKeep, Phase::Entering, Phase::Backward].into_iter();
        phases.try_fold(true, |well, phase| {
            Ok(well & target.fits(&self.program_for(target, phase, chunk))?)
        })
    }

    /// Whether a block can run `heads` heads of a group side by side, and gains by it.
    pub fn shares<T: Target>(&self, target: &T, phase: Phase, chunk: usize, heads: u32) -> bool {
        let target = self.settled(&target.with_heads(heads));
        target.shares(&self.program_for(&target, phase, chunk))
    }
}
