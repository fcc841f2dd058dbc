//! State passing (Buitrago Ruiz and Gu, arXiv 2507.02782, section 4.4): a sequence begins with the
//! final state of an unrelated one, in practice that of the same slot of the previous batch.
//!
//! With probability p a sequence begins at zero instead, in all layers at once: a model that only
//! ever began from states would forget how a text begins.

use super::{InitialState, Moment, named};
use crate::Error;
use crate::models::{HostState, HostStates};
use baton_runtime::Tensor;
use std::collections::BTreeMap;

/// The state-passing policy.
#[derive(Clone, Debug)]
pub struct StatePassing {
    p_zero: f64,
    pass_conv: bool,
    /// Final states of each part of the previous step's batch.
    carried: BTreeMap<usize, HostStates>,
    /// Those of the batch in work.
    pending: BTreeMap<usize, HostStates>,
}

impl StatePassing {
    /// With the probability of a zero state, and whether the convolution's state is passed too.
    pub fn new(p_zero: f64, pass_conv: bool) -> Self {
        StatePassing {
            p_zero,
            pass_conv,
            carried: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }
}

impl InitialState for StatePassing {
    fn name(&self) -> &'static str {
        "state_passing"
    }

    fn draw(&mut self, mut moment: Moment<'_>) -> Option<HostStates> {
        let mut states = self.carried.get(&moment.part)?.clone();
        for sequence in 0..moment.batch {
            if moment.rng.uniform() < self.p_zero {
                for layer in &mut states {
                    let all = layer.recurrence.iter_mut().chain(&mut layer.conv);
                    all.for_each(|state| clear(state, sequence));
                }
            }
        }
        Some(states)
    }

    fn observe(&mut self, part: usize, finals: &dyn Fn() -> HostStates) {
        let mut finals = finals();
        if !self.pass_conv {
            finals.iter_mut().for_each(|layer| layer.conv = None);
        }
        self.pending.insert(part, finals);
    }

    fn commit(&mut self) {
        self.carried = std::mem::take(&mut self.pending);
    }

    fn carried(&self) -> Vec<(String, Tensor)> {
        let parts = self.carried.iter();
        parts
            .flat_map(|(part, states)| named(&part.to_string(), states))
            .collect()
    }

    fn restore(&mut self, carried: Vec<(String, Tensor)>) -> Result<(), Error> {
        let unknown = |name: &str| {
            Error::Config(format!(
                "`{name}` is no carried state, expected PART.LAYER.STATE or PART.LAYER.conv"
            ))
        };
        let mut found: BTreeMap<usize, BTreeMap<usize, BTreeMap<String, Tensor>>> = BTreeMap::new();
        for (name, tensor) in carried {
            let mut words = name.split('.');
            let mut number = || words.next().and_then(|word| word.parse().ok());
            let (Some(part), Some(layer)) = (number(), number()) else {
                return Err(unknown(&name));
            };
            let key = words.next().ok_or_else(|| unknown(&name))?.to_string();
            found
                .entry(part)
                .or_default()
                .entry(layer)
                .or_default()
                .insert(key, tensor);
        }
        let layer = |mut states: BTreeMap<String, Tensor>| HostState {
            conv: states.remove("conv"),
            recurrence: states.into_values().collect(),
        };
        let part = |layers: BTreeMap<usize, _>| layers.into_values().map(layer).collect();
        self.carried = found
            .into_iter()
            .map(|(i, layers)| (i, part(layers)))
            .collect();
        Ok(())
    }
}

/// Zeroes the state of one sequence.
fn clear(state: &mut Tensor, sequence: usize) {
    let each = state.data.len() / state.shape[0].max(1);
    state.data[sequence * each..(sequence + 1) * each].fill(0.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Rng};

    fn states(value: f32) -> HostStates {
        let layer = HostState {
            recurrence: vec![Tensor::full(&[50, 2, 3], value)],
            conv: Some(Tensor::full(&[50, 3, 4], value)),
        };
        vec![layer.clone(), layer]
    }

    fn draw(policy: &mut StatePassing, step: u64) -> Option<HostStates> {
        policy.draw(Moment {
            step,
            part: 0,
            batch: 50,
            sizes: &[],
            rng: Rng::at(1, Purpose::States, step),
        })
    }

    #[test]
    fn states_count_only_after_the_step_and_are_zeroed_together() {
        let mut policy = StatePassing::new(0.1, false);
        assert_eq!(draw(&mut policy, 0), None);
        policy.observe(0, &|| states(1.0));
        assert_eq!(draw(&mut policy, 0), None);
        policy.commit();
        let first = draw(&mut policy, 1).unwrap();
        policy.observe(0, &|| states(2.0));
        assert_eq!(draw(&mut policy, 1).unwrap(), first);
        assert_eq!(first[0], first[1]);
        assert_eq!(first[0].conv, None);
        let sequences = first[0].recurrence[0].data.chunks(6);
        let zeroed = sequences
            .clone()
            .filter(|s| s.iter().all(|v| *v == 0.0))
            .count();
        assert!((1..15).contains(&zeroed), "{zeroed} of 50 at p = 0.1");
        assert_eq!(
            sequences.filter(|s| s.iter().all(|v| *v == 1.0)).count(),
            50 - zeroed
        );
    }

    #[test]
    fn what_is_carried_is_restored() {
        let mut policy = StatePassing::new(0.5, true);
        policy.observe(0, &|| states(3.0));
        policy.observe(1, &|| states(4.0));
        policy.commit();
        let mut other = StatePassing::new(0.5, true);
        other.restore(policy.carried()).unwrap();
        assert_eq!(draw(&mut other, 5), draw(&mut policy, 5));
        assert_eq!(other.carried(), policy.carried());
        let error = other
            .restore(vec![("x.y".into(), Tensor::full(&[1], 0.0))])
            .unwrap_err();
        assert!(error.to_string().starts_with("`x.y` is no carried state"));
    }
}
