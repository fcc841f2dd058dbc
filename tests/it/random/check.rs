//! What holds for every well-formed program on the CPU.

use super::guard::Failure;
use super::memory::Prepared;
use crate::devices::{GRADIENTS, OUTPUTS};
use baton_ir::recurrence::{Class, Recurrence};
use baton_ir::verify::verify;
use baton_runtime::Tensor;
use baton_runtime::device::cpu::Cpu;
use baton_tests::Random;
use baton_tests::random::terms::{Terms, terms};
use baton_tests::random::{Drawn, Numbers, Truth};

/// Above this size of a term f32 may overflow on the way, and nothing is compared.
const TOO_LARGE: f64 = 1e30;
/// How far the two f64 witnesses of the truth may differ, of the terms.
const EXACT: f64 = 1e-12;

/// Unit roundoff of f32.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// What a check found to be so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Numbers were within what f32 can hold, and compared.
    pub compared: bool,
    /// Levels 2 and 3 ran.
    pub levels: bool,
}

/// A case with everything to compare with.
pub struct Known {
    pub numbers: Numbers,
    pub truth: Truth,
    pub terms: Terms,
    /// T
    steps: usize,
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
            steps: drawn.setting.time,
        };
        if known.comparable() {
            for tensor in known.terms.beside(&known.numbers, &known.truth) {
                let values = tensor.terms.iter().map(|term| term.value);
                if let Some(why) = tensor.worst(values, EXACT) {
                    return Err(wrong(format!("the witness of the truth: {why}")));
                }
            }
        }
        Ok(known)
    }

    /// Whether f32 holds every number on the way.
    pub fn comparable(&self) -> bool {
        self.terms.peak <= TOO_LARGE
    }

    /// Whether the tensors of a run agree with the truth.
    pub fn agrees(&self, found: &[Tensor], [near, far]: [f64; 2]) -> Result<(), Failure> {
        if !self.comparable() {
            return Ok(());
        }
        let tensors = self.terms.beside(&self.numbers, &self.truth);
        for (tensor, found) in tensors.iter().zip(found) {
            // Equal terms may round the same way at every step, which takes a long sum past the table.
            let bound = if tensor.gradient { far } else { near };
            let bound = bound.max(self.steps as f64 * UNIT);
            let values = found.data.iter().map(|x| f64::from(*x));
            if let Some(why) = tensor.worst(values, bound) {
                return Err(wrong(why));
            }
        }
        Ok(())
    }
}

/// The recurrence of a well-formed program, which has to be derivable.
pub fn accepted(drawn: &Drawn) -> Result<Recurrence, Failure> {
    let recurrence = drawn.parse().map_err(Failure::Refused)?;
    let facts = verify(&recurrence).map_err(|diagnostics| {
        let all: Vec<String> = diagnostics.iter().map(|d| d.to_string()).collect();
        Failure::Refused(all.join("\n"))
    })?;
    match facts.class {
        Class::Scalar | Class::Diagonal => Ok(recurrence),
        class => Err(Failure::Refused(format!("class {}", class.name()))),
    }
}

/// Everything that holds for a well-formed program; `breach` may make the truth a lie.
pub fn check(drawn: &Drawn, breach: impl FnOnce(&mut Truth)) -> Result<Seen, Failure> {
    let recurrence = accepted(drawn)?;
    let mut known = Known::new(drawn, recurrence, GRADIENTS, |x| x)?;
    breach(&mut known.truth);
    let mut seen = Seen {
        compared: known.comparable(),
        levels: false,
    };
    let prepared = Prepared::new(drawn, &known.numbers);
    let setting = &drawn.setting;
    let cpu = |threads: usize| Cpu::new(Some(threads)).expect("threads start");
    let error = |why: baton_runtime::Error| wrong(format!("the CPU: {why}"));
    let found = prepared.run(&cpu(setting.threads)).map_err(error)?;
    known.agrees(&found, [OUTPUTS, GRADIENTS])?;
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
            .agrees(&steps, [OUTPUTS, GRADIENTS])
            .map_err(|why| wrong(format!("by single steps, {why}")))?;
    }
    if drawn.setting.cost(&drawn.program) <= 3e4 {
        super::levels::check(drawn, &known)?;
        seen.levels = true;
    }
    Ok(seen)
}
