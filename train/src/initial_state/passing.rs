//! State passing (Buitrago Ruiz and Gu, arXiv 2507.02782, section 4.4): a sequence begins with the
//! final state of an unrelated one, in practice that of the same slot of the previous batch.
//!
//! With probability p a sequence begins at zero instead, in all layers at once: a model that only
//! ever began from states would forget how a text begins.

use super::{InitialState, Moment, sequences};
use crate::Error;
use crate::models::{HostState, HostStates};
use baton_config::Convolution;
use baton_runtime::Tensor;
use std::collections::BTreeMap;

/// The state-passing policy.
#[derive(Clone, Debug)]
pub struct StatePassing {
    p_zero: f64,
    conv: Convolution,
    /// Final states of the previous step's batch.
    carried: Option<HostStates>,
}

impl StatePassing {
    /// With the probability of a zero state, and where the convolution begins.
    pub fn new(p_zero: f64, conv: Convolution) -> Self {
        StatePassing {
            p_zero,
            conv,
            carried: None,
        }
    }
}

impl InitialState for StatePassing {
    fn name(&self) -> &'static str {
        "state_passing"
    }

    fn draw(&self, mut moment: Moment<'_>) -> Option<HostStates> {
        let mut states = self.carried.clone()?;
        // A checkpoint has no word of layers without a state.
        let layers = states.len().max(moment.sizes.len());
        states.resize(layers, HostState::default());
        let zeroed = sequences::zeroed(moment.batch, self.p_zero, &mut moment.rng);
        sequences::clear_all(&mut states, &zeroed);
        Some(states)
    }

    fn observes(&self) -> bool {
        true
    }

    fn observe(&mut self, mut finals: HostStates) {
        if self.conv == Convolution::Zero {
            finals.iter_mut().for_each(|layer| layer.conv = None);
        }
        self.carried = Some(finals);
    }

    fn carried(&self) -> Vec<(String, Tensor)> {
        self.carried.as_ref().map(named).unwrap_or_default()
    }

    fn restore(&mut self, carried: Vec<(String, Tensor)>) -> Result<(), Error> {
        self.carried = match carried.is_empty() {
            true => None,
            false => Some(unnamed(carried)?),
        };
        Ok(())
    }
}

/// Every tensor of `states` under the name `LAYER.STATE` or `LAYER.conv`.
fn named(states: &HostStates) -> Vec<(String, Tensor)> {
    let mut all = Vec::new();
    for (
        layer,
        HostState {
            recurrence, conv, ..
        },
    ) in states.iter().enumerate()
    {
        for (i, state) in recurrence.iter().enumerate() {
            all.push((format!("{layer}.{i}"), state.clone()));
        }
        if let Some(conv) = conv {
            all.push((format!("{layer}.conv"), conv.clone()));
        }
    }
    all
}

/// The states whose tensors [`named`] gave, in any order.
fn unnamed(carried: Vec<(String, Tensor)>) -> Result<HostStates, Error> {
    let mut found: BTreeMap<usize, (BTreeMap<usize, Tensor>, Option<Tensor>)> = BTreeMap::new();
    for (name, tensor) in carried {
        let unknown = || {
            Error::Config(format!(
                "`{name}` is no carried state, expected LAYER.STATE or LAYER.conv"
            ))
        };
        let (layer, key) = name.split_once('.').ok_or_else(unknown)?;
        let layer = found.entry(layer.parse().map_err(|_| unknown())?);
        let (recurrence, conv) = layer.or_default();
        match key {
            "conv" => *conv = Some(tensor),
            state => {
                recurrence.insert(state.parse().map_err(|_| unknown())?, tensor);
            }
        }
    }
    let count = found.last_key_value().map_or(0, |(layer, _)| layer + 1);
    let mut layers = vec![HostState::default(); count];
    for (layer, (recurrence, conv)) in found {
        layers[layer].recurrence = recurrence.into_values().collect();
        layers[layer].conv = conv;
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initial_state::moment;

    fn states(value: f32) -> HostStates {
        let layer = HostState {
            recurrence: vec![Tensor::full(&[50, 2, 3], value)],
            conv: Some(Tensor::full(&[50, 3, 4], value)),
            memory: None,
        };
        vec![layer.clone(), layer]
    }

    fn draw(policy: &StatePassing, step: u64) -> Option<HostStates> {
        policy.draw(moment(step, 50, &[]))
    }

    #[test]
    fn sequences_are_zeroed_in_all_layers_together() {
        let mut policy = StatePassing::new(0.1, Convolution::Zero);
        assert_eq!(draw(&policy, 0), None);
        policy.observe(states(1.0));
        let first = draw(&policy, 1).unwrap();
        assert_eq!(draw(&policy, 1).unwrap(), first);
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
        let mut policy = StatePassing::new(0.5, Convolution::Carried);
        policy.observe(states(3.0));
        let mut other = StatePassing::new(0.5, Convolution::Carried);
        other.restore(policy.carried()).unwrap();
        assert_eq!(draw(&other, 5), draw(&policy, 5));
        assert_eq!(other.carried(), policy.carried());
        let error = other
            .restore(vec![("x.y".into(), Tensor::full(&[1], 0.0))])
            .unwrap_err();
        assert!(error.to_string().starts_with("`x.y` is no carried state"));
    }
}
