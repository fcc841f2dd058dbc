//! What is tuned, as the gate, the tuner and kits see it.

use baton_codegen::Compiler;
use baton_codegen::schedule::Load;
use baton_codegen::schedule::cost::RunShape;
use baton_ir::diag::Diagnostic;
use baton_ir::recurrence::{Facts, Recurrence};

/// What is tuned: a recurrence with its sizes, for runs of a shape.
pub struct Subject {
    /// The recurrence.
    pub recurrence: Recurrence,
    /// Its facts.
    pub facts: Facts,
    /// Its programs.
    pub compiler: Compiler,
    /// Sizes of its dims.
    pub sizes: Vec<usize>,
    /// The run that is measured.
    pub run: RunShape,
    /// Threads of it.
    pub threads: usize,
}

impl Subject {
    /// A verified recurrence at sizes; refuses one without programs.
    pub fn new(
        recurrence: Recurrence,
        facts: Facts,
        sizes: Vec<usize>,
        run: RunShape,
        threads: usize,
    ) -> Result<Subject, Vec<Diagnostic>> {
        Ok(Subject {
            compiler: Compiler::of_any(&recurrence, &sizes)?,
            recurrence,
            facts,
            sizes,
            run,
            threads,
        })
    }

    /// Whether an input is per group.
    pub fn per_group(&self) -> bool {
        self.recurrence.inputs.iter().any(|port| port.per_group)
    }

    /// The load of the run.
    pub fn load(&self) -> Load {
        let RunShape { batch, time, .. } = self.run;
        let lengths = std::iter::repeat_n(time, batch);
        (self.compiler).load(lengths, [self.run.heads, self.run.groups])
    }
}
