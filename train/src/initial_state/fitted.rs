//! Fitted noise: Gaussian with the mean and deviation of final states, by layer, state and head.
//!
//! The estimator: for each head the first two moments of all elements of its final states, over the
//! batch and the dims of the state, in f64; averaged over batches with weight
//! `max(1 - momentum, 1 / n)` for the n-th. So the first `1 / (1 - momentum)` batches count alike,
//! and from then on older ones fade. The deviation is the root of the second moment less the square
//! of the first. Before the first step some batches are run from zero only to be recorded, so that
//! step 0 already draws. The paper leaves all of this open.

use super::noise::gaussian;
use super::{InitialState, Moment, sequences};
use crate::Error;
use crate::models::HostStates;
use baton_runtime::Tensor;
use std::collections::BTreeMap;

/// The means of the elements and of their squares, for each head of a state.
type Heads = Vec<[f64; 2]>;

/// The fitted-noise policy.
#[derive(Clone, Debug)]
pub struct FittedNoise {
    momentum: f64,
    fit: usize,
    p_zero: f64,
    /// Batches recorded.
    seen: u64,
    /// `[layer][state]`.
    moments: Vec<Vec<Heads>>,
}

impl FittedNoise {
    /// With the momentum of its moments, the batches to record before the first step, and the
    /// probability of a zero state.
    pub fn new(momentum: f64, fit: usize, p_zero: f64) -> Self {
        FittedNoise {
            momentum,
            fit,
            p_zero,
            seen: 0,
            moments: Vec::new(),
        }
    }

    fn record(&mut self, finals: &HostStates) {
        let batch: Vec<Vec<Heads>> = finals
            .iter()
            .map(|layer| layer.recurrence.iter().map(heads).collect())
            .collect();
        self.seen += 1;
        if self.seen == 1 {
            self.moments = batch;
            return;
        }
        let weight = (1.0 - self.momentum).max(1.0 / self.seen as f64);
        let all = self.moments.iter_mut().flatten().flatten().flatten();
        for (mean, new) in all.zip(batch.into_iter().flatten().flatten().flatten()) {
            *mean += weight * (new - *mean);
        }
    }
}

/// The two moments of each head of a state [B, H, dims...].
fn heads(state: &Tensor) -> Heads {
    let heads = state.shape.get(1).copied().unwrap_or(1);
    let each = state.shape.iter().skip(2).product::<usize>().max(1);
    let mut sums = vec![[0.0; 2]; heads];
    for (at, head) in state.data.chunks(each).enumerate() {
        let [sum, square] = &mut sums[at % heads];
        for &x in head {
            *sum += x as f64;
            *square += x as f64 * x as f64;
        }
    }
    let count = (state.data.len() / heads.max(1)).max(1) as f64;
    sums.into_iter()
        .map(|sums| sums.map(|s| s / count))
        .collect()
}

impl InitialState for FittedNoise {
    fn name(&self) -> &'static str {
        "fitted_noise"
    }

    fn draw(&self, mut moment: Moment<'_>) -> Option<HostStates> {
        if self.seen == 0 {
            return None;
        }
        let zeroed = sequences::zeroed(moment.batch, self.p_zero, &mut moment.rng);
        let mut states = gaussian(&mut moment, |layer, state, head| {
            let [mean, square] = self.moments[layer][state][head];
            (mean, (square - mean * mean).max(0.0).sqrt())
        });
        sequences::clear_all(&mut states, &zeroed);
        Some(states)
    }

    fn fit_batches(&self) -> usize {
        self.fit
    }

    fn fit(&mut self, finals: &HostStates) {
        self.record(finals);
    }

    fn observes(&self) -> bool {
        true
    }

    fn observe(&mut self, finals: HostStates) {
        self.record(&finals);
    }

    fn carried(&self) -> Vec<(String, Tensor)> {
        let mut all = vec![("seen".to_string(), words(&[self.seen]))];
        for (layer, states) in self.moments.iter().enumerate() {
            for (state, heads) in states.iter().enumerate() {
                let bits: Vec<u64> = heads.iter().flatten().map(|x| x.to_bits()).collect();
                all.push((format!("{layer}.{state}"), words(&bits)));
            }
        }
        all
    }

    fn restore(&mut self, carried: Vec<(String, Tensor)>) -> Result<(), Error> {
        let mut found: BTreeMap<(usize, usize), Heads> = BTreeMap::new();
        for (name, tensor) in carried {
            let wrong = || {
                Error::Config(format!(
                    "`{name}` is no recorded moment, expected `seen` or LAYER.STATE"
                ))
            };
            let bits = unworded(&tensor).ok_or_else(wrong)?;
            if name == "seen" {
                self.seen = *bits.first().ok_or_else(wrong)?;
                continue;
            }
            let (layer, state) = name.split_once('.').ok_or_else(wrong)?;
            let place = (
                layer.parse().map_err(|_| wrong())?,
                state.parse().map_err(|_| wrong())?,
            );
            let pairs = bits.chunks_exact(2);
            let pairs = pairs.map(|pair| [f64::from_bits(pair[0]), f64::from_bits(pair[1])]);
            found.insert(place, pairs.collect());
        }
        self.moments = Vec::new();
        for ((layer, _), heads) in found {
            self.moments
                .resize(self.moments.len().max(layer + 1), Vec::new());
            self.moments[layer].push(heads);
        }
        Ok(())
    }
}

/// 64-bit words as numbers below 65536, which f32 holds exactly: a checkpoint's tensors are f32.
fn words(values: &[u64]) -> Tensor {
    let parts = |value: &u64| [48, 32, 16, 0].map(|shift| (value >> shift & 0xffff) as f32);
    Tensor {
        shape: vec![values.len(), 4],
        data: values.iter().flat_map(parts).collect(),
    }
}

/// What [`words`] was given.
fn unworded(tensor: &Tensor) -> Option<Vec<u64>> {
    let right = |&x: &f32| (0.0..65536.0).contains(&x) && x.fract() == 0.0;
    let join = |parts: &[f32]| parts.iter().fold(0, |word, &part| word << 16 | part as u64);
    (tensor.data.len().is_multiple_of(4) && tensor.data.iter().all(right))
        .then(|| tensor.data.chunks_exact(4).map(join).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initial_state::moment;
    use crate::models::HostState;
    use baton_data::rng::{Purpose, Rng};

    const MOMENTS: [(f64, f64); 3] = [(0.5, 0.1), (-2.0, 1.0), (0.0, 3.0)];

    fn sizes() -> Vec<Vec<Vec<usize>>> {
        vec![vec![vec![3, 8, 16], vec![3, 64]]; 2]
    }

    /// Final states whose head h has its own mean and deviation.
    fn finals(step: u64) -> HostStates {
        let mut moment = moment(step, 32, &[]);
        moment.rng = Rng::at(9, Purpose::Weights, step);
        let sizes = sizes();
        moment.sizes = &sizes;
        gaussian(&mut moment, |_, _, head| MOMENTS[head])
    }

    #[test]
    fn draws_have_the_moments_of_what_was_seen_head_by_head() {
        let mut policy = FittedNoise::new(0.9, 2, 0.0);
        assert_eq!(policy.draw(moment(0, 32, &sizes())), None);
        policy.fit(&finals(0));
        policy.fit(&finals(1));
        let drawn = policy.draw(moment(0, 64, &sizes())).unwrap();
        assert_eq!(drawn, policy.draw(moment(0, 64, &sizes())).unwrap());
        for state in drawn.iter().flat_map(|layer| &layer.recurrence) {
            for ([mean, square], (want, std)) in heads(state).into_iter().zip(MOMENTS) {
                // 4096 elements recorded and drawn at least: five standard errors.
                assert!((mean - want).abs() < 5.0 * std / 40.0, "{mean} {want}");
                let got = (square - mean * mean).sqrt();
                assert!((got / std - 1.0).abs() < 0.1, "{got} {std}");
            }
        }
    }

    #[test]
    fn moments_average_evenly_then_fade() {
        let constant = |value: f32| {
            vec![HostState {
                recurrence: vec![Tensor::full(&[2, 1, 4], value)],
                conv: None,
                memory: None,
            }]
        };
        let mut policy = FittedNoise::new(0.75, 0, 0.0);
        let mut mean = 0.0;
        for (n, value) in [4.0f32, 2.0, 0.0, 6.0, 1.0].into_iter().enumerate() {
            policy.observe(constant(value));
            let weight = (1.0 / (n + 1) as f64).max(0.25);
            mean += weight * (value as f64 - mean);
            assert!((policy.moments[0][0][0][0] - mean).abs() < 1e-12);
        }
        assert!((mean - (3.0 * 0.75 + 0.25)).abs() < 1e-12);
    }

    #[test]
    fn what_is_recorded_is_restored_to_the_bit() {
        let mut policy = FittedNoise::new(0.9, 2, 0.1);
        (0..3).for_each(|step| policy.observe(finals(step)));
        let mut other = FittedNoise::new(0.9, 2, 0.1);
        let mut carried = policy.carried();
        carried.reverse();
        other.restore(carried).unwrap();
        assert_eq!((other.seen, &other.moments), (3, &policy.moments));
        let bad = vec![("x".to_string(), words(&[1]))];
        assert!(other.restore(bad).is_err());
    }
}
