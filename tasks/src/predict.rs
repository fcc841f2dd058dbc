//! Who answers: a model that reads in segments with its states carried, or a rule written by hand.

use super::{Ask, Trial};
use baton_data::Error;

/// Something that answers trials. `each` hears the share of the reading that is done, from 0 to 1.
pub trait Predict {
    /// The likeliest next token at each place that each trial asks for; every trial is forced.
    fn forced(
        &mut self,
        trials: &[Trial],
        each: &mut dyn FnMut(f64),
    ) -> Result<Vec<Vec<u32>>, Error>;

    /// `count` greedy tokens after each prompt.
    fn greedy(
        &mut self,
        prompts: &[&[u32]],
        count: usize,
        each: &mut dyn FnMut(f64),
    ) -> Result<Vec<Vec<u32>>, Error>;

    /// The log-likelihood of the tokens of each row from its number on, given those before; numbers are
    /// at least one.
    fn likelihood(
        &mut self,
        rows: &[(&[u32], usize)],
        each: &mut dyn FnMut(f64),
    ) -> Result<Vec<f64>, Error>;

    /// How many trials were answered from logits that are not finite, and so say nothing, since this
    /// was asked last.
    fn not_finite(&mut self) -> usize {
        0
    }
}

/// A next token as a function of all tokens before it: an oracle that shows a score to be right.
pub struct Rule<F>(pub F);

impl<F: FnMut(&[u32]) -> u32> Predict for Rule<F> {
    fn forced(&mut self, trials: &[Trial], _: &mut dyn FnMut(f64)) -> Result<Vec<Vec<u32>>, Error> {
        let said = |trial: &Trial| match &trial.ask {
            Ask::Forced(asked) => asked
                .iter()
                .map(|asked| (self.0)(&trial.tokens[..=asked.after]))
                .collect(),
            Ask::Greedy { .. } => Vec::new(),
        };
        Ok(trials.iter().map(said).collect())
    }

    fn greedy(
        &mut self,
        prompts: &[&[u32]],
        count: usize,
        _: &mut dyn FnMut(f64),
    ) -> Result<Vec<Vec<u32>>, Error> {
        let said = |prompt: &&[u32]| {
            let mut tokens = prompt.to_vec();
            for _ in 0..count {
                let next = (self.0)(&tokens);
                tokens.push(next);
            }
            tokens.split_off(prompt.len())
        };
        Ok(prompts.iter().map(said).collect())
    }

    /// One nat for each token that is another.
    fn likelihood(
        &mut self,
        rows: &[(&[u32], usize)],
        _: &mut dyn FnMut(f64),
    ) -> Result<Vec<f64>, Error> {
        let wrong = |(row, from): &(&[u32], usize)| {
            let others = (*from..row.len()).filter(|&at| (self.0)(&row[..at]) != row[at]);
            -(others.count() as f64)
        };
        Ok(rows.iter().map(wrong).collect())
    }
}
