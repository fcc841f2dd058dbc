//! Perplexity by position: how well each token is predicted, by how many tokens were read before.
//!
//! Some sequences of the held-out text run side by side, each from the same initial state, and batches of them on the
//! ranks that there are. A
//! position is gathered into a bucket; buckets' edges are evenly spaced in the logarithm, the
//! training length always one of them. Intervals are over sequences, in nats: the tokens of one
//! sequence share its state and are no independent samples.

use super::{SIDE_BY_SIDE, Stream, Tokens, is_usual, side_by_side, starts};
use crate::Error;
use crate::models::{HostStates, Recurrent};
use crate::op::token_losses;
use crate::ranks::{Group, spread};
use baton_tasks::measures::{ByPosition, Interval};
use serde::{Deserialize, Serialize};

/// More buckets to an octave than this tell nothing apart.
const MOST_PER_OCTAVE: usize = 64;

/// What is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The training length; an edge of the buckets.
    pub train_length: usize,
    /// Tokens of each sequence.
    pub length: usize,
    /// Sequences, evenly spread over the text; fewer when they would overlap.
    pub sequences: usize,
    /// Tokens that are run at once.
    pub segment: usize,
    /// Sequences that are run side by side.
    #[serde(default = "side_by_side", skip_serializing_if = "is_usual")]
    pub batch: usize,
    /// Buckets to each doubling of the position.
    pub per_octave: usize,
    /// What the initial states are called; absent for zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_state: Option<String>,
}

impl Options {
    /// `sequences` of `length` tokens, one bucket to an octave.
    pub fn new(train_length: usize, length: usize, sequences: usize) -> Self {
        Options {
            train_length,
            length,
            sequences,
            segment: 256,
            batch: SIDE_BY_SIDE,
            per_octave: 1,
            initial_state: None,
        }
    }

    /// Where its sequences begin in `text`; what cannot be run is refused.
    pub fn starts(&self, text: &(impl Tokens + ?Sized)) -> Result<Vec<usize>, Error> {
        let (length, per_octave) = (self.length, self.per_octave);
        if length == 0 || !(1..=MOST_PER_OCTAVE).contains(&per_octave) || self.batch == 0 {
            return Err(Error::Config(format!(
                "{length} tokens with {per_octave} buckets to an octave, {} sequences side by side given, expected \
                 at least 1 token, 1 to {MOST_PER_OCTAVE} buckets, at least 1 sequence",
                self.batch
            )));
        }
        starts(text, length.saturating_add(1), self.sequences)
    }
}

/// The right edges: the training length times powers of two (`per_octave` to each), from 8 or so
/// to `length`.
pub fn edges(train_length: usize, length: usize, per_octave: usize) -> Vec<usize> {
    let (train_length, per_octave) = (train_length.max(1) as f64, per_octave.max(1) as f64);
    let below = (train_length / 8.0).log2().floor().max(0.0) * per_octave;
    let edge = |i: f64| (train_length * (i / per_octave).exp2()).round() as usize;
    let all = (0..).map(|i| edge(i as f64 - below));
    let mut edges: Vec<usize> = all.take_while(|&edge| edge < length).collect();
    edges.push(length);
    edges.dedup();
    edges
}

/// Runs `model` (without a graph) over `text`, every sequence from `initial` (absent: zero; one
/// sequence's states are every one's), shared out over the ranks of `group`; `each` hears the tokens done.
pub fn by_position(
    model: &impl Recurrent,
    text: &(impl Tokens + ?Sized),
    options: &Options,
    initial: Option<HostStates>,
    group: &dyn Group,
    each: &mut dyn FnMut(usize),
) -> Result<ByPosition, Error> {
    let Options {
        length, per_octave, ..
    } = *options;
    let starts = options.starts(text)?;
    let edges = edges(options.train_length, length, per_octave);
    let batches: Vec<&[usize]> = starts.chunks(options.batch).collect();
    let sums = spread(group, batches.len(), |number| {
        let starts = batches[number];
        let initial = initial.clone();
        let initial = initial.map(|states| super::stream::spread(states, starts.len()));
        let stream = Stream::new(model, starts.len(), initial)?;
        losses(stream, text, starts, options, &edges, each)
    })?
    .concat();
    let mut left = 0;
    let buckets: Vec<Interval> = (edges.iter().enumerate())
        .map(|(i, &edge)| {
            let width = (edge - std::mem::replace(&mut left, edge)) as f64;
            let means: Vec<f64> = sums.iter().map(|sums| sums[i] / width).collect();
            Interval::of(&means)
        })
        .collect();
    Ok(ByPosition {
        loss: buckets.iter().map(|bucket| bucket.mean).collect(),
        // No loss lies below zero.
        interval: (starts.len() > 1).then(|| {
            let ends = buckets.iter().map(Interval::ends);
            ends.map(|[low, high]| [low.clamp(0.0, f64::INFINITY), high])
                .collect()
        }),
        positions: edges,
        sequences: starts.len(),
        starts,
    })
}

/// Sums of losses by bucket, of each of `starts`.
fn losses(
    mut stream: Stream<'_, impl Recurrent>,
    text: &(impl Tokens + ?Sized),
    starts: &[usize],
    options: &Options,
    edges: &[usize],
    each: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<f64>>, Error> {
    let mut sums = vec![vec![0.0f64; edges.len()]; starts.len()];
    let mut at = 0;
    while at < options.length {
        let size = options.segment.max(1).min(options.length - at);
        let logits = stream.feed(&text.rows(starts, at, size))?;
        let losses = token_losses(logits, &text.rows(starts, at + 1, size))?;
        for (sums, losses) in sums.iter_mut().zip(losses.chunks(size)) {
            for (i, &loss) in losses.iter().enumerate() {
                sums[edges.partition_point(|&edge| edge < at + i + 1)] += loss as f64;
            }
        }
        at += size;
        each(starts.len() * size);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::super::tests::micro;
    use super::*;
    use crate::ranks::Alone;

    #[test]
    fn edges_double_through_the_training_length() {
        assert_eq!(edges(64, 500, 1), [8, 16, 32, 64, 128, 256, 500]);
        assert_eq!(edges(100, 400, 1), [13, 25, 50, 100, 200, 400]);
        assert_eq!(edges(64, 128, 2), [8, 11, 16, 23, 32, 45, 64, 91, 128]);
        assert_eq!(edges(4, 4, 1), [4]);
    }

    #[test]
    fn segments_batches_and_starts_are_seen_by_no_one() {
        let model = micro();
        let text: Vec<u8> = (0..400u32).map(|i| (i * i % 251) as u8).collect();
        let run = |segment, batch| {
            let options = Options {
                segment,
                batch,
                ..Options::new(16, 100, 3)
            };
            by_position(&model, &text[..], &options, None, &Alone, &mut |_| {}).unwrap()
        };
        let whole = run(100, 3);
        assert_eq!(whole.starts, [0, 149, 299]);
        for cut in [run(7, 3), run(100, 2), run(7, 1)] {
            for (a, b) in whole.loss.iter().zip(&cut.loss) {
                assert!((a - b).abs() < 1e-5, "{a} against {b}");
            }
        }
        let interval = whole.interval.unwrap();
        let inside = |i: usize| interval[i][0] < whole.loss[i] && whole.loss[i] < interval[i][1];
        assert!((0..whole.loss.len()).all(inside));
    }
}
