//! The gate: a candidate counts only if everything that it gives is right.
//!
//! The truth is the f64 step interpreter on the same numbers: outputs, leaving states, and the gradients of every
//! input, param and entering state. It is found once; each candidate then runs the same cases. Sizes of dims are
//! those of the run that is tuned for, as kernels depend on them; heads are as few, and sequences as short, as
//! still meet what a plan may do: a group with heads left over, rows left over, lengths that no chunk divides,
//! packed sequences with empty ones among them, several segments and several windows. Bounds are those of the one
//! table ([`arithmetic`](baton_codegen::target::arithmetic)); none is loosened here. A truth that f32 has no finite
//! number for judges nobody: it is an error of its own, which names the tensor.

mod case;
mod lengths;

use crate::Error;
use crate::inputs::{Inputs, Seed};
use crate::subject::Subject;
use baton_codegen::schedule::cost::RunShape;
use baton_codegen::target::arithmetic::{Arithmetic, Tolerance};
use baton_ir::recurrence::Recurrence;
use baton_runtime::Kernel;
use case::{Case, Part};
pub use lengths::Lengths;
use serde::{Deserialize, Serialize};

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

impl<'a> Gate<'a> {
    /// The gate for candidates for a run; its numbers and lengths follow from the seed.
    pub fn new(
        subject: &'a Subject,
        lengths: Lengths,
        arithmetic: Arithmetic,
        seed: u64,
    ) -> Result<Gate<'a>, Error> {
        let mut random = Seed(seed);
        let shapes = lengths.shapes(subject, &mut random);
        let make = |(i, (run, ends)): (usize, (RunShape, Option<Vec<i64>>))| {
            let seed = seed.wrapping_add(i as u64 + 1);
            move || Case::drawn(subject, run, ends, arithmetic, seed)
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
            cases: cases?,
            bounds: arithmetic.tolerance(),
        })
    }

    /// The gate of one case, a run on these tensors.
    pub fn on(
        subject: &'a Subject,
        inputs: Inputs,
        arithmetic: Arithmetic,
    ) -> Result<Gate<'a>, Error> {
        let inputs = inputs.rounded(arithmetic.storage());
        let case = Case::new(subject, subject.run, None, inputs, "the given tensors")?;
        Ok(Gate {
            recurrence: &subject.recurrence,
            cases: vec![case],
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
