//! The kernels of a recurrence for the CPU, by phase and chunk, compiled at first use.

use crate::Error;
use crate::device::Options;
use crate::engine::cut::Cut;
use crate::engine::machine::{Kernels, Signed};
use crate::engine::shapes::Shapes;
use baton_codegen::schedule::{Bucket, Choice, Load, Plan};
use baton_codegen::target::{Native, Storage};
use baton_codegen::{Artifact, Compiler, Phase, Summary};
use baton_ir::recurrence::{Port, Recurrence};
use baton_ir::tile::{Role, TileProgram};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What plans are made by where something better than the rules is known.
pub trait Choices: Send + Sync {
    /// The choice for loads of a kind; none where the rules choose. The same for every load of a
    /// [`Bucket`](baton_codegen::schedule::Bucket), and for as long as a device has it.
    fn choose(&self, compiler: &Compiler, load: Load) -> Option<Choice>;
}

/// Name of this device.
pub(super) const NAME: &str = "cpu";

/// What this device cannot do.
pub(super) fn failed(reason: String) -> Error {
    Error::Unsupported {
        device: NAME.into(),
        reason,
    }
}

/// A kernel, made once.
type Made = Arc<Artifact<Native>>;

/// What a kernel is made for: the phase, the steps of a chunk, and the heads that are rows, if they are.
type Key = (Phase, usize, Option<usize>);

/// A recurrence compiled for the CPU.
pub(super) struct CpuKernels {
    compiler: Compiler,
    shapes: Shapes,
    options: Options,
    choices: Option<Arc<dyn Choices>>,
    /// What was chosen before.
    chosen: Mutex<HashMap<Bucket, Option<Choice>>>,
    artifacts: Mutex<HashMap<Key, Made>>,
}

impl Signed for Artifact<Native> {
    fn program(&self) -> &TileProgram {
        &self.program
    }
}

impl CpuKernels {
    pub fn new(
        recurrence: &Recurrence,
        sizes: &[usize],
        options: &Options,
        choices: Option<Arc<dyn Choices>>,
    ) -> Result<Self, Error> {
        let compiler = Compiler::of_any(recurrence, sizes).map_err(Error::Invalid)?;
        if let Some(chunk) = options.chunk
            && compiler.steps()
        {
            let name = &recurrence.name;
            return Err(Error::Argument(format!(
                "chunk {chunk} given, expected none: `{name}` runs step by step on the CPU"
            )));
        }
        Ok(Self {
            compiler,
            shapes: Shapes::new(recurrence, sizes),
            options: options.clone(),
            choices,
            chosen: Mutex::default(),
            artifacts: Mutex::default(),
        })
    }

    pub fn artifact(&self, phase: Phase, cut: &Cut) -> Result<Made, Error> {
        let plan = cut.plan();
        let key = (phase, plan.chunk, plan.across.then_some(plan.heads));
        let mut artifacts = self
            .artifacts
            .lock()
            .expect("no holder of this lock panics");
        if let Some(artifact) = artifacts.get(&key) {
            return Ok(artifact.clone());
        }
        let program = self.compiler.planned(phase, plan);
        let artifact = self.compiler.emit(&Native, program);
        let artifact = Arc::new(artifact.map_err(|why| failed(why.to_string()))?);
        artifacts.insert(key, artifact.clone());
        Ok(artifact)
    }

    /// The plan of a choice, where there is one for such loads.
    fn chosen(&self, load: Load) -> Option<Plan> {
        let choices = self.choices.as_ref()?;
        let mut chosen = self.chosen.lock().expect("no holder of this lock panics");
        let known = chosen.entry(Bucket::of(load));
        let choice = *known.or_insert_with(|| choices.choose(&self.compiler, load));
        (self.compiler).chosen(&choice?, load, self.options.keep_bytes)
    }

    /// Groups whose heads tasks may run together: where heads share no input and are rows, all are one.
    pub fn groups(&self, cut: &Cut) -> usize {
        let mut inputs = self.shapes.recurrence.inputs.iter();
        match cut.plan().across && !inputs.any(|input| input.per_group) {
            true => 1,
            false => cut.extent.groups.max(1),
        }
    }

    /// Tasks of one group.
    pub fn blocks(&self, cut: &Cut) -> usize {
        let group_heads = cut.extent.heads / self.groups(cut);
        group_heads.div_ceil(cut.heads()).max(1)
    }
}

impl Kernels for CpuKernels {
    fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    fn plan(&self, load: Load, chunk: Option<usize>) -> Plan {
        let chunk = chunk.or(self.options.chunk);
        let chosen = chunk.is_none().then(|| self.chosen(load)).flatten();
        chosen.unwrap_or_else(|| self.compiler.plan(load, chunk, self.options.keep_bytes))
    }

    fn step_chunk(&self) -> usize {
        1
    }

    fn leaves(&self, phase: Phase) -> bool {
        self.compiler.leaves(phase)
    }

    fn summary(&self, state: usize) -> Summary {
        self.compiler.summaries()[state]
    }

    fn kernel(&self, phase: Phase, cut: &Cut) -> Result<Arc<dyn Signed>, Error> {
        Ok(self.artifact(phase, cut)?)
    }

    fn parts(&self, cut: &Cut) -> Option<usize> {
        match self.blocks(cut) {
            1 => None,
            parts => Some(parts),
        }
    }

    fn storage(&self, _: Role, _: &Port) -> Storage {
        Storage::F32
    }
}
