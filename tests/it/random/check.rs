//! What holds for every well-formed program on the CPU.

use super::guard::Failure;
use super::memory::Prepared;
use baton_ir::recurrence::Recurrence;
use baton_ir::verify::verify;
use baton_runtime::Tensor;
use baton_runtime::device::cpu::Cpu;
use baton_tests::Random;
use baton_tests::random::terms::{Terms, terms};
use baton_tests::random::{Drawn, Numbers, Truth};
use baton_tests::tolerance::{Arithmetic, Tolerance};

/// How far the two f64 witnesses of the truth may differ, of the terms.
const EXACT: f64 = Arithmetic::F64.tolerance().outputs;
/// What the CPU is held to.
pub const F32: Tolerance = Arithmetic::F32.tolerance();
/// Unit roundoff of f32.
pub const UNIT: f64 = f32::EPSILON as f64 / 2.0;

/// What a check found to be so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// The share of elements that were compared to any purpose.
    pub compared: f64,
    /// Levels 2 and 3 ran.
    pub levels: bool,
    /// The recurrence has no chunked form and ran step by step.
    pub steps: bool,
}

/// A case with everything to compare with.
pub struct Known {
    pub numbers: Numbers,
    pub truth: Truth,
    pub terms: Terms,
}

fn wrong(what: impl Into<String>) -> Failure {
    Failure::Wrong(what.into())
}

impl Known {
    /// The truth of an accepted recurrence, and its witness.
    pub fn new(
        drawn: &Drawn,
        recurrence: Recurrence,
        bound: f64,
        round: impl Fn(f64) -> f64,
    ) -> Result<Known, Failure> {
        let numbers = drawn.numbers(recurrence, round);
        let truth = drawn.truth(&numbers).map_err(wrong)?;
        let terms = terms(drawn, &numbers, bound).map_err(wrong)?;
        let known = Known {
            numbers,
            truth,
            terms,
        };
        for tensor in known.terms.beside(&known.numbers, &known.truth) {
            let values = tensor.terms.iter().map(|term| term.value);
            if let Some(why) = tensor.worst(values, EXACT, f64::EPSILON) {
                return Err(wrong(format!("the witness of the truth: {why}")));
            }
        }
        Ok(known)
    }

    /// The share of elements that are compared to any purpose; all of none.
    pub fn compared(&self) -> f64 {
        let (mut compared, mut all) = (0, 0);
        for tensor in self.terms.beside(&self.numbers, &self.truth) {
            compared += tensor.compared(F32.of(tensor.gradient), UNIT);
            all += tensor.truth.len();
        }
        match all {
            0 => 1.0,
            all => compared as f64 / all as f64,
        }
    }

    /// Whether the tensors of a run agree with the truth.
    pub fn agrees(&self, found: &[Tensor], bounds: Tolerance) -> Result<(), Failure> {
        let tensors = self.terms.beside(&self.numbers, &self.truth);
        for (tensor, found) in tensors.iter().zip(found) {
            let values = found.data.iter().map(|x| f64::from(*x));
            if let Some(why) = tensor.worst(values, bounds.of(tensor.gradient), UNIT) {
                return Err(wrong(why));
            }
        }
        Ok(())
    }
}

/// The recurrence of a well-formed program, which has to verify.
pub fn accepted(drawn: &Drawn) -> Result<Recurrence, Failure> {
    let recurrence = drawn.parse().map_err(Failure::Refused)?;
    verify(&recurrence).map_err(|diagnostics| {
        let all: Vec<String> = diagnostics.iter().map(|d| d.to_string()).collect();
        Failure::Refused(all.join("\n"))
    })?;
    Ok(recurrence)
}

/// Everything that holds for a well-formed program; `breach` may make what is known a lie.
pub fn check(drawn: &Drawn, breach: impl FnOnce(&mut Known)) -> Result<Seen, Failure> {
    let recurrence = accepted(drawn)?;
    let mut known = Known::new(drawn, recurrence, F32.outputs, |x| x)?;
    breach(&mut known);
    let mut seen = Seen {
        compared: known.compared(),
        ..Seen::default()
    };
    let prepared = Prepared::new(drawn, &known.numbers);
    let setting = &drawn.setting;
    let cpu = |threads: usize| Cpu::new(Some(threads)).expect("threads start");
    let error = |why: baton_runtime::Error| wrong(format!("the CPU: {why}"));
    let found = prepared.run(&cpu(setting.threads)).map_err(error)?;
    known.agrees(&found, F32)?;
    let mut random = Random::named(setting.seed, "checks");
    if random.chance(0.125) {
        let again = prepared.run(&cpu(4 - setting.threads)).map_err(error)?;
        let bits = |all: &[Tensor]| -> Vec<u32> {
            all.iter()
                .flat_map(|t| t.data.iter().map(|x| x.to_bits()))
                .collect()
        };
        if bits(&found) != bits(&again) {
            return Err(wrong("other bits with another number of threads"));
        }
    }
    if random.chance(0.25) && setting.cu_seqlens.is_none() && setting.time <= 40 {
        let steps = prepared.steps(&cpu(setting.threads)).map_err(error)?;
        known
            .agrees(&steps, F32)
            .map_err(|why| wrong(format!("by single steps, {why}")))?;
    }
    if drawn.setting.cost(&drawn.program) <= 3e4 {
        seen.steps = super::levels::check(drawn, &known)?;
        seen.levels = true;
    }
    Ok(seen)
}
