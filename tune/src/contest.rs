//! A contest: candidates by number, judged and then timed in turns, from whatever a journal holds already.
//!
//! What a candidate is, and on which machine it runs, its three doors know: the gate, what makes a kernel, and the
//! clock. Number 0 is what runs without a tuning; it must pass, and everything is compared with it. Everything else
//! follows from what the doors give, so a contest that is begun again repeats its decisions from the journal, and does
//! only what is not in there.

use crate::Error;
use crate::entry::{Entry, Measured, Tried};
use crate::field::rank_correlation;
use crate::gate::{Gate, Verdict};
use crate::journal::{Head, Journal};
use crate::race::{race, ratio, winner};
use crate::sample::Sample;
use baton_runtime::Kernel;
use std::sync::Arc;
use std::time::Instant;

/// Rounds of a race that nothing cuts short.
pub const ROUNDS: usize = 15;
/// Rounds without which there is no winner.
const FEWEST: usize = 7;
/// Rounds that every candidate runs, from which the model is judged.
const ALL_RUN: usize = 2;

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
pub enum Outcome<C = crate::Chosen> {
    /// With a result.
    Done(Box<Entry<C>>),
    /// Out of time; the journal goes on from here.
    Unfinished(Progress),
}

/// The gate for numbers of a seed.
pub(crate) type Gates<'a> = Box<dyn Fn(u64) -> Result<Gate<'a>, Error> + 'a>;
/// The kernel of a candidate.
pub(crate) type Makes<'a> = Box<dyn Fn(usize) -> Result<Arc<dyn Kernel>, Error> + 'a>;
/// What a run of a candidate's kernel takes, by the contest's clock.
pub(crate) type Clocks<'a> = Box<dyn FnMut(usize, &dyn Kernel) -> Result<f64, Error> + 'a>;

/// The doors.
pub(crate) struct Doors<'a> {
    pub gate: Gates<'a>,
    pub make: Makes<'a>,
    pub clock: Clocks<'a>,
}

/// What is known of candidates before they run.
pub(crate) struct Field<'a, C> {
    pub choices: &'a [C],
    /// What the model says of each.
    pub model: Vec<f64>,
    /// How far each is from the first.
    pub distances: Vec<usize>,
    /// What the machine is called.
    pub machine: String,
    /// Whether an input of the recurrence is per group.
    pub per_group: bool,
}

/// Holds a contest; `watch` is told of every step.
pub(crate) fn contest<C: Clone>(
    field: &Field<'_, C>,
    doors: Doors<'_>,
    head: &Head,
    journal: &mut Journal,
    terms: Terms,
    watch: &mut dyn FnMut(Progress),
) -> Result<Outcome<C>, Error> {
    let seed = journal.begin(head)?;
    let count = field.choices.len();
    let mut contest = Contest {
        doors,
        journal,
        terms,
        watch,
        progress: Progress {
            judged: 0,
            field: count,
            still: count,
            done: 0,
            of: count * (1 + terms.rounds),
        },
        kernels: vec![None; count],
    };
    if !contest.judge(seed)? {
        return Ok(Outcome::Unfinished(contest.progress));
    }
    let right: Vec<usize> = (0..count)
        .filter(|&i| contest.verdict(i).rejected.is_none())
        .collect();
    if let Some(reason) = &contest.verdict(0).rejected {
        return Err(Error::Default {
            recurrence: head.key.recurrence.clone(),
            reason: reason.clone(),
        });
    }
    let times = contest.race(&right)?;
    if times[0].len() < FEWEST.min(terms.rounds) {
        return Ok(Outcome::Unfinished(contest.progress));
    }
    Ok(Outcome::Done(Box::new(
        contest.entry(field, head, seed, &right, &times),
    )))
}

struct Contest<'a, 'd> {
    doors: Doors<'d>,
    journal: &'a mut Journal,
    terms: Terms,
    watch: &'a mut dyn FnMut(Progress),
    progress: Progress,
    kernels: Vec<Option<Arc<dyn Kernel>>>,
}

impl Contest<'_, '_> {
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
        for i in 0..self.kernels.len() {
            if self.journal.verdict(i).is_none() {
                if self.late() {
                    return Ok(false);
                }
                let begun = Instant::now();
                let gate = match &gate {
                    Some(gate) => gate,
                    None => gate.insert((self.doors.gate)(seed)?),
                };
                let verdict = match (self.doors.make)(i) {
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
        let mut times = vec![vec![]; self.kernels.len()];
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
        let kernel = match &self.kernels[candidate] {
            Some(kernel) => kernel.clone(),
            None => {
                let kernel = (self.doors.make)(candidate)?;
                // The first run compiles.
                (self.doors.clock)(candidate, &*kernel)?;
                self.kernels[candidate].insert(kernel).clone()
            }
        };
        let time = (self.doors.clock)(candidate, &*kernel)?;
        let seconds = begun.elapsed().as_secs_f64();
        self.journal.timed(candidate, round, time, seconds)?;
        Ok(Some(time))
    }

    fn entry<C: Clone>(
        &self,
        field: &Field<'_, C>,
        head: &Head,
        seed: u64,
        right: &[usize],
        times: &[Vec<f64>],
    ) -> Entry<C> {
        let rounds = times[0].len();
        let mut still = race(times, rounds);
        still.retain(|i| right.contains(i));
        let won = winner(times, &still, &field.distances);
        let first: Vec<(f64, f64)> = (right.iter())
            .map(|&i| {
                let count = ALL_RUN.min(rounds);
                let [_, middle, _] = ratio(&times[i][..count], &times[0][..count]);
                (field.model[i], middle)
            })
            .collect();
        let tried = field.choices.iter().enumerate().map(|(i, choice)| Tried {
            choice: choice.clone(),
            model_ms: field.model[i],
            errors: self.verdict(i).errors,
            rejected: self.verdict(i).rejected.clone(),
            measured: (!times[i].is_empty()).then(|| measured(&times[i])),
        });
        Entry {
            key: head.key.clone(),
            kernel_hash: head.kernel_hashes[won].clone(),
            choice: (won != 0).then(|| field.choices[won].clone()),
            errors: self.verdict(won).errors,
            run: head.run,
            per_group: field.per_group,
            threads: head.threads,
            machine: field.machine.clone(),
            clock: head.clock,
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
