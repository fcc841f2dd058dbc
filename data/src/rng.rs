//! Random numbers that can be asked for by place: a seed, a named stream and a step give the same
//! numbers whatever was drawn before. So a resumed run needs no generator state, only its step.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeSet;

/// What numbers are drawn for; each purpose has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The initial weights.
    Weights = 1,
    /// Where the windows of a step begin.
    Windows = 2,
    /// The initial states of a step.
    States = 3,
    /// Which parts of the held-out text are evaluated.
    Evaluation = 4,
    /// The tokens of a text that is made.
    Generation = 5,
    /// The noise of the choices of a step.
    Choices = 6,
    /// The trials of a task that is evaluated.
    Trials = 16,
    /// The examples of a task that is trained on.
    Examples = 17,
}

/// A generator at one place of one stream; one without a stream gives zeros.
pub struct Rng(Option<ChaCha8Rng>);

impl Rng {
    /// The numbers of `purpose` at `step`.
    pub fn at(seed: u64, purpose: Purpose, step: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (purpose as u64) << 56);
        rng.set_stream(step);
        Rng(Some(rng))
    }

    /// Draws nothing, for weights that are replaced at once.
    pub fn blank() -> Self {
        Rng(None)
    }

    /// Whether nothing is drawn.
    pub fn is_blank(&self) -> bool {
        self.0.is_none()
    }

    /// 64 of them.
    pub fn bits(&mut self) -> u64 {
        self.0.as_mut().map_or(0, ChaCha8Rng::next_u64)
    }

    /// Another generator, seeded by this one's next number.
    pub fn fork(&mut self) -> Rng {
        Rng(Some(ChaCha8Rng::seed_from_u64(self.bits())))
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in 0 .. n; n is positive.
    pub fn below(&mut self, n: usize) -> usize {
        (((self.bits() as u128) * n as u128) >> 64) as usize
    }

    /// One of `choices`, which is not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// A uniformly random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// `count` different numbers of 0 .. n in random order; `count` is at most n. Takes memory for
    /// `count` numbers (Floyd's method).
    pub fn distinct(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut seen = BTreeSet::new();
        let mut chosen = Vec::with_capacity(count);
        for top in n - count..n {
            let drawn = self.below(top + 1);
            let next = if seen.contains(&drawn) { top } else { drawn };
            seen.insert(next);
            chosen.push(next);
        }
        self.shuffle(&mut chosen);
        chosen
    }

    /// Gaussian with mean 0 and standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Fills `out` with Gaussian numbers, two from each radius.
    pub fn fill_normal(&mut self, out: &mut [f32], mean: f64, std: f64) {
        for pair in out.chunks_mut(2) {
            let radius = std * (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            let (sine, cosine) = (std::f64::consts::TAU * self.uniform()).sin_cos();
            for (x, part) in pair.iter_mut().zip([cosine, sine]) {
                *x = (mean + radius * part) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_independent_of_history_and_of_each_other() {
        let draw = |seed, purpose, step| Rng::at(seed, purpose, step).bits();
        let all = [
            draw(1, Purpose::Windows, 0),
            draw(1, Purpose::Windows, 1),
            draw(1, Purpose::States, 0),
            draw(2, Purpose::Windows, 0),
        ];
        assert_eq!(all[1], draw(1, Purpose::Windows, 1));
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
    }

    #[test]
    fn distinct_numbers_are_uniform_and_differ() {
        let mut rng = Rng::at(3, Purpose::Trials, 0);
        let mut counts = [[0.0; 5]; 3];
        let n = 30_000;
        for _ in 0..n {
            let chosen = rng.distinct(5, 3);
            assert!(chosen[0] != chosen[1] && chosen[0] != chosen[2] && chosen[1] != chosen[2]);
            for (place, number) in chosen.into_iter().enumerate() {
                counts[place][number] += 1.0 / n as f64;
            }
        }
        for share in counts.as_flattened() {
            assert!((share - 0.2).abs() < 0.01, "{counts:?}");
        }
        assert_eq!(rng.distinct(4, 4).iter().sum::<usize>(), 6);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = Rng::at(7, Purpose::Weights, 0);
        let n = 200_000;
        let normal: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = normal.iter().sum::<f64>() / n as f64;
        let variance = normal.iter().map(|x| x * x).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02);
        let hits = (0..n).filter(|_| rng.below(10) == 9).count() as f64;
        assert!((hits / n as f64 - 0.1).abs() < 0.005);
    }
}
