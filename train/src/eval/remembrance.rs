//! Effective remembrance: how much of its prediction at time T a model owes to the tokens before t.
//!
//! EffRem_T(t) = TV(q(. | `x[0:T]`), q(. | `x[t:T]`)), q the distribution of the next token, the
//! second from a zero state at t, TV(q, q') half the sum of |q - q'|. It is 0 at t = 0; a model
//! that has failed depends on its first tokens, so that the distance is large for small t already
//! (arXiv 2507.02782, figure 1).
//!
//! All of `x[t:T]` end at the same token, so one sweep does: the batch grows by a sequence from
//! zero at each cut. Sequences are run in batches, which bounds the memory, shared out over ranks.

use super::{Stream, Tokens, starts};
use crate::Error;
use crate::models::Recurrent;
use crate::ranks::{Group, spread};
use baton_tasks::measures::{Interval, Remembrance, log_spaced};
use serde::{Deserialize, Serialize};

/// Streams that run side by side at most, those of one sequence together in any case.
const ROWS: usize = 256;
/// Tokens that are run at once at most, over all streams.
const TOKENS: usize = 16_384;

/// More cuts than this tell nothing apart.
const MOST_CUTS: usize = 1 << 16;

/// How cuts are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Evenly.
    Linear,
    /// Evenly in the logarithm of t.
    Log,
    /// Evenly in the logarithms of t and of T - t, half of the cuts each: both ends are steep.
    Ends,
}

/// What is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// T: tokens of each sequence.
    pub length: usize,
    /// Sequences, evenly spread over the text; fewer when they would overlap.
    pub sequences: usize,
    /// About as many places t.
    pub cuts: usize,
    /// Where.
    pub spacing: Spacing,
}

impl Options {
    /// The places t, from 1 to T - 1.
    pub fn places(&self) -> Result<Vec<usize>, Error> {
        let (length, cuts) = (self.length, self.cuts);
        if cuts == 0 || cuts >= length || cuts > MOST_CUTS {
            return Err(Error::Config(format!(
                "{cuts} cuts of {length} tokens given, expected 1 to {MOST_CUTS} cuts and more tokens"
            )));
        }
        let mut places = match self.spacing {
            Spacing::Log => log_spaced(1, length - 1, cuts),
            Spacing::Linear => {
                let place = |i| (i as u128 * length as u128 / (cuts as u128 + 1)) as usize;
                (1..=cuts).map(place).collect()
            }
            Spacing::Ends => {
                let half = log_spaced(1, length / 2, cuts.div_ceil(2));
                let mirrored: Vec<usize> = half.iter().map(|t| length - t).collect();
                [half, mirrored].concat()
            }
        };
        places.retain(|&t| 0 < t && t < length);
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    /// Tokens that [`remembrance`] will run for `sequences`, all streams together.
    pub fn work(&self, sequences: usize) -> usize {
        let cuts = self.places().unwrap_or_default();
        let suffixes = cuts.iter().map(|t| self.length - t);
        let each = suffixes.fold(self.length, usize::saturating_add);
        sequences.saturating_mul(each)
    }
}

/// Runs `model` (without a graph) over `text` on the ranks of `group`; `each` hears the tokens done.
pub fn remembrance(
    model: &impl Recurrent,
    text: &(impl Tokens + ?Sized),
    options: &Options,
    group: &dyn Group,
    each: &mut dyn FnMut(usize),
) -> Result<Remembrance, Error> {
    let cuts = options.places()?;
    let starts = starts(text, options.length, options.sequences)?;
    let batches: Vec<&[usize]> = starts.chunks((ROWS / (cuts.len() + 1)).max(1)).collect();
    // By batch, cut and sequence.
    let distances = spread(group, batches.len(), |number| {
        let batch = batches[number];
        let logits = sweep(model, text, batch, &cuts, options.length, each)?;
        let vocab = logits.len() / (batch.len() * (cuts.len() + 1));
        let rows: Vec<Vec<f64>> = logits.chunks(vocab).map(softmax).collect();
        let (whole, cut) = rows.split_at(batch.len());
        let distances = cut.chunks(batch.len()).map(|rows| {
            let pairs = whole.iter().zip(rows);
            pairs.map(|(a, b)| total_variation(a, b)).collect()
        });
        Ok(distances.collect::<Vec<Vec<f64>>>())
    })?;
    let mean = |cut: usize| {
        let all = distances.iter().flat_map(|batch| &batch[cut]).copied();
        Interval::of(&all.collect::<Vec<f64>>())
    };
    let means: Vec<Interval> = (0..cuts.len()).map(mean).collect();
    // A distance is never outside of 0 to 1, and its mean is not either.
    let ends = |mean: &Interval| mean.ends().map(|end| end.clamp(0.0, 1.0));
    Ok(Remembrance {
        cuts,
        distance: means.iter().map(|m| m.mean).collect(),
        interval: (starts.len() > 1).then(|| means.iter().map(ends).collect()),
        sequences: starts.len(),
        starts,
    })
}

/// Logits at the end: of whole sequences first, then of every cut's.
fn sweep(
    model: &impl Recurrent,
    text: &(impl Tokens + ?Sized),
    starts: &[usize],
    cuts: &[usize],
    length: usize,
    each: &mut dyn FnMut(usize),
) -> Result<Vec<f32>, Error> {
    let mut stream = Stream::new(model, starts.len(), None)?;
    let mut logits = Vec::new();
    let mut at = 0;
    for end in cuts.iter().copied().chain([length]) {
        while at < end {
            let copies = stream.batch() / starts.len();
            let size = (TOKENS / stream.batch()).max(16).min(end - at);
            let tokens = text.rows(starts, at, size).repeat(copies);
            at += size;
            match at == length {
                true => logits = stream.feed_last(&tokens)?,
                false => stream.skip(&tokens)?,
            }
            each(tokens.len());
        }
        if end < length {
            stream.admit(starts.len());
        }
    }
    Ok(logits)
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let weights: Vec<f64> = logits.iter().map(|&l| (l as f64 - top).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// Half the sum of absolute differences.
fn total_variation(a: &[f64], b: &[f64]) -> f64 {
    0.5 * a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::super::tests::micro;
    use super::*;
    use crate::ranks::Alone;

    fn options(spacing: Spacing) -> Options {
        Options {
            length: 64,
            sequences: 3,
            cuts: 6,
            spacing,
        }
    }

    #[test]
    fn cuts_lie_where_they_should() {
        let places = |spacing| options(spacing).places().unwrap();
        assert_eq!(places(Spacing::Linear), [9, 18, 27, 36, 45, 54]);
        assert_eq!(places(Spacing::Log), [1, 2, 5, 12, 28, 63]);
        assert_eq!(places(Spacing::Ends), [1, 6, 32, 58, 63]);
        let error = Options {
            length: 1,
            ..options(Spacing::Log)
        };
        assert!(error.places().is_err());
    }

    #[test]
    fn total_variation_is_0_of_equals_and_1_of_the_disjoint() {
        assert_eq!(total_variation(&[0.5, 0.5], &[0.5, 0.5]), 0.0);
        assert_eq!(total_variation(&[1.0, 0.0], &[0.0, 1.0]), 1.0);
    }

    #[test]
    fn one_sweep_gives_what_a_run_for_each_cut_gives() {
        let model = micro();
        let text: Vec<u8> = (0..300u32).map(|i| (i * i % 251) as u8).collect();
        let options = options(Spacing::Ends);
        let mut heard = 0;
        let found = remembrance(&model, &text[..], &options, &Alone, &mut |n| heard += n).unwrap();
        assert_eq!(heard, options.work(3));
        let at_end = |from: usize, to: usize| {
            let tokens: Vec<u32> = text[from..to].iter().map(|&b| b as u32).collect();
            let mut stream = Stream::new(&model, 1, None).unwrap();
            softmax(&stream.feed_last(&tokens).unwrap())
        };
        for (cut, distance) in found.cuts.iter().zip(&found.distance) {
            let one = |start: &usize| {
                let end = start + 64;
                total_variation(&at_end(*start, end), &at_end(start + cut, end))
            };
            let mean = found.starts.iter().map(one).sum::<f64>() / 3.0;
            assert!((mean - distance).abs() < 1e-5, "{cut}: {mean}, {distance}");
        }
        assert!(found.distance[0] > 0.0 && found.interval.is_some());
    }
}
