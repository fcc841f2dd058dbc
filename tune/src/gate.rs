//! The gate: a candidate counts only if everything that it gives is right.
//!
//! The truth is the f64 step interpreter on the same numbers: outputs, leaving states, and the gradients of every
//! input, param and entering state. It is found once; each candidate then runs the same cases. Sizes of dims are
//! those of the run that is tuned for, as kernels depend on them; heads are as few, and sequences as short, as
//! still meet what a plan may do: a group with heads left over, rows left over, lengths that no chunk divides,
//! packed sequences with empty ones among them, several segments and several windows. Bounds are those of the one
//! table ([`arithmetic`](baton_codegen::target::arithmetic)); none is loosened here.

use crate::Error;
use crate::field::Candidate;
use crate::inputs::{Inputs, Seed};
use crate::subject::Subject;
use baton_codegen::schedule::cost::RunShape;
use baton_codegen::schedule::{Choice, Form};
use baton_codegen::target::arithmetic::{Arithmetic, Tolerance};
use baton_ir::interp::errors::{param_terms, relative_error};
use baton_ir::interp::problem::Problem;
use baton_ir::interp::recurrence::{Gradient, Outcome, forward, gradient};
use baton_ir::recurrence::{Port, Recurrence};
use baton_runtime::{Kernel, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// Heads of a group, and groups, where more would show nothing new.
const HEADS: usize = 3;
const GROUPS: usize = 2;

/// The largest relative errors, in norm over a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// Of outputs and leaving states.
    pub outputs: f64,
    /// Of gradients.
    pub gradients: f64,
}

/// What the gate says of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What was found of it.
    pub errors: Errors,
    /// Why it is rejected, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// Cases with their truth.
pub struct Gate<'a> {
    recurrence: &'a Recurrence,
    cases: Vec<Case<'a>>,
    bounds: Tolerance,
}

struct Case<'a> {
    recurrence: &'a Recurrence,
    sizes: &'a [usize],
    run: RunShape,
    ends: Option<Vec<i64>>,
    inputs: Inputs,
    wide: Wide,
    truth: (Outcome, Gradient),
    /// How large the terms of the gradients of params are; found when one is asked for.
    terms: OnceLock<Result<Vec<f64>, String>>,
}

/// The numbers of a case in f64.
struct Wide {
    inputs: Vec<Vec<f64>>,
    params: Vec<Vec<f64>>,
    states: Vec<Vec<f64>>,
    d_outputs: Vec<Vec<f64>>,
}

impl<'a> Gate<'a> {
    /// The gate for candidates for a run; its numbers and lengths follow from the seed.
    pub fn new(
        subject: &'a Subject,
        lengths: Lengths,
        arithmetic: Arithmetic,
        seed: u64,
    ) -> Result<Gate<'a>, Error> {
        let mut random = Seed(seed);
        let shapes = shapes(subject, lengths, &mut random);
        let make = |(i, (run, ends)): (usize, (RunShape, Option<Vec<i64>>))| {
            let seed = seed.wrapping_add(i as u64 + 1);
            move || Case::new(subject, run, ends, arithmetic, seed)
        };
        let cases = std::thread::scope(|scope| {
            let made = shapes.into_iter().enumerate().map(make);
            let made: Vec<_> = made.map(|case| scope.spawn(case)).collect();
            let found = made.into_iter().map(|thread| thread.join());
            found
                .map(|case| case.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Result<Vec<_>, _>>()
        });
        Ok(Gate {
            recurrence: &subject.recurrence,
            cases: cases.map_err(Error::Truth)?,
            bounds: arithmetic.tolerance(),
        })
    }

    /// Runs a candidate's kernel on every case: what a backward needs kept, and rebuilt.
    pub fn judge(&self, kernel: &dyn Kernel) -> Verdict {
        let mut errors = Errors::default();
        for case in &self.cases {
            for keep in [true, false] {
                if let Err(reason) = self.run(case, kernel, keep, &mut errors) {
                    let rejected = Some(format!("{}: {reason}", case.text()));
                    return Verdict { errors, rejected };
                }
            }
        }
        Verdict {
            errors,
            rejected: None,
        }
    }

    fn run(
        &self,
        case: &Case<'_>,
        kernel: &dyn Kernel,
        keep: bool,
        errors: &mut Errors,
    ) -> Result<(), String> {
        let call = case.inputs.call(case.ends.as_deref());
        let [d_outputs, d_states] = case.inputs.arriving();
        let refused = |why: baton_runtime::Error| why.to_string();
        let found = kernel.forward(&call, keep).map_err(refused)?;
        let pulled = kernel.backward(&call, found.saved.as_ref(), &d_outputs, &d_states);
        let pulled = pulled.map_err(refused)?;
        let (outcome, gradient) = &case.truth;
        let r = self.recurrence;
        let Tolerance { outputs, gradients } = self.bounds;
        let mut look = |part: &Part<'_>| -> Result<(), String> {
            let (worst, bound) = match part.gradient {
                true => (&mut errors.gradients, gradients),
                false => (&mut errors.outputs, outputs),
            };
            for (i, port) in part.ports.iter().enumerate() {
                let error = case.error(part, i, bound)?;
                *worst = worst.max(error);
                if error > bound {
                    return Err(format!(
                        "{}`{}`: relative error {error:.1e}, expected at most {bound:.0e}",
                        part.mark, port.name
                    ));
                }
            }
            Ok(())
        };
        let part = |mark, ports, found, truth, gradient| Part {
            mark,
            ports,
            found,
            truth,
            gradient,
        };
        for part in [
            part("", &r.outputs, &found.outputs, &outcome.outputs, false),
            part("", &r.states, &found.states, &outcome.states, false),
            part("d ", &r.inputs, &pulled.inputs, &gradient.inputs, true),
            part("d ", &r.params, &pulled.params, &gradient.params, true),
            part("d ", &r.states, &pulled.states, &gradient.states, true),
        ] {
            look(&part)?;
        }
        Ok(())
    }
}

/// Tensors of one kind beside their truth.
struct Part<'a> {
    mark: &'static str,
    ports: &'a [Port],
    found: &'a [Tensor],
    truth: &'a [Vec<f64>],
    gradient: bool,
}

impl<'a> Case<'a> {
    fn new(
        subject: &'a Subject,
        run: RunShape,
        ends: Option<Vec<i64>>,
        arithmetic: Arithmetic,
        seed: u64,
    ) -> Result<Case<'a>, String> {
        let Subject {
            recurrence,
            facts,
            sizes,
            ..
        } = subject;
        let sequences = ends.as_ref().map_or(run.batch, |ends| ends.len() - 1);
        let inputs = Inputs::drawn(recurrence, facts, sizes, run, sequences, seed);
        // Both sides start from the same numbers.
        let inputs = inputs.rounded(arithmetic.storage());
        let mut case = Case {
            recurrence,
            sizes,
            run,
            ends,
            wide: Wide {
                inputs: wide(&inputs.inputs),
                params: wide(&inputs.params),
                states: wide(&inputs.states),
                d_outputs: wide(&inputs.d_outputs),
            },
            inputs,
            truth: (
                Outcome {
                    outputs: vec![],
                    states: vec![],
                },
                Gradient {
                    inputs: vec![],
                    params: vec![],
                    states: vec![],
                },
            ),
            terms: OnceLock::new(),
        };
        let problem = case.problem();
        let (d_outputs, d_states) = (some(&case.wide.d_outputs), some(&case.wide.states));
        case.truth = (
            forward(&problem)?,
            gradient(&problem, &d_outputs, &d_states)?,
        );
        Ok(case)
    }

    fn problem(&self) -> Problem<'_> {
        let ends = self.ends.as_ref();
        Problem {
            recurrence: self.recurrence,
            sizes: self.sizes.to_vec(),
            batch: self.run.batch,
            time: self.run.time,
            heads: self.run.heads,
            groups: self.run.groups,
            cu_seqlens: ends.map(|ends| ends.iter().map(|&end| end as usize).collect()),
            inputs: self.wide.inputs.iter().map(Vec::as_slice).collect(),
            params: self.wide.params.iter().map(Vec::as_slice).collect(),
            states: some(&self.wide.states),
        }
    }

    /// The relative error of a tensor. The gradient of a param is a sum over all steps that may cancel: one above
    /// the bound is taken relative to what its terms add up to, the condition of the sum.
    fn error(&self, part: &Part<'_>, i: usize, bound: f64) -> Result<f64, String> {
        let error = relative_error(&part.found[i].data, &part.truth[i]);
        if !error.is_finite() {
            return Err(format!(
                "{}`{}` is not finite",
                part.mark, part.ports[i].name
            ));
        }
        let of_params = part.gradient && std::ptr::eq(part.ports, &self.recurrence.params[..]);
        if !of_params || error <= bound {
            return Ok(error);
        }
        let terms = self.terms.get_or_init(|| {
            let (d_outputs, d_states) = (some(&self.wide.d_outputs), some(&self.wide.states));
            param_terms(&self.problem(), &d_outputs, &d_states)
        });
        let terms = terms.as_ref().map_err(String::clone)?[i];
        let sum = part.truth[i].iter().map(|x| x * x).sum::<f64>().sqrt();
        Ok(match sum {
            0.0 => error,
            sum => error * sum / sum.max(terms),
        })
    }

    fn text(&self) -> String {
        let RunShape {
            batch,
            time,
            heads,
            groups,
            ..
        } = self.run;
        let packed = match &self.ends {
            Some(ends) => format!(", sequences at {ends:?}"),
            None => String::new(),
        };
        format!("B={batch}, T={time}, H={heads}, G={groups}{packed}")
    }
}

fn wide(tensors: &[Tensor]) -> Vec<Vec<f64>> {
    let one = |tensor: &Tensor| tensor.data.iter().map(|&x| x.into()).collect();
    tensors.iter().map(one).collect()
}

fn some(all: &[Vec<f64>]) -> Vec<Option<&[f64]>> {
    all.iter().map(|values| Some(values.as_slice())).collect()
}

/// What candidates do along time and heads, at most: cases are as long as meets all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Steps of a chunk.
    pub chunk: usize,
    /// Steps of a sequence that is cut, or whose states are not all kept.
    pub reach: usize,
    /// Heads that are rows of a tile, where some candidate has such.
    pub rows: Option<usize>,
}

impl Lengths {
    /// Those of plans for the CPU.
    pub fn of(field: &[Candidate]) -> Lengths {
        let chunk = |choice: &Choice| match choice.form {
            Form::Chunks(steps) => steps,
            Form::Steps | Form::Rows => 1,
        };
        let choices = || field.iter().map(|candidate| &candidate.choice);
        let rows = choices().filter(|choice| choice.form == Form::Rows);
        // Two segments of four chunks at least, and two windows at least.
        let reach = choices().map(|choice| {
            let segments = if choice.segments > 1 { 8 } else { 0 };
            let window = if choice.window > 1 { choice.window } else { 0 };
            chunk(choice) * segments.max(window)
        });
        Lengths {
            chunk: choices().map(chunk).max().unwrap_or(1).max(16),
            reach: reach.max().unwrap_or(0),
            rows: rows.map(|choice| choice.heads).max(),
        }
    }
}

/// The shapes of the cases: ragged rows, packed sequences, and one long sequence.
fn shapes(
    subject: &Subject,
    lengths: Lengths,
    random: &mut Seed,
) -> Vec<(RunShape, Option<Vec<i64>>)> {
    let Lengths {
        chunk: longest_chunk,
        reach,
        rows,
    } = lengths;
    let shared = subject.recurrence.inputs.iter().any(|port| port.per_group);
    let run = subject.run;
    let most = run.heads / if shared { run.groups } else { 1 };
    let each = match rows {
        Some(rows) => rows + random.between(1, rows.min(16)),
        None => HEADS,
    };
    let heads = each.min(most);
    let extents = |batch: usize, time: usize, groups: usize, each: usize| {
        let groups = if shared { run.groups.min(groups) } else { 1 };
        let heads = each * groups;
        RunShape {
            batch,
            time,
            heads,
            groups: if shared { groups } else { heads },
            entering: true,
        }
    };
    // No chunk divides it: nor, of steps, any window.
    let ragged = |random: &mut Seed, from: usize, over: usize| {
        let time = from + random.between(1, over);
        time + usize::from(time.is_multiple_of(16)) * random.between(1, 15)
    };
    let time = ragged(random, 0, longest_chunk + longest_chunk / 2);
    let rows_of_time = extents(2, time, GROUPS, heads);

    let time = ragged(random, longest_chunk, longest_chunk);
    let mut ends: Vec<i64> = (0..2).map(|_| random.between(1, time) as i64).collect();
    ends.extend([0, 0, time as i64, ends[0]]);
    ends.sort_unstable();
    let packed = extents(1, time, GROUPS, heads);

    let time = ragged(random, reach, longest_chunk);
    let heads = if rows.is_some() { heads } else { heads.min(2) };
    let long = extents(1, time, 1, heads);
    vec![(rows_of_time, None), (packed, Some(ends)), (long, None)]
}
