//! A policy for some layers and another for others; what is left begins at zero.

use super::several::{Several, parts_see_and_keep};
use super::{InitialState, Moment, Order, sequences};
use crate::Error;
use crate::models::HostStates;
use baton_runtime::Tensor;

/// The policy by layers.
pub struct PerLayer {
    layers: Vec<Vec<usize>>,
    parts: Several,
}

impl PerLayer {
    /// Policies with their layers; a layer has one at most.
    pub fn new(of: Vec<(Vec<usize>, Box<dyn InitialState>)>) -> Self {
        let (layers, parts) = of.into_iter().unzip();
        PerLayer {
            layers,
            parts: Several::new(parts),
        }
    }
}

impl InitialState for PerLayer {
    fn name(&self) -> &'static str {
        "layers"
    }

    fn draw(&self, mut moment: Moment<'_>) -> Option<HostStates> {
        let drawn = self.parts.draw(&mut moment);
        if drawn.iter().all(Option::is_none) {
            return None;
        }
        let mut states = sequences::zero(moment.batch, moment.sizes);
        for (layers, drawn) in self.layers.iter().zip(drawn) {
            for (layer, state) in drawn.into_iter().flatten().enumerate() {
                if layers.contains(&layer) {
                    states[layer] = state;
                }
            }
        }
        Some(states)
    }

    parts_see_and_keep!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initial_state::{Noise, moment};

    #[test]
    fn layers_have_their_own_policy_or_zero() {
        let sizes = vec![vec![vec![2, 3]]; 4];
        let noise = |std| Box::new(Noise::new(std, 0.0)) as Box<dyn InitialState>;
        let policy = PerLayer::new(vec![(vec![0, 3], noise(1.0)), (vec![1], noise(1e-3))]);
        let states = policy.draw(moment(0, 5, &sizes)).unwrap();
        let most = |layer: usize| {
            let data = &states[layer].recurrence[0].data;
            data.iter().fold(0.0f32, |most, v| most.max(v.abs()))
        };
        assert!(most(0) > 0.1 && most(3) > 0.1);
        assert!((1e-5..1e-2).contains(&most(1)));
        assert_eq!(states[2], sequences::zero(5, &sizes)[2]);
    }
}
