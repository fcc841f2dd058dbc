//! Multi-query associative recall: pairs of a key and a value, later each key once more.
//!
//! As in Zoology: the sequence begins with the pairs, key and value in turn; keys are the lower half of
//! the vocabulary (without 0), values the upper. Each key comes once more at an even place after
//! the pairs, drawn without replacement with probability proportional to `a g^(a - 1)` for the
//! g-th place, so short gaps are likelier (power law). At that key the model should say its value; the
//! token that really follows is another, so nothing is given away. All other places hold random
//! tokens. A length is the number of tokens read.

use super::{Ask, Asked, Place, Said, Task, Trial, tokens_right};
use baton_data::Error;
use baton_data::rng::Rng;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recall {
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Pairs of key and value.
    pub pairs: usize,
    /// The exponent `a` of the gaps; 1 is uniform.
    pub power: f64,
}

impl Default for Recall {
    fn default() -> Self {
        Recall {
            vocabulary: 8192,
            pairs: 8,
            power: 0.01,
        }
    }
}

impl Recall {
    /// Refuses what has no trial.
    pub fn check(&self) -> Result<(), Error> {
        let keys = (self.vocabulary / 2).saturating_sub(1);
        if self.pairs == 0 || self.pairs > keys {
            return Err(Error::Config(format!(
                "recall: {} pairs in a vocabulary of {} given, expected 1 to {keys}",
                self.pairs, self.vocabulary
            )));
        }
        match self.power > 0.0 {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "recall: power {} given, expected more than 0",
                self.power
            ))),
        }
    }

    /// `pairs` different gaps of 0 .. `space`, in the order of weighted drawing without
    /// replacement: the largest of logarithmic weights plus Gumbel noise.
    fn gaps(&self, space: usize, rng: &mut Rng) -> Vec<usize> {
        let mut least: BinaryHeap<Drawn> = BinaryHeap::new();
        for gap in 0..space {
            let noise = -(-(1.0 - rng.uniform()).ln()).ln();
            let rank = (self.power - 1.0) * ((gap + 1) as f64).ln() + noise;
            least.push(Drawn(rank, gap));
            if least.len() > self.pairs {
                least.pop();
            }
        }
        let drawn = least.into_sorted_vec();
        drawn.into_iter().map(|Drawn(_, gap)| gap).collect()
    }
}

/// A gap and its rank; the heap's top is the lowest rank.
#[derive(PartialEq)]
struct Drawn(f64, usize);

impl Eq for Drawn {}

impl Ord for Drawn {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.total_cmp(&self.0).then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Drawn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Task for Recall {
    fn name(&self) -> String {
        format!("recall of {} pairs", self.pairs)
    }

    fn scores(&self) -> &'static [&'static str] {
        &["value", "all values"]
    }

    fn chance(&self) -> Option<Vec<f64>> {
        let values = (self.vocabulary - self.vocabulary / 2) as f64;
        Some(vec![1.0 / values, values.powi(-(self.pairs as i32))])
    }

    fn trial(&self, place: Place, rng: &mut Rng) -> Result<Trial, Error> {
        self.check()?;
        let given = 2 * self.pairs;
        let space = place.length.saturating_sub(given) / 2;
        if space < self.pairs {
            return Err(Error::Config(format!(
                "recall: length {} given, expected at least {} for {} pairs",
                place.length,
                2 * given,
                self.pairs
            )));
        }
        let half = self.vocabulary / 2;
        let keys = rng.distinct(half - 1, self.pairs);
        let values = rng.distinct(self.vocabulary - half, self.pairs);
        let random = |_| rng.below(self.vocabulary) as u32;
        let mut tokens: Vec<u32> = (0..place.length).map(random).collect();
        let mut asked = Vec::with_capacity(self.pairs);
        let gaps = self.gaps(space, rng);
        for (pair, gap) in gaps.into_iter().enumerate() {
            let (key, token) = ((keys[pair] + 1) as u32, (half + values[pair]) as u32);
            let after = given + 2 * gap;
            tokens[2 * pair] = key;
            tokens[2 * pair + 1] = token;
            tokens[after] = key;
            asked.push(Asked { after, token });
        }
        asked.sort_by_key(|asked| asked.after);
        Ok(Trial {
            tokens,
            ask: Ask::Forced(asked),
        })
    }

    fn score(&self, trial: &Trial, said: &Said) -> Vec<f64> {
        tokens_right(trial, said).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{Plan, run};
    use crate::predict::Rule;
    use baton_data::rng::Purpose;
    use baton_data::tokenizer::Tokenizer;

    fn small() -> Recall {
        Recall {
            vocabulary: 64,
            pairs: 8,
            power: 0.01,
        }
    }

    #[test]
    fn looking_up_is_right_and_a_constant_is_chance() {
        let plan = Plan {
            lengths: vec![32, 500],
            depths: vec![],
            trials: 200,
            batch: 32,
            seed: 1,
        };
        let mut table = Rule(|read: &[u32]| {
            let key = read.last().unwrap();
            let pair = read[..16].chunks(2).find(|pair| pair[0] == *key).unwrap();
            pair[1]
        });
        let grid = run(
            &small(),
            &plan,
            &Tokenizer::Bytes,
            &mut table,
            &mut |_, _| {},
        )
        .unwrap();
        let scores = |grid: &crate::Grid| -> Vec<f64> {
            let cells = grid.cells.iter();
            cells
                .flat_map(|c| c.scores.iter().map(|s| s.mean))
                .collect()
        };
        assert_eq!(scores(&grid), [1.0; 4]);
        let mut constant = Rule(|_: &[u32]| 40);
        let grid = run(
            &small(),
            &plan,
            &Tokenizer::Bytes,
            &mut constant,
            &mut |_, _| {},
        )
        .unwrap();
        // 1600 values: three standard deviations are 0.013.
        assert!((scores(&grid)[0] - 1.0 / 32.0).abs() < 0.013, "{grid:?}");
        assert_eq!(scores(&grid)[1], 0.0);
    }

    #[test]
    fn gaps_follow_the_power_law() {
        let one = Recall {
            pairs: 1,
            power: 0.5,
            ..small()
        };
        let (space, n) = (4, 40_000);
        let mut counts = [0.0; 4];
        for i in 0..n {
            let mut rng = Rng::at(1, Purpose::Trials, i);
            counts[one.gaps(space, &mut rng)[0]] += 1.0 / n as f64;
        }
        let weights: Vec<f64> = (1..=4).map(|g| f64::from(g).powf(-0.5)).collect();
        let all: f64 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(&weights) {
            assert!((count - weight / all).abs() < 0.01, "{counts:?}");
        }
    }

    #[test]
    fn lengths_that_hold_no_queries_are_refused() {
        let place = |length| Place {
            length,
            depth: None,
        };
        let mut rng = Rng::at(1, Purpose::Trials, 0);
        assert!(small().trial(place(32), &mut rng).is_ok());
        let error = small().trial(place(31), &mut rng).unwrap_err();
        assert!(error.to_string().contains("at least 32"), "{error}");
    }
}
