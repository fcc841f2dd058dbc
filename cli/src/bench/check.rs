//! Whether the kernels that are measured are right: the tuner's gate, on the plan of this run.
//!
//! A peer of the benchmarks counts only if its result was compared with an f64 recurrence; this is the same for ours.

use crate::device::cpu_name;
use crate::failure::Failure;
use baton_codegen::schedule::{Choice, Plan};
use baton_codegen::target::arithmetic::Arithmetic;
use baton_tune::field::Candidate;
use baton_tune::{Errors, Gate, Inputs, Lengths, Subject, Workshop};

/// Of the numbers that the gate draws.
const SEED: u64 = 1;

/// The largest relative errors against the f64 interpreter, in norm over a tensor; what is above its bound fails. On
/// the tensors given, of the run that is measured, or on small runs that the gate draws.
pub fn errors(subject: &Subject, plan: &Plan, given: Option<Inputs>) -> Result<Errors, Failure> {
    let choice = Choice::of(plan, subject.load());
    let model_ms = 0.0;
    let lengths = Lengths::of(&[Candidate { choice, model_ms }]);
    let failed = |why: baton_tune::Error| Failure::new(why.to_string());
    let gate = match given {
        Some(inputs) => Gate::on(subject, inputs, Arithmetic::F32),
        None => Gate::new(subject, lengths, Arithmetic::F32, SEED),
    };
    let gate = gate.map_err(failed)?;
    let workshop = Workshop::cpu(subject, cpu_name());
    let kernel = (workshop.make)(&choice).map_err(failed)?;
    let verdict = gate.judge(&*kernel);
    match verdict.rejected {
        None => Ok(verdict.errors),
        Some(why) => Err(Failure::new(format!(
            "the kernels are wrong, so no time counts: {why}"
        ))),
    }
}
