//! Random noise: every element Gaussian with mean 0 and one deviation for all layers and heads.
//!
//! The weakest guess at the states that a long text leads to. The convolution begins at zero.

use super::{InitialState, Moment, sequences};
use crate::models::HostStates;
use baton_data::rng::Rng;
use rayon::prelude::*;

/// The random-noise policy.
#[derive(Clone, Debug)]
pub struct Noise {
    std: f64,
    p_zero: f64,
}

impl Noise {
    /// With a standard deviation and the probability of a zero state.
    pub fn new(std: f64, p_zero: f64) -> Self {
        Noise { std, p_zero }
    }
}

impl InitialState for Noise {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn draw(&self, mut moment: Moment<'_>) -> Option<HostStates> {
        let zeroed = sequences::zeroed(moment.batch, self.p_zero, &mut moment.rng);
        let mut states = gaussian(&mut moment, |_, _, _| (0.0, self.std));
        sequences::clear_all(&mut states, &zeroed);
        Some(states)
    }
}

/// Gaussian states; `moments` gives mean and deviation by layer, state and head.
///
/// Every head of every sequence has a stream of its own, so threads change nothing.
pub(super) fn gaussian(
    moment: &mut Moment<'_>,
    moments: impl Fn(usize, usize, usize) -> (f64, f64) + Sync,
) -> HostStates {
    let mut states = sequences::zero(moment.batch, moment.sizes);
    for (layer, state) in states.iter_mut().enumerate() {
        for (i, state) in state.recurrence.iter_mut().enumerate() {
            let heads = state.shape.get(1).copied().unwrap_or(1).max(1);
            let each = state.shape.iter().skip(2).product::<usize>().max(1);
            let streams: Vec<Rng> = (state.data.chunks(each))
                .map(|_| moment.rng.fork())
                .collect();
            let all = state.data.par_chunks_mut(each).zip(streams).enumerate();
            all.for_each(|(at, (head, mut rng))| {
                let (mean, std) = moments(layer, i, at % heads);
                rng.fill_normal(head, mean, std);
            });
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initial_state::moment;

    #[test]
    fn one_deviation_for_everything_and_none_is_the_identity() {
        let sizes = vec![vec![vec![4, 16, 8], vec![4, 16]], vec![vec![2, 32]]];
        let noise = Noise::new(0.3, 0.25);
        let states = noise.draw(moment(7, 64, &sizes)).unwrap();
        assert_eq!(states, noise.draw(moment(7, 64, &sizes)).unwrap());
        assert_ne!(states, noise.draw(moment(8, 64, &sizes)).unwrap());
        let mut zeroed = Vec::new();
        for state in states.iter().flat_map(|layer| &layer.recurrence) {
            let each = state.data.len() / 64;
            let rows = state.data.chunks(each);
            zeroed.push(
                rows.map(|row| row.iter().all(|v| *v == 0.0))
                    .collect::<Vec<_>>(),
            );
            let drawn: Vec<f64> = (state.data.iter().filter(|v| **v != 0.0))
                .map(|v| *v as f64)
                .collect();
            let (n, sum) = (drawn.len() as f64, drawn.iter().sum::<f64>());
            let square = drawn.iter().map(|v| v * v).sum::<f64>() / n;
            // Five standard errors of the mean and of the deviation.
            assert!((sum / n).abs() < 5.0 * 0.3 / n.sqrt());
            assert!((square.sqrt() - 0.3).abs() < 5.0 * 0.3 / (2.0 * n).sqrt());
        }
        assert!(zeroed.windows(2).all(|pair| pair[0] == pair[1]));
        let count = zeroed[0].iter().filter(|zero| **zero).count();
        assert!((6..28).contains(&count), "{count} of 64 at p = 0.25");
        let none = Noise::new(0.3, 1.0).draw(moment(0, 3, &sizes)).unwrap();
        assert_eq!(none, sequences::zero(3, &sizes));
    }
}
