//! How large the terms of every result are: what rounding can do to it.
//!
//! A sum of numbers that cancel is not small because its error is; a device that adds in another
//! order errs by the size of the terms. So each value carries a `size` beside it: the same computation
//! on absolute values, where a function multiplies what comes in by its steepest slope nearby. In
//! first order, arithmetic with unit roundoff u gives every value to within a small multiple of
//! `u * size`, in whatever order sums run and products are distributed, so `bound * size` is what an
//! element may be off by, and a sum without cancellation has the bound of the table. Nothing is
//! fitted to what a device gives.
//!
//! What is carried from step to step, a state, its adjoint or a sum over steps, is rounded once at each,
//! and equal terms may round the same way every time. So a value knows the sizes that it was carried with, and
//! is allowed one unit of each beside its bound: for a sum of a thousand equal steps that is more than the bound,
//! for a state that decays next to nothing.
//!
//! Where a number is so near to an edge that rounding decides (of `relu`, `abs`, `min`, `max`; of the
//! domain of `log`), the size of the slope says that nothing is known, and where an argument is exact,
//! as a zero state is, that everything is. A size that f32 cannot hold is infinite, and so is that of
//! all that is made of it: such elements, and no others, are not compared.
//!
//! The values are computed on the way, from the recurrence alone and by other code than the step
//! interpreter's: the two are compared, so that the truth has a witness.

mod number;
mod program;

pub use number::Term;

use crate::random::Drawn;
use crate::random::numbers::{Numbers, Truth, given};
use baton_ir::recurrence::Port;
use program::{Code, Slot};

/// Sizes of all results, each beside the value.
#[derive(Clone, Debug)]
pub struct Terms {
    /// For each output.
    pub outputs: Vec<Vec<Term>>,
    /// For each leaving state.
    pub states: Vec<Vec<Term>>,
    /// Gradients of the inputs.
    pub d_inputs: Vec<Vec<Term>>,
    /// Gradients of the params.
    pub d_params: Vec<Vec<Term>>,
    /// Gradients of the entering states.
    pub d_states: Vec<Vec<Term>>,
}

/// Computes values and sizes of a case for arithmetic that errs by about `bound`.
pub fn terms(drawn: &Drawn, numbers: &Numbers, bound: f64) -> Result<Terms, String> {
    let problem = drawn.problem(numbers);
    let r = &numbers.recurrence;
    let code = Code::new(r, &numbers.sizes)?;
    let steps = problem.batch * problem.time;
    let sequences = problem.sequences();
    let zeros = |ports: &[Port], rows: usize| -> Vec<Vec<Term>> {
        let zeros = |port| vec![Term::default(); rows * problem.row(port)];
        ports.iter().map(zeros).collect()
    };
    let mut terms = Terms {
        outputs: zeros(&r.outputs, steps),
        states: zeros(&r.states, sequences.len()),
        d_inputs: zeros(&r.inputs, steps),
        d_params: zeros(&r.params, 1),
        d_states: zeros(&r.states, sequences.len()),
    };
    let (d_outputs, d_states) = (given(&numbers.d_outputs), given(&numbers.d_states));
    let (heads, groups) = (problem.heads, problem.groups);
    let lane = |port: &Port, head: usize| match port.per_group {
        true => (groups, head / (heads / groups)),
        false => (heads, head),
    };
    let mut values = code.constants();
    for (number, sequence) in sequences.iter().enumerate() {
        for head in 0..heads {
            let first = sequence.row * problem.time + sequence.start;
            let load_step = |values: &mut [Term], step: usize| {
                for ((port, slot), data) in r.inputs.iter().zip(&code.inputs).zip(&problem.inputs) {
                    let (lanes, lane) = lane(port, head);
                    slot.load(values, &data[((first + step) * lanes + lane) * slot.len..]);
                }
            };
            for (slot, data) in code.params.iter().zip(&problem.params) {
                slot.load(&mut values, &data[head * slot.len..]);
            }
            let mut entering = vec![];
            let mut state: Vec<Term> = vec![];
            for (slot, data) in code.entering.iter().zip(&problem.states) {
                let at = (number * heads + head) * slot.len;
                let exact = |i| Term::exact(data.map_or(0.0, |data| data[at + i]));
                state.extend((0..slot.len).map(exact));
            }
            for step in 0..sequence.len {
                entering.push(state.clone());
                values[..state.len()].copy_from_slice(&state);
                load_step(&mut values, step);
                code.forward(&mut values, bound);
                for (slot, to) in code.outputs.iter().zip(&mut terms.outputs) {
                    let at = ((first + step) * heads + head) * slot.len;
                    to[at..at + slot.len].copy_from_slice(slot.of(&values));
                }
                state = code.leaving(&values);
            }
            let mut at = 0;
            let row = (number * heads + head, &code.entering);
            for (slot, to) in row.1.iter().zip(&mut terms.states) {
                to[row.0 * slot.len..][..slot.len].copy_from_slice(&state[at..at + slot.len]);
                at += slot.len;
            }

            let mut carried: Vec<Term> = vec![];
            for (slot, data) in code.entering.iter().zip(&d_states) {
                let at = row.0 * slot.len;
                let exact = |i| Term::exact(data.map_or(0.0, |data| data[at + i]));
                carried.extend((0..slot.len).map(exact));
            }
            let mut adjoints = vec![Term::default(); values.len()];
            for step in (0..sequence.len).rev() {
                values[..carried.len()].copy_from_slice(&entering[step]);
                load_step(&mut values, step);
                code.forward(&mut values, bound);
                adjoints.fill(Term::default());
                for (slot, data) in code.outputs.iter().zip(&d_outputs) {
                    if let Some(data) = data {
                        let at = ((first + step) * heads + head) * slot.len;
                        let from = data[at..at + slot.len].iter();
                        let to = slot.of_mut(&mut adjoints).iter_mut();
                        to.zip(from).for_each(|(to, x)| *to = *to + Term::exact(*x));
                    }
                }
                code.arrive(&mut adjoints, &carried);
                code.reverse(&values, &mut adjoints, bound);
                let states = carried.len();
                let entering = adjoints[..states].iter().map(|term| term.rounded());
                carried = entering.collect();
                for ((port, slot), to) in r.inputs.iter().zip(&code.inputs).zip(&mut terms.d_inputs)
                {
                    let (lanes, lane) = lane(port, head);
                    let at = ((first + step) * lanes + lane) * slot.len;
                    slot.add(&adjoints, &mut to[at..]);
                }
                for (slot, to) in code.params.iter().zip(&mut terms.d_params) {
                    slot.add(&adjoints, &mut to[head * slot.len..]);
                }
            }
            let mut at = 0;
            for (slot, to) in code.entering.iter().zip(&mut terms.d_states) {
                to[row.0 * slot.len..][..slot.len].copy_from_slice(&carried[at..at + slot.len]);
                at += slot.len;
            }
        }
    }
    Ok(terms)
}

impl Slot {
    fn load(&self, values: &mut [Term], from: &[f64]) {
        let to = self.of_mut(values).iter_mut();
        to.zip(from).for_each(|(to, x)| *to = Term::exact(*x));
    }

    fn add(&self, adjoints: &[Term], to: &mut [Term]) {
        let from = self.of(adjoints).iter();
        to.iter_mut()
            .zip(from)
            .for_each(|(to, from)| *to = (*to + *from).rounded());
    }
}

impl Terms {
    /// Every tensor with its name beside what the truth says it is: outputs and states, then gradients.
    pub fn beside<'a>(&'a self, numbers: &Numbers, truth: &'a Truth) -> Vec<Beside<'a>> {
        let r = &numbers.recurrence;
        let groups = [
            ("", false, &r.outputs, &self.outputs, &truth.outcome.outputs),
            ("", false, &r.states, &self.states, &truth.outcome.states),
            (
                "d_",
                true,
                &r.inputs,
                &self.d_inputs,
                &truth.gradient.inputs,
            ),
            (
                "d_",
                true,
                &r.params,
                &self.d_params,
                &truth.gradient.params,
            ),
            (
                "d_",
                true,
                &r.states,
                &self.d_states,
                &truth.gradient.states,
            ),
        ];
        let mut all = vec![];
        for (prefix, gradient, ports, terms, truth) in groups {
            for (port, (terms, truth)) in ports.iter().zip(terms.iter().zip(truth)) {
                let name = format!("{prefix}{}", port.name);
                all.push(Beside {
                    name,
                    gradient,
                    terms,
                    truth,
                });
            }
        }
        all
    }
}

/// One tensor of the truth with its terms.
pub struct Beside<'a> {
    /// Its name.
    pub name: String,
    /// Whether it is a gradient.
    pub gradient: bool,
    /// Values and sizes.
    pub terms: &'a [Term],
    /// The step interpreter's values.
    pub truth: &'a [f64],
}

impl Beside<'_> {
    /// What an element may be off by: `bound` of its size, and a rounding for each time that it was carried on.
    fn allowed(term: &Term, bound: f64, unit: f64) -> f64 {
        bound * term.size + unit * term.carried
    }

    /// How many elements are compared to any purpose: an error of a hundredth of the largest is seen.
    pub fn compared(&self, bound: f64, unit: f64) -> usize {
        let largest = self.truth.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let seen = |term: &&Term| Self::allowed(term, bound, unit) <= 0.01 * largest;
        match largest == 0.0 {
            true => self.truth.len(),
            false => self.terms.iter().filter(seen).count(),
        }
    }

    /// How far `found` is off, relative to the terms: the root of the mean square over what is compared.
    pub fn distance(&self, found: impl Iterator<Item = f64>) -> f64 {
        let pairs = found.zip(self.terms.iter().zip(self.truth));
        let known = pairs.filter(|(_, (term, _))| term.size.is_finite());
        let (mut sum, mut count) = (0.0, 0);
        for (found, (term, truth)) in known {
            let off = (found - truth) / term.size.max(f64::MIN_POSITIVE);
            sum += if found == *truth { 0.0 } else { off * off };
            count += 1;
        }
        (sum / f64::from(count.max(1))).sqrt()
    }

    /// The worst element of `found`, where it is off by more than is allowed with this unit roundoff.
    pub fn worst(&self, found: impl Iterator<Item = f64>, bound: f64, unit: f64) -> Option<String> {
        let mut worst = (1.0, None);
        let mut count = 0;
        for (i, (found, (term, truth))) in found.zip(self.terms.iter().zip(self.truth)).enumerate()
        {
            count += 1;
            if !term.size.is_finite() {
                continue;
            }
            let allowed = Self::allowed(term, bound, unit);
            let off = (found - truth).abs() / allowed.max(f64::MIN_POSITIVE);
            if off > worst.0 || off.is_nan() {
                let off = if off.is_nan() { f64::INFINITY } else { off };
                worst = (off, Some((i, found, *truth, term.size)));
            }
        }
        if count != self.truth.len() {
            return Some(format!(
                "{}: {count} of {} entries",
                self.name,
                self.truth.len()
            ));
        }
        let (off, (i, found, truth, size)) = (worst.0, worst.1?);
        Some(format!(
            "{} [{i}]: found {found:e}, truth {truth:e}, terms {size:e}: off by {off:.1} times {bound:e} of the terms",
            self.name
        ))
    }
}
