//! For each sequence one of several policies, drawn by weights.
//!
//! All of them see all final states, whichever sequence began with whose. If one needs the data in
//! order, all read it so: state passing beside truncated BPTT then is truncated BPTT as well.

use super::several::{Several, parts_see_and_keep};
use super::{InitialState, Moment, Order, sequences};
use crate::Error;
use crate::models::HostStates;
use baton_runtime::Tensor;

/// The mixed policy.
pub struct Mixed {
    weights: Vec<f64>,
    parts: Several,
}

impl Mixed {
    /// Policies with their weights, which are not negative and not all zero.
    pub fn new(weights: Vec<f64>, parts: Vec<Box<dyn InitialState>>) -> Self {
        let parts = Several::new(parts);
        Mixed { weights, parts }
    }

    /// The policy at a place in 0 .. 1 of the weights laid end to end.
    fn at(&self, place: f64) -> usize {
        let mut left = place * self.weights.iter().sum::<f64>();
        let found = self.weights.iter().position(|&weight| {
            left -= weight;
            left < 0.0
        });
        let last = || self.weights.iter().rposition(|&weight| weight > 0.0);
        found.or_else(last).unwrap_or(0)
    }
}

impl InitialState for Mixed {
    fn name(&self) -> &'static str {
        "mixed"
    }

    fn draw(&self, mut moment: Moment<'_>) -> Option<HostStates> {
        let chosen: Vec<usize> = (0..moment.batch)
            .map(|_| self.at(moment.rng.uniform()))
            .collect();
        let drawn = self.parts.draw(&mut moment);
        sequences::choose(moment.batch, moment.sizes, &drawn, &chosen)
    }

    parts_see_and_keep!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initial_state::{Noise, StatePassing, Zero, moment};
    use crate::models::HostState;
    use baton_config::Convolution;

    #[test]
    fn every_sequence_is_whole_of_one_policy() {
        let sizes = vec![vec![vec![2, 8]]; 2];
        let mut mixed = Mixed::new(
            vec![1.0, 0.0, 3.0],
            vec![
                Box::new(StatePassing::new(0.0, Convolution::Carried)),
                Box::new(Noise::new(1.0, 0.0)),
                Box::new(Zero),
            ],
        );
        assert!(mixed.observes());
        mixed.observe(vec![
            HostState {
                recurrence: vec![Tensor::full(&[400, 2, 8], 5.0)],
                conv: Some(Tensor::full(&[400, 3], 5.0)),
                memory: None,
            };
            2
        ]);
        let states = mixed.draw(moment(3, 400, &sizes)).unwrap();
        let (one, conv) = (&states[0].recurrence[0], states[1].conv.as_ref().unwrap());
        let mut passed = 0;
        for row in 0..400 {
            let value = one.data[row * 16];
            let whole = one.data[row * 16..][..16]
                .iter()
                .chain(&conv.data[row * 3..][..3]);
            assert!(whole.into_iter().all(|v| *v == value), "row {row}");
            assert!(value == 5.0 || value == 0.0, "weight 0 is never drawn");
            passed += usize::from(value == 5.0);
        }
        // A quarter of 400, within five standard errors.
        assert!((57..=143).contains(&passed), "{passed}");

        let mut other = Mixed::new(
            vec![1.0, 0.0, 3.0],
            vec![
                Box::new(StatePassing::new(0.0, Convolution::Carried)),
                Box::new(Noise::new(1.0, 0.0)),
                Box::new(Zero),
            ],
        );
        other.restore(mixed.carried()).unwrap();
        assert_eq!(other.draw(moment(3, 400, &sizes)).unwrap(), states);
        let stray = vec![("7.0.0".to_string(), Tensor::full(&[1], 0.0))];
        let error = other.restore(stray).unwrap_err().to_string();
        assert!(error.contains("`7.0.0`"), "{error}");
    }

    #[test]
    fn nothing_but_zero_is_zero() {
        let zero = || Box::new(Zero) as Box<dyn InitialState>;
        let mixed = Mixed::new(vec![1.0, 1.0], vec![zero(), zero()]);
        assert_eq!(mixed.draw(moment(0, 4, &[])), None);
    }
}
