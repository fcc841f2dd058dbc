//! Policies that set in with the run: slowly from zero, or at a step.
//!
//! The order of the data and what is recorded of final states are those of the policy from the
//! beginning, so that nothing jumps when it sets in but where sequences begin.

use super::several::{Several, parts_see_and_keep};
use super::{InitialState, Moment, Order, sequences};
use crate::Error;
use crate::models::HostStates;
use baton_runtime::Tensor;

/// The probability of the policy's own start rises linearly from 0 to 1.
pub struct WarmUp {
    steps: u64,
    parts: Several,
}

impl WarmUp {
    /// In full force after so many steps.
    pub fn new(steps: u64, policy: Box<dyn InitialState>) -> Self {
        let parts = Several::new(vec![policy]);
        WarmUp { steps, parts }
    }
}

impl InitialState for WarmUp {
    fn name(&self) -> &'static str {
        "warm_up"
    }

    fn draw(&self, mut moment: Moment<'_>) -> Option<HostStates> {
        let force = (moment.step as f64 / self.steps.max(1) as f64).min(1.0);
        let zeroed = sequences::zeroed(moment.batch, 1.0 - force, &mut moment.rng);
        let mut states = self.parts.draw(&mut moment).remove(0)?;
        sequences::clear_all(&mut states, &zeroed);
        Some(states)
    }

    parts_see_and_keep!();
}

/// Zero before a step, the policy from it on.
pub struct After {
    step: u64,
    parts: Several,
}

impl After {
    /// With the policy's first step.
    pub fn new(step: u64, policy: Box<dyn InitialState>) -> Self {
        let parts = Several::new(vec![policy]);
        After { step, parts }
    }
}

impl InitialState for After {
    fn name(&self) -> &'static str {
        "after"
    }

    fn draw(&self, mut moment: Moment<'_>) -> Option<HostStates> {
        match moment.step < self.step {
            true => None,
            false => self.parts.draw(&mut moment).remove(0),
        }
    }

    parts_see_and_keep!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initial_state::{Noise, moment};

    fn begun(policy: &dyn InitialState, step: u64) -> usize {
        let sizes = vec![vec![vec![1, 2]]];
        let Some(states) = policy.draw(moment(step, 1000, &sizes)) else {
            return 0;
        };
        let rows = states[0].recurrence[0].data.chunks(2);
        rows.filter(|row| row.iter().any(|v| *v != 0.0)).count()
    }

    #[test]
    fn the_share_of_nonzero_starts_rises_linearly() {
        let policy = WarmUp::new(200, Box::new(Noise::new(1.0, 0.0)));
        assert_eq!(begun(&policy, 0), 0);
        for (step, share) in [(50, 250), (100, 500), (150, 750)] {
            let got = begun(&policy, step);
            // Five standard errors of 1000 draws are at most 80.
            assert!(got.abs_diff(share) < 80, "{got} of 1000 at step {step}");
        }
        assert_eq!((begun(&policy, 200), begun(&policy, 900)), (1000, 1000));
    }

    #[test]
    fn a_policy_sets_in_at_its_step() {
        let policy = After::new(7, Box::new(Noise::new(1.0, 0.0)));
        assert_eq!((begun(&policy, 6), begun(&policy, 7)), (0, 1000));
    }
}
