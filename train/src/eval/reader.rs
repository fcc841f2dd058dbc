//! A language model as one that answers: it reads in segments, all states carried.
//!
//! Trials side by side may differ in length. Shorter ones are read on with padding, which cannot
//! change what was said before it; before a greedy continuation the states of each are taken where
//! its prompt ends.

use super::{Stream, argmax};
use crate::Error;
use crate::initial_state::sequences;
use crate::models::{HostStates, LanguageModel};
use crate::op::Value;
use baton_data::Error as Refused;
use baton_tasks::{Ask, Predict, Trial};

/// A model that reads.
pub struct Reader<'m> {
    model: &'m LanguageModel,
    segment: usize,
    initial: Option<HostStates>,
    /// Trials whose logits were not finite, since somebody asked.
    strange: usize,
}

impl<'m> Reader<'m> {
    /// `model` is one without a graph; it reads `segment` tokens at once, and begins at the states
    /// `initial` of one sequence (absent: zero).
    pub fn new(model: &'m LanguageModel, segment: usize, initial: Option<HostStates>) -> Self {
        Reader {
            model,
            segment: segment.max(1),
            initial,
            strange: 0,
        }
    }

    /// Tokens in the model's vocabulary.
    pub fn vocabulary(model: &LanguageModel) -> usize {
        let [vocabulary, _] = model.backbone.embeddings.weight.dims();
        vocabulary
    }

    fn stream(&self, batch: usize) -> Result<Stream<'m>, Error> {
        let initial = self.initial.clone();
        let initial = initial.map(|one| sequences::join(vec![one; batch]));
        Stream::new(self.model, batch, initial)
    }
}

/// Tokens `from .. to` of every row, [B, to - from], with padding where a row has ended.
fn piece(rows: &[&[u32]], from: usize, to: usize) -> Vec<u32> {
    let token = |row: &&[u32], at: usize| row.get(at).copied().unwrap_or(0);
    let row = |row| (from..to).map(move |at| token(row, at));
    rows.iter().flat_map(row).collect()
}

/// The logarithm of a token's probability.
fn log_probability(logits: &[f32], token: u32) -> f64 {
    let most = logits
        .iter()
        .fold(f32::NEG_INFINITY, |most, &x| most.max(x));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    match logits.get(token as usize) {
        Some(&logit) => f64::from(logit - most) - sum.ln(),
        None => f64::NEG_INFINITY,
    }
}

impl Predict for Reader<'_> {
    fn forced(
        &mut self,
        trials: &[Trial],
        each: &mut dyn FnMut(f64),
    ) -> Result<Vec<Vec<u32>>, Refused> {
        let places = |trial: &Trial| match &trial.ask {
            Ask::Forced(asked) => asked.iter().map(|asked| asked.after).collect(),
            Ask::Greedy { .. } => Vec::new(),
        };
        let places: Vec<Vec<usize>> = trials.iter().map(places).collect();
        let last = places.iter().flatten().max().map_or(0, |last| last + 1);
        let rows: Vec<&[u32]> = trials.iter().map(|t| t.tokens.as_slice()).collect();
        let mut said: Vec<Vec<u32>> = vec![Vec::new(); trials.len()];
        let mut strange = vec![false; trials.len()];
        let mut stream = self.stream(trials.len())?;
        for from in (0..last).step_by(self.segment) {
            let to = last.min(from.saturating_add(self.segment));
            let tokens = piece(&rows, from, to);
            let here = |place: &&usize| (from..to).contains(*place);
            if places.iter().flatten().any(|place| here(&place)) {
                let logits = Value::new(stream.feed(&tokens)?)?.to_host();
                let width = logits.shape[2];
                for (row, places) in places.iter().enumerate() {
                    for place in places.iter().filter(here) {
                        let at = (row * (to - from) + place - from) * width;
                        let logits = &logits.data[at..at + width];
                        said[row].push(argmax(logits));
                        strange[row] |= logits.iter().any(|x| !x.is_finite());
                    }
                }
            } else {
                stream.skip(&tokens)?;
            }
            each(to as f64 / last as f64);
        }
        self.strange += strange.into_iter().filter(|&strange| strange).count();
        Ok(said)
    }

    fn greedy(
        &mut self,
        prompts: &[&[u32]],
        count: usize,
        each: &mut dyn FnMut(f64),
    ) -> Result<Vec<Vec<u32>>, Refused> {
        let mut ends: Vec<usize> = prompts.iter().map(|prompt| prompt.len()).collect();
        ends.sort_unstable();
        ends.dedup();
        let last = ends.last().copied().unwrap_or(0);
        if ends.first().is_none_or(|&first| first == 0) {
            return Err(Refused::Config(
                "an empty prompt given, expected at least one token".into(),
            ));
        }
        let mut stream = self.stream(prompts.len())?;
        let mut states: Vec<HostStates> = vec![Vec::new(); prompts.len()];
        let mut logits: Vec<Vec<f32>> = vec![Vec::new(); prompts.len()];
        let mut from = 0;
        for end in ends {
            while from < end {
                let to = end.min(from.saturating_add(self.segment));
                let tokens = piece(prompts, from, to);
                match to == end {
                    false => stream.skip(&tokens)?,
                    true => {
                        let all = stream.feed_last(&tokens)?;
                        let after = stream.states().unwrap_or_default();
                        let width = all.len() / prompts.len();
                        for (row, prompt) in prompts.iter().enumerate() {
                            if prompt.len() == end {
                                logits[row] = all[row * width..(row + 1) * width].to_vec();
                                states[row] = sequences::rows(&after, row..row + 1);
                            }
                        }
                    }
                }
                from = to;
                each(from as f64 / last as f64);
            }
        }
        let states = sequences::join(states);
        let mut stream = Stream::new(self.model, prompts.len(), Some(states))?;
        let said = stream.greedy(logits.concat(), count)?;
        self.strange += said.iter().filter(|(_, finite)| !finite).count();
        Ok(said.into_iter().map(|(said, _)| said).collect())
    }

    fn likelihood(
        &mut self,
        rows: &[(&[u32], usize)],
        each: &mut dyn FnMut(f64),
    ) -> Result<Vec<f64>, Refused> {
        let tokens: Vec<&[u32]> = rows.iter().map(|(tokens, _)| *tokens).collect();
        // The last token of a row is asked for and not read.
        let last = rows.iter().map(|(tokens, _)| tokens.len() - 1).max();
        let last = last.unwrap_or(0);
        let mut sums = vec![0.0; rows.len()];
        let mut stream = self.stream(rows.len())?;
        for from in (0..last).step_by(self.segment) {
            let to = last.min(from.saturating_add(self.segment));
            let asked = |(tokens, first): &(&[u32], usize)| {
                (from + 1).max(*first)..(to + 1).min(tokens.len())
            };
            let part = piece(&tokens, from, to);
            if rows.iter().all(|row| asked(row).is_empty()) {
                stream.skip(&part)?;
            } else {
                let logits = Value::new(stream.feed(&part)?)?.to_host();
                let width = logits.shape[2];
                for (i, row) in rows.iter().enumerate() {
                    for at in asked(row) {
                        let place = (i * (to - from) + at - 1 - from) * width;
                        let logits = &logits.data[place..place + width];
                        sums[i] += log_probability(logits, row.0[at]);
                    }
                }
            }
            each(to as f64 / last as f64);
        }
        self.strange += sums.iter().filter(|sum| !sum.is_finite()).count();
        Ok(sums)
    }

    fn not_finite(&mut self) -> usize {
        std::mem::take(&mut self.strange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::micro;
    use baton_tasks::Asked;

    const TEXT: &[u32] = &[
        116, 104, 101, 32, 115, 116, 97, 116, 101, 32, 105, 115, 32, 116, 104, 101, 32, 98, 97,
        116, 111, 110, 44, 32, 97, 110, 100, 32, 104, 97, 110, 100, 115, 32, 111, 110,
    ];

    /// What the model says after `read`, in one piece.
    fn next(model: &LanguageModel, read: &[u32]) -> u32 {
        let mut stream = Stream::new(model, 1, None).unwrap();
        argmax(&stream.feed_last(read).unwrap())
    }

    #[test]
    fn rows_of_different_lengths_say_what_each_alone_would() {
        let model = micro();
        let prompts = [&TEXT[..9], TEXT, &TEXT[3..12], &TEXT[1..2]];
        for segment in [4, 100] {
            let mut reader = Reader::new(&model, segment, None);
            let mut heard = 0.0;
            let said = reader
                .greedy(&prompts, 3, &mut |part| heard = part)
                .unwrap();
            assert_eq!(heard, 1.0);
            for (prompt, said) in prompts.iter().zip(said) {
                let mut read = prompt.to_vec();
                for token in said {
                    assert_eq!(token, next(&model, &read));
                    read.push(token);
                }
                assert_eq!(read.len(), prompt.len() + 3);
            }
        }
    }

    #[test]
    fn places_are_asked_wherever_segments_end() {
        let model = micro();
        let trial = |tokens: &[u32], places: &[usize]| Trial {
            tokens: tokens.to_vec(),
            ask: Ask::Forced(
                places
                    .iter()
                    .map(|&after| Asked { after, token: 0 })
                    .collect(),
            ),
        };
        let trials = [
            trial(TEXT, &[0, 3, 4, 7, 30]),
            trial(&TEXT[5..], &[1, 11, 12]),
            trial(&TEXT[..3], &[]),
        ];
        let mut reader = Reader::new(&model, 4, None);
        let said = reader.forced(&trials, &mut |_| {}).unwrap();
        for (trial, said) in trials.iter().zip(said) {
            let Ask::Forced(asked) = &trial.ask else {
                panic!("they are forced")
            };
            let right = asked
                .iter()
                .map(|a| next(&model, &trial.tokens[..=a.after]));
            assert_eq!(said, right.collect::<Vec<u32>>());
        }
    }

    #[test]
    fn a_continuation_is_as_likely_as_its_tokens_one_by_one() {
        let model = micro();
        let rows = [
            (TEXT, 30),
            (&TEXT[2..9], 1),
            (&TEXT[4..], 9),
            (&TEXT[..2], 1),
        ];
        let mut reader = Reader::new(&model, 4, None);
        let found = reader.likelihood(&rows, &mut |_| {}).unwrap();
        for ((tokens, from), found) in rows.into_iter().zip(found) {
            let one = |at: usize| {
                let mut stream = Stream::new(&model, 1, None).unwrap();
                let logits = stream.feed_last(&tokens[..at]).unwrap();
                let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
                (f64::from(logits[tokens[at] as usize]).exp() / sum).ln()
            };
            let expected: f64 = (from..tokens.len()).map(one).sum();
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    #[test]
    fn an_empty_prompt_is_refused() {
        let model = micro();
        let mut reader = Reader::new(&model, 4, None);
        assert!(reader.greedy(&[TEXT, &[]], 1, &mut |_| {}).is_err());
    }
}
