//! A case of the gate: numbers, what the interpreter makes of them, and how far a kernel is from that.

use crate::Error;
use crate::inputs::Inputs;
use crate::subject::Subject;
use baton_codegen::schedule::cost::RunShape;
use baton_codegen::target::arithmetic::Arithmetic;
use baton_ir::interp::errors::{param_terms, relative_error};
use baton_ir::interp::problem::Problem;
use baton_ir::interp::recurrence::{Gradient, Outcome, forward, gradient};
use baton_ir::recurrence::{Port, Recurrence};
use baton_runtime::Tensor;
use std::sync::OnceLock;

/// Numbers with their truth.
pub(super) struct Case<'a> {
    recurrence: &'a Recurrence,
    sizes: &'a [usize],
    run: RunShape,
    pub ends: Option<Vec<i64>>,
    pub inputs: Inputs,
    wide: Wide,
    pub truth: (Outcome, Gradient),
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

/// Tensors of one kind beside their truth.
pub(super) struct Part<'a> {
    pub mark: &'static str,
    pub ports: &'a [Port],
    pub found: &'a [Tensor],
    pub truth: &'a [Vec<f64>],
    pub gradient: bool,
}

impl<'a> Case<'a> {
    /// One on numbers of a seed.
    pub fn drawn(
        subject: &'a Subject,
        run: RunShape,
        ends: Option<Vec<i64>>,
        arithmetic: Arithmetic,
        seed: u64,
    ) -> Result<Case<'a>, Error> {
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
        Case::new(subject, run, ends, inputs, "drawn inputs")
    }

    /// One on these numbers; fails, with what they are called, where their truth is none.
    pub fn new(
        subject: &'a Subject,
        run: RunShape,
        ends: Option<Vec<i64>>,
        inputs: Inputs,
        numbers: &'static str,
    ) -> Result<Case<'a>, Error> {
        let Subject {
            recurrence, sizes, ..
        } = subject;
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
            forward(&problem).map_err(Error::Truth)?,
            gradient(&problem, &d_outputs, &d_states).map_err(Error::Truth)?,
        );
        match case.infinite() {
            None => Ok(case),
            Some(tensor) => Err(Error::NotFinite {
                recurrence: recurrence.name.clone(),
                numbers,
                tensor,
                case: case.text(),
            }),
        }
    }

    /// The first tensor of the truth that holds what is no finite number in f32.
    fn infinite(&self) -> Option<String> {
        let Recurrence {
            inputs,
            params,
            states,
            outputs,
            ..
        } = self.recurrence;
        let (outcome, gradient) = &self.truth;
        let kinds = [
            ("", outputs, &outcome.outputs),
            ("", states, &outcome.states),
            ("d ", inputs, &gradient.inputs),
            ("d ", params, &gradient.params),
            ("d ", states, &gradient.states),
        ];
        let all = kinds.into_iter().flat_map(|(mark, ports, truth)| {
            let each = ports.iter().zip(truth);
            each.map(move |(port, values)| (mark, port, values))
        });
        let beyond = |values: &[f64]| values.iter().any(|&x| !(x as f32).is_finite());
        let mut beyond = all.filter(|(_, _, values)| beyond(values));
        let (mark, port, _) = beyond.next()?;
        Some(format!("{mark}`{}`", port.name))
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
    pub fn error(&self, part: &Part<'_>, i: usize, bound: f64) -> Result<f64, String> {
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

    /// Its extents; G where an input is per group.
    pub fn text(&self) -> String {
        let RunShape {
            batch,
            time,
            heads,
            groups,
            ..
        } = self.run;
        let shared = self.recurrence.inputs.iter().any(|port| port.per_group);
        let groups = if shared {
            format!(", G={groups}")
        } else {
            String::new()
        };
        let packed = match &self.ends {
            Some(ends) => format!(", sequences at {ends:?}"),
            None => String::new(),
        };
        format!("B={batch}, T={time}, H={heads}{groups}{packed}")
    }
}

fn wide(tensors: &[Tensor]) -> Vec<Vec<f64>> {
    let one = |tensor: &Tensor| tensor.data.iter().map(|&x| x.into()).collect();
    tensors.iter().map(one).collect()
}

fn some(all: &[Vec<f64>]) -> Vec<Option<&[f64]>> {
    all.iter().map(|values| Some(values.as_slice())).collect()
}
