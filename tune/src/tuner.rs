//! One tuning: the field, the gate and the race in order, from whatever a journal holds already.
//!
//! What the machine does is behind a [`Workshop`], which makes the kernel of a choice and times it; everything else
//! follows from what it gives. So a tuning that is begun again repeats its decisions from the journal, and does only
//! what is not in there.

use crate::Error;
use crate::contest::{Doors, Field, Outcome, Progress, Terms, contest};
use crate::entry::{self, Chosen};
use crate::field::{Candidate, field};
use crate::gate::{Gate, Lengths};
use crate::inputs::Inputs;
use crate::journal::{Head, Journal};
use crate::sample::{Sample, timed};
use crate::subject::Subject;
use baton_codegen::Compiler;
use baton_codegen::schedule::cost::RunShape;
use baton_codegen::schedule::{Choice, Load};
use baton_codegen::target::arithmetic::Arithmetic;
use baton_runtime::device::cpu::{Choices, Cpu};
use baton_runtime::{Device, Kernel, Options};
use std::sync::Arc;

/// Milliseconds that a measurement takes at least: shorter runs are repeated, and their median counts.
const SHORTEST: f64 = 10.0;
/// The most repetitions.
const REPEATED: usize = 20;

/// Makes the kernel of a choice.
pub type Make<'a> = Box<dyn Fn(&Choice) -> Result<Arc<dyn Kernel>, Error> + 'a>;
/// Milliseconds of a run of a kernel, forward and backward.
pub type Clock<'a> = Box<dyn FnMut(&Choice, &dyn Kernel) -> Result<f64, Error> + 'a>;

/// The machine as a tuning sees it.
pub struct Workshop<'a> {
    /// Kernels.
    pub make: Make<'a>,
    /// Times.
    pub clock: Clock<'a>,
    /// What the machine calls its CPU.
    pub machine: String,
}

/// One choice for every load.
struct Always(Choice);

impl Choices for Always {
    fn choose(&self, _: &Compiler, _: Load) -> Option<Choice> {
        Some(self.0)
    }
}

impl<'a> Workshop<'a> {
    /// This machine's CPU.
    pub fn cpu(subject: &'a Subject, machine: String) -> Workshop<'a> {
        let make = |choice: &Choice| -> Result<Arc<dyn Kernel>, Error> {
            let device = Cpu::new(Some(subject.threads))?.with_choices(Arc::new(Always(*choice)));
            let options = Options::default();
            Ok(device.load(&subject.recurrence, &subject.sizes, &options)?)
        };
        let mut inputs = None;
        let clock = move |_: &Choice, kernel: &dyn Kernel| {
            let inputs: &Inputs = inputs.get_or_insert_with(|| {
                let Subject {
                    recurrence, facts, ..
                } = subject;
                Inputs::new(recurrence, facts, &subject.sizes, subject.run)
            });
            measure(kernel, inputs)
        };
        Workshop {
            make: Box::new(make),
            clock: Box::new(clock),
            machine,
        }
    }
}

/// The median time of a few runs forward and backward. Freed memory is not part of any.
fn measure(kernel: &dyn Kernel, inputs: &Inputs) -> Result<f64, Error> {
    let call = inputs.call(None);
    let [d_outputs, d_states] = inputs.arriving();
    let mut times = vec![];
    while times.len() < REPEATED && times.iter().sum::<f64>() < SHORTEST {
        let (forward, there) = timed(|| kernel.forward(&call, true));
        let forward = forward?;
        let pull = || kernel.backward(&call, forward.saved.as_ref(), &d_outputs, &d_states);
        let (gradients, back) = timed(pull);
        drop(gradients?);
        times.push(there + back);
    }
    Ok(Sample::new(times).quantile(0.5))
}

/// Tunes; `watch` is told of every step.
pub fn tune(
    subject: &Subject,
    workshop: &mut Workshop<'_>,
    journal: &mut Journal,
    terms: Terms,
    watch: &mut dyn FnMut(Progress),
) -> Result<Outcome, Error> {
    let field = field(&subject.compiler, subject.load(), subject.threads);
    let head = head(subject, &field, terms.seed);
    let usual = field[0].choice;
    let choices: Vec<Chosen> = field.iter().map(|c| c.choice.into()).collect();
    let known = Field {
        choices: &choices,
        model: field.iter().map(|c| c.model_ms).collect(),
        distances: field.iter().map(|c| c.choice.distance(&usual)).collect(),
        machine: workshop.machine.clone(),
        per_group: subject.per_group(),
    };
    let Workshop { make, clock, .. } = workshop;
    let lengths = Lengths::of(&field);
    let doors = Doors {
        gate: Box::new(|seed| Gate::new(subject, lengths, Arithmetic::F32, seed)),
        make: Box::new(|i| make(&field[i].choice)),
        clock: Box::new(|i, kernel| clock(&field[i].choice, kernel)),
    };
    contest(&known, doors, &head, journal, terms, watch)
}

fn head(subject: &Subject, field: &[Candidate], seed: u64) -> Head {
    let RunShape {
        batch,
        time,
        heads,
        groups,
        ..
    } = subject.run;
    let mut known: Vec<((usize, Option<usize>), String)> = vec![];
    let hashes = field.iter().map(|candidate| {
        let plan = subject
            .compiler
            .chosen(&candidate.choice, subject.load(), None);
        let plan = plan.expect("the field has choices with plans only");
        let kind = (plan.chunk, plan.across.then_some(plan.heads));
        if let Some((_, hash)) = known.iter().find(|(of, _)| *of == kind) {
            return hash.clone();
        }
        let hash = baton_kernels::hash(&subject.compiler.texts(&plan));
        known.push((kind, hash.clone()));
        hash
    });
    Head {
        key: subject.key(),
        run: [batch, time, heads, groups],
        threads: subject.threads,
        kernel_hashes: hashes.collect(),
        clock: entry::Clock::Wall,
        choices: (field.iter())
            .map(|candidate| serde_json::json!(Chosen::from(candidate.choice)))
            .collect(),
        seed,
    }
}
