//! One tuning: the field, the gate and the race in order, from whatever a journal holds already.
//!
//! What the machine does is behind a [`Workshop`], which makes the kernel of a choice and times it; everything else
//! follows from what it gives. So a tuning that is begun again repeats its decisions from the journal, and does only
//! what is not in there.

use crate::Error;
use crate::entry::{Chosen, Entry, Key, Measured, Tried};
use crate::field::{Candidate, field, rank_correlation};
use crate::gate::{Gate, Verdict};
use crate::inputs::Inputs;
use crate::journal::{Head, Journal};
use crate::race::{race, ratio, winner};
use crate::sample::{Sample, timed};
use baton_codegen::Compiler;
use baton_codegen::schedule::cost::RunShape;
use baton_codegen::schedule::{Choice, Load};
use baton_ir::diag::Diagnostic;
use baton_ir::recurrence::{Facts, Recurrence};
use baton_runtime::device::cpu::{Choices, Cpu};
use baton_runtime::{Device, Kernel, Options};
use std::sync::Arc;
use std::time::Instant;

/// Rounds of a race that nothing cuts short.
pub const ROUNDS: usize = 15;
/// Rounds without which there is no winner.
const FEWEST: usize = 7;
/// Rounds that every candidate runs, from which the model is judged.
const ALL_RUN: usize = 2;
/// Milliseconds that a measurement takes at least: shorter runs are repeated, and their median counts.
const SHORTEST: f64 = 10.0;
/// The most repetitions.
const REPEATED: usize = 20;

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

    /// The load of the run.
    pub fn load(&self) -> Load {
        let RunShape { batch, time, .. } = self.run;
        let lengths = std::iter::repeat_n(time, batch);
        (self.compiler).load(lengths, [self.run.heads, self.run.groups])
    }

    /// What an entry for it is found by.
    pub fn key(&self) -> Key {
        Key::of(&self.compiler, self.load())
    }
}

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

/// How a tuning goes.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Rounds of the race.
    pub rounds: usize,
    /// When it has to stop; what it has by then is in its journal.
    pub until: Option<Instant>,
    /// The seed of the gate's numbers, where the journal has none.
    pub seed: u64,
}

/// How far a tuning is, in steps: a verdict or a time each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Candidates with a verdict.
    pub judged: usize,
    /// Candidates.
    pub field: usize,
    /// Those that are still measured.
    pub still: usize,
    /// Steps done, of this sitting or before.
    pub done: usize,
    /// Steps of all, at most.
    pub of: usize,
}

/// How a tuning ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With a result.
    Done(Box<Entry>),
    /// Out of time; the journal goes on from here.
    Unfinished(Progress),
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
    let seed = journal.begin(&head)?;
    let mut tuning = Tuning {
        subject,
        workshop,
        journal,
        terms,
        watch,
        progress: Progress {
            judged: 0,
            field: field.len(),
            still: field.len(),
            done: 0,
            of: field.len() * (1 + terms.rounds),
        },
        kernels: vec![None; field.len()],
        field,
    };
    if !tuning.judge(seed)? {
        return Ok(Outcome::Unfinished(tuning.progress));
    }
    let right: Vec<usize> = (0..tuning.field.len())
        .filter(|&i| tuning.verdict(i).rejected.is_none())
        .collect();
    if let Some(reason) = &tuning.verdict(0).rejected {
        return Err(Error::Default {
            recurrence: subject.recurrence.name.clone(),
            reason: reason.clone(),
        });
    }
    let times = tuning.race(&right)?;
    if times[0].len() < FEWEST.min(terms.rounds) {
        return Ok(Outcome::Unfinished(tuning.progress));
    }
    Ok(Outcome::Done(Box::new(
        tuning.entry(&head, seed, &right, &times),
    )))
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
        choices: field
            .iter()
            .map(|candidate| candidate.choice.into())
            .collect(),
        seed,
    }
}

struct Tuning<'a, 'w> {
    subject: &'a Subject,
    workshop: &'a mut Workshop<'w>,
    journal: &'a mut Journal,
    terms: Terms,
    watch: &'a mut dyn FnMut(Progress),
    progress: Progress,
    field: Vec<Candidate>,
    kernels: Vec<Option<Arc<dyn Kernel>>>,
}

impl Tuning<'_, '_> {
    fn late(&self) -> bool {
        self.terms
            .until
            .is_some_and(|until| Instant::now() >= until)
    }

    fn verdict(&self, candidate: usize) -> &Verdict {
        (self.journal.verdict(candidate)).expect("every candidate was judged")
    }

    fn step(&mut self) {
        self.progress.done += 1;
        (self.watch)(self.progress);
    }

    /// Judges all that are not yet; whether there was time to.
    fn judge(&mut self, seed: u64) -> Result<bool, Error> {
        let mut gate = None;
        for i in 0..self.field.len() {
            if self.journal.verdict(i).is_none() {
                if self.late() {
                    return Ok(false);
                }
                let begun = Instant::now();
                let gate = match &gate {
                    Some(gate) => gate,
                    None => gate.insert(Gate::new(self.subject, &self.field, seed)?),
                };
                let verdict = match (self.workshop.make)(&self.field[i].choice) {
                    Ok(kernel) => gate.judge(&*kernel),
                    Err(why) => Verdict {
                        errors: Default::default(),
                        rejected: Some(why.to_string()),
                    },
                };
                let seconds = begun.elapsed().as_secs_f64();
                self.journal.judged(i, verdict, seconds)?;
            }
            self.progress.judged += 1;
            self.step();
        }
        Ok(true)
    }

    /// Times by candidate, of full rounds.
    fn race(&mut self, right: &[usize]) -> Result<Vec<Vec<f64>>, Error> {
        let mut times = vec![vec![]; self.field.len()];
        for round in 0..self.terms.rounds {
            let mut still = race(&times, round);
            still.retain(|i| right.contains(i));
            let left = self.terms.rounds - round;
            self.progress.still = still.len();
            self.progress.of = self.progress.done + still.len() * left;
            let first = round % still.len().max(1);
            still.rotate_left(first);
            let mut of_round = vec![];
            for i in still {
                let Some(time) = self.time(i, round)? else {
                    return Ok(times);
                };
                of_round.push((i, time));
                self.step();
            }
            of_round
                .into_iter()
                .for_each(|(i, time)| times[i].push(time));
        }
        Ok(times)
    }

    /// The time of a candidate in a round; none when it is too late to take it.
    fn time(&mut self, candidate: usize, round: usize) -> Result<Option<f64>, Error> {
        if let Some(time) = self.journal.time(candidate, round) {
            return Ok(Some(time));
        }
        if self.late() {
            return Ok(None);
        }
        let begun = Instant::now();
        let choice = self.field[candidate].choice;
        let kernel = match &self.kernels[candidate] {
            Some(kernel) => kernel.clone(),
            None => {
                let kernel = (self.workshop.make)(&choice)?;
                // The first run compiles.
                (self.workshop.clock)(&choice, &*kernel)?;
                self.kernels[candidate].insert(kernel).clone()
            }
        };
        let time = (self.workshop.clock)(&choice, &*kernel)?;
        let seconds = begun.elapsed().as_secs_f64();
        self.journal.timed(candidate, round, time, seconds)?;
        Ok(Some(time))
    }

    fn entry(&self, head: &Head, seed: u64, right: &[usize], times: &[Vec<f64>]) -> Entry {
        let rounds = times[0].len();
        let mut still = race(times, rounds);
        still.retain(|i| right.contains(i));
        let usual = self.field[0].choice;
        let distances = self.field.iter().map(|c| c.choice.distance(&usual));
        let won = winner(times, &still, &distances.collect::<Vec<_>>());
        let first: Vec<(f64, f64)> = (right.iter())
            .map(|&i| {
                let count = ALL_RUN.min(rounds);
                let [_, middle, _] = ratio(&times[i][..count], &times[0][..count]);
                (self.field[i].model_ms, middle)
            })
            .collect();
        let tried = self.field.iter().enumerate().map(|(i, candidate)| Tried {
            choice: candidate.choice.into(),
            model_ms: candidate.model_ms,
            errors: self.verdict(i).errors,
            rejected: self.verdict(i).rejected.clone(),
            measured: (!times[i].is_empty()).then(|| measured(&times[i])),
        });
        Entry {
            key: head.key.clone(),
            kernel_hash: head.kernel_hashes[won].clone(),
            choice: (won != 0).then(|| Chosen::from(self.field[won].choice)),
            errors: self.verdict(won).errors,
            run: head.run,
            threads: head.threads,
            machine: self.workshop.machine.clone(),
            default: measured(&times[0]),
            tuned: measured(&times[won]),
            ratio: ratio(&times[won], &times[0]),
            rank_correlation: rank_correlation(&first),
            seed,
            seconds: self.journal.seconds,
            tried: tried.collect(),
        }
    }
}

fn measured(times: &[f64]) -> Measured {
    let sample = Sample::new(times.to_vec());
    let [median, p10, p90] = [0.5, 0.1, 0.9].map(|share| sample.quantile(share));
    Measured {
        median,
        p10,
        p90,
        rounds: times.len(),
    }
}
