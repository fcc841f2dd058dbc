//! From logits to the next token.
//!
//! In this order, as transformers has it: the repetition penalty (arXiv 1909.05858: a logit of a token that
//! was there is divided by it if positive, else multiplied), the temperature, the `top_k` likeliest, the
//! fewest of them that hold `top_p` of the probability (arXiv 1904.09751), those with at least `min_p` of
//! the likeliest one's (arXiv 2407.01082). What is left is drawn from. Temperature 0 is greedy.

use crate::Error;
use crate::eval::argmax;
use baton_data::rng::Rng;
use serde::{Deserialize, Serialize};

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// What logits are divided by; 0 takes the likeliest token.
    pub temperature: f64,
    /// So many of the likeliest; 0 is all of them.
    pub top_k: usize,
    /// The fewest of the likeliest that have this probability together; 1 is all of them.
    pub top_p: f64,
    /// Those that have at least this share of the likeliest one's probability; 0 is all of them.
    pub min_p: f64,
    /// How much less likely a token is that was there; 1 is not at all.
    pub repetition_penalty: f64,
    /// Of the draws; a token's depends on it, its sequence and its place alone.
    pub seed: u64,
}

impl Default for Sampling {
    /// The likeliest token.
    fn default() -> Self {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 1,
        }
    }
}

impl Sampling {
    /// Refuses settings that choose nothing.
    pub fn check(&self) -> Result<(), Error> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let of = |right: bool, name: &str, given: f64, expected: &str| match right {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "{name} {given} given, expected {expected}"
            ))),
        };
        let temperature = self.temperature;
        of(
            temperature == 0.0 || positive(temperature),
            "a temperature of",
            temperature,
            "0 (the likeliest token) or more",
        )?;
        let (top_p, min_p) = (self.top_p, self.min_p);
        of(
            top_p > 0.0 && top_p <= 1.0,
            "a top-p of",
            top_p,
            "more than 0 and at most 1",
        )?;
        of((0.0..=1.0).contains(&min_p), "a min-p of", min_p, "0 to 1")?;
        of(
            positive(self.repetition_penalty),
            "a repetition penalty of",
            self.repetition_penalty,
            "more than 0 (1 is none)",
        )
    }

    /// The next token after `logits`, which are finite; `seen` are the tokens that were there, each once.
    pub fn next(&self, logits: &[f32], seen: impl Iterator<Item = u32>, rng: &mut Rng) -> u32 {
        let mut logits = logits.to_vec();
        if self.repetition_penalty != 1.0 {
            for token in seen {
                let Some(logit) = logits.get_mut(token as usize) else {
                    continue;
                };
                *logit = match *logit > 0.0 {
                    true => (*logit as f64 / self.repetition_penalty) as f32,
                    false => (*logit as f64 * self.repetition_penalty) as f32,
                };
            }
        }
        if self.temperature == 0.0 {
            return argmax(&logits);
        }
        let kept = self.kept(&logits);
        let total: f64 = kept.iter().map(|&(_, p)| p).sum();
        let mut left = rng.uniform() * total;
        for &(token, p) in &kept {
            left -= p;
            if left < 0.0 {
                return token;
            }
        }
        kept.last().map_or(0, |&(token, _)| token) // what rounding left over
    }

    /// The tokens that may be drawn with their weights, likeliest first and of equals the lower one.
    fn kept(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |token: u32| logits[token as usize];
        order.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        let top = order.first().map_or(0.0, |&token| logit(token) as f64);
        let weight = |&token: &u32| {
            (
                token,
                ((logit(token) as f64 - top) / self.temperature).exp(),
            )
        };
        let mut all: Vec<(u32, f64)> = order.iter().map(weight).collect();
        if self.top_p < 1.0 {
            let enough = self.top_p * all.iter().map(|&(_, p)| p).sum::<f64>();
            let mut sum = 0.0;
            let more = |&&(_, p): &&(u32, f64)| {
                let before = sum;
                sum += p;
                before < enough
            };
            let count = all.iter().take_while(more).count();
            all.truncate(count.max(1));
        }
        all.retain(|&(_, p)| p >= self.min_p); // the likeliest weighs 1
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_data::rng::Purpose;

    /// Logarithms of 0.4, 0.3, 0.2 and 0.1, in another order.
    fn logits() -> Vec<f32> {
        [0.2f32, 0.4, 0.1, 0.3].map(f32::ln).to_vec()
    }

    /// How often each token is drawn of 20,000.
    fn shares(sampling: &Sampling, seen: &[u32]) -> Vec<f64> {
        sampling.check().unwrap();
        let mut counts = vec![0.0; 4];
        for i in 0..20_000 {
            let mut rng = Rng::at(sampling.seed, Purpose::Generation, i);
            let token = sampling.next(&logits(), seen.iter().copied(), &mut rng);
            counts[token as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn what_is_drawn_has_the_shares_that_were_asked_for() {
        let all = Sampling {
            temperature: 1.0,
            ..Sampling::default()
        };
        let of = |change: &dyn Fn(&mut Sampling), seen: &[u32], expected: [f64; 4]| {
            let mut sampling = all.clone();
            change(&mut sampling);
            let found = shares(&sampling, seen);
            let sum: f64 = expected.iter().sum();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected / sum).abs() < 0.02, "{found} {expected}");
                assert_eq!(*found == 0.0, expected == 0.0);
            }
        };
        of(&|_| {}, &[], [0.2, 0.4, 0.1, 0.3]);
        of(&|s| s.temperature = 0.5, &[], [0.04, 0.16, 0.01, 0.09]);
        of(&|s| s.top_k = 2, &[], [0.0, 0.4, 0.0, 0.3]);
        of(&|s| s.top_p = 0.69, &[], [0.0, 0.4, 0.0, 0.3]);
        of(&|s| s.top_p = 0.71, &[], [0.2, 0.4, 0.0, 0.3]);
        of(&|s| s.top_p = 1e-9, &[], [0.0, 1.0, 0.0, 0.0]);
        of(&|s| s.min_p = 0.51, &[], [0.0, 0.4, 0.0, 0.3]);
        of(&|s| s.min_p = 1.0, &[], [0.0, 1.0, 0.0, 0.0]);
        // 0.4 to the power of 1.3; what was never there stays.
        let penalty = 0.4f64.powf(1.3);
        of(
            &|s| s.repetition_penalty = 1.3,
            &[1, 99],
            [0.2, penalty, 0.1, 0.3],
        );
        of(&|s| s.temperature = 0.0, &[], [0.0, 1.0, 0.0, 0.0]);
        let greedy = |s: &mut Sampling| (s.temperature, s.repetition_penalty) = (0.0, 2.0);
        of(&greedy, &[1], [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn settings_that_choose_nothing_are_refused() {
        let wrong = |change: &dyn Fn(&mut Sampling)| {
            let mut sampling = Sampling::default();
            change(&mut sampling);
            sampling.check().unwrap_err().to_string()
        };
        for (error, expected) in [
            (
                wrong(&|s| s.temperature = -1.0),
                "a temperature of -1 given, expected 0",
            ),
            (
                wrong(&|s| s.temperature = f64::NAN),
                "a temperature of NaN given",
            ),
            (wrong(&|s| s.top_p = 0.0), "a top-p of 0 given"),
            (wrong(&|s| s.min_p = 1.5), "a min-p of 1.5 given"),
            (
                wrong(&|s| s.repetition_penalty = 0.0),
                "a repetition penalty of 0 given",
            ),
        ] {
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
