//! The interpreter's gradients against central differences, entry by entry, in f64.
//!
//! With a step of 1e-5 the difference is good to about 1e-9 of the sizes here; the bound is 1e-7
//! absolute on gradients of order one. Five or seven steps cross the interpreter's checkpoints.

use baton_ir::interp::problem::Problem;
use baton_ir::interp::recurrence::{Outcome, forward, gradient};
use baton_ir::recurrence::Recurrence;
use baton_ir::{builtin, text};

const STEP: f64 = 1e-5;
const BOUND: f64 = 1e-7;

/// Numbers without a pattern, from -1 to 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn vector(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.next()).collect()
    }
}

/// The shape of a run: everything of a problem but its numbers.
#[derive(Clone)]
struct Case<'a> {
    recurrence: &'a Recurrence,
    batch: usize,
    time: usize,
    cu_seqlens: Option<Vec<usize>>,
    /// Inputs, params and states in, one after the other.
    given: Vec<Vec<f64>>,
}

impl<'a> Case<'a> {
    fn new(
        recurrence: &'a Recurrence,
        batch: usize,
        time: usize,
        ends: Option<Vec<usize>>,
    ) -> Self {
        let mut case = Case {
            recurrence,
            batch,
            time,
            cu_seqlens: ends,
            given: Vec::new(),
        };
        let problem = case.problem();
        let sequences = problem.sequences().len();
        let ports = |ports: &'a [baton_ir::recurrence::Port], rows: usize| {
            ports
                .iter()
                .map(|port| rows * problem.row(port))
                .collect::<Vec<_>>()
        };
        let lengths = [
            ports(&recurrence.inputs, batch * time),
            ports(&recurrence.params, 1),
            ports(&recurrence.states, sequences),
        ];
        let mut noise = Noise(0x2545_f491_4f6c_dd1d);
        case.given = lengths
            .concat()
            .into_iter()
            .map(|len| noise.vector(len))
            .collect();
        case
    }

    fn problem(&self) -> Problem<'_> {
        let Recurrence {
            inputs,
            params,
            states,
            ..
        } = self.recurrence;
        let mut given = self.given.iter().map(Vec::as_slice);
        Problem {
            recurrence: self.recurrence,
            sizes: [3, 2][..self.recurrence.dims.len()].to_vec(),
            batch: self.batch,
            time: self.time,
            heads: 4,
            groups: 2,
            cu_seqlens: self.cu_seqlens.clone(),
            inputs: given.by_ref().take(inputs.len()).collect(),
            params: given.by_ref().take(params.len()).collect(),
            states: (0..states.len()).map(|_| given.next()).collect(),
        }
    }

    fn check(&mut self) {
        let Outcome { outputs, states } = forward(&self.problem()).unwrap();
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
        let mut weigh = |all: &[Vec<f64>]| -> Vec<Vec<f64>> {
            all.iter().map(|data| noise.vector(data.len())).collect()
        };
        let (d_outputs, d_states) = (weigh(&outputs), weigh(&states));
        let some = |all: &'_ [Vec<f64>]| -> Vec<Option<Vec<f64>>> {
            all.iter().map(|data| Some(data.clone())).collect()
        };
        let (d_o, d_s) = (some(&d_outputs), some(&d_states));
        let d_o: Vec<Option<&[f64]>> = d_o.iter().map(Option::as_deref).collect();
        let d_s: Vec<Option<&[f64]>> = d_s.iter().map(Option::as_deref).collect();
        let derived = gradient(&self.problem(), &d_o, &d_s).unwrap();
        let derived = [derived.inputs, derived.params, derived.states].concat();
        let loss = |case: &Case| -> f64 {
            let outcome = forward(&case.problem()).unwrap();
            let weighed = outcome
                .outputs
                .iter()
                .zip(&d_outputs)
                .chain(outcome.states.iter().zip(&d_states));
            weighed
                .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>())
                .sum()
        };
        assert_eq!(derived.len(), self.given.len());
        for (port, derived) in derived.iter().enumerate() {
            assert_eq!(derived.len(), self.given[port].len());
            for (i, found) in derived.iter().enumerate() {
                let kept = self.given[port][i];
                self.given[port][i] = kept + STEP;
                let above = loss(self);
                self.given[port][i] = kept - STEP;
                let below = loss(self);
                self.given[port][i] = kept;
                let wanted = (above - below) / (2.0 * STEP);
                assert!(
                    (found - wanted).abs() <= BOUND * wanted.abs().max(1.0),
                    "{}, port {port}, entry {i}: {found} and {wanted}",
                    self.recurrence.name
                );
            }
        }
    }
}

fn check(source: &str) {
    let recurrence = text::parse(source).unwrap();
    Case::new(&recurrence, 2, 5, None).check();
    // Packed: a sequence of one step, an empty one and one of six.
    Case::new(&recurrence, 1, 7, Some(vec![0, 1, 1, 7])).check();
}

#[test]
fn of_every_builtin() {
    for name in builtin::NAMES {
        check(builtin::text(name).unwrap());
    }
}

#[test]
fn of_every_function_and_kind_of_state() {
    check(include_str!("verify/fine.rec"));
}

#[test]
fn of_states_that_change_places_and_of_a_value_used_twice() {
    check(
        "recurrence swap {
            dims { K }
            inputs { x: [K] }
            state { a: [K], b: [K] }
            let old = a;
            a = b * b + x;
            b = old;
            output y: [K] = a * b + a;
        }",
    );
}

#[test]
fn absent_gradients_are_zero_and_no_steps_hand_the_state_through() {
    let recurrence = text::parse(builtin::text("mamba2").unwrap()).unwrap();
    let case = Case::new(&recurrence, 2, 3, None);
    let nothing = gradient(&case.problem(), &[None], &[None]).unwrap();
    assert!(
        [nothing.inputs, nothing.params, nothing.states]
            .concat()
            .concat()
            .iter()
            .all(|&g| g == 0.0)
    );

    let case = Case::new(&recurrence, 2, 0, None);
    let arriving = Noise(5).vector(case.given[7].len());
    let through = gradient(&case.problem(), &[None], &[Some(&arriving)]).unwrap();
    assert_eq!(through.states, [arriving]);
    assert_eq!(
        forward(&case.problem()).unwrap().states,
        [case.given[7].clone()]
    );
}

#[test]
fn a_problem_that_does_not_fit_is_an_error() {
    let recurrence = text::parse(builtin::text("gla").unwrap()).unwrap();
    let case = Case::new(&recurrence, 2, 5, None);
    let mut problem = case.problem();
    problem.inputs[2] = &problem.inputs[2][1..];
    let error = forward(&problem).unwrap_err();
    assert!(error.contains("`v`"), "{error}");
    assert!(
        gradient(&case.problem(), &[Some(&[0.0])], &[None])
            .unwrap_err()
            .contains("`o`")
    );
}
