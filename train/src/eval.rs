//! Perplexity by position: how well each token is predicted, by how many tokens were read before.
//!
//! Several sequences of the held-out text run side by side in segments, all states carried from
//! each segment to the next, convolution included: this is the recurrence itself, in memory that
//! does not grow with the length. Positions are gathered in buckets that double, the training
//! length always one of the edges.

use crate::Error;
use crate::models::{LanguageModel, States};
use crate::op::token_losses;
use serde::{Deserialize, Serialize};

/// What is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PositionOptions {
    /// The training length; an edge of the buckets.
    pub train_length: usize,
    /// Tokens of each sequence.
    pub length: usize,
    /// Sequences, evenly spread over the text; fewer when they would overlap.
    pub sequences: usize,
    /// Tokens that are run at once.
    pub segment: usize,
}

/// Losses by position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ByPosition {
    /// The right edges of the buckets: bucket i holds positions up to edge i, from after edge
    /// i - 1. A position is the number of tokens read before the one predicted.
    pub positions: Vec<usize>,
    /// Mean nats per token of each bucket.
    pub loss: Vec<f64>,
    /// Sequences that were run.
    pub sequences: usize,
}

/// The right edges: the training length times powers of two, from 8 or so to `length`.
pub fn edges(train_length: usize, length: usize) -> Vec<usize> {
    let mut edge = train_length.max(1);
    while edge / 2 >= 8 && edge.is_multiple_of(2) {
        edge /= 2;
    }
    let mut edges = Vec::new();
    while edge < length {
        edges.push(edge);
        edge *= 2;
    }
    edges.push(length);
    edges
}

/// Runs `model` (without a graph) over `text`, byte by byte; `each` hears the tokens done.
pub fn by_position(
    model: &LanguageModel,
    text: &[u8],
    options: &PositionOptions,
    each: &mut dyn FnMut(usize),
) -> Result<ByPosition, Error> {
    let PositionOptions {
        train_length,
        length,
        sequences,
        segment,
    } = *options;
    if length == 0 || segment == 0 || sequences == 0 {
        return Err(Error::Config(format!(
            "{sequences} sequences of {length} in segments of {segment} given, expected at least 1"
        )));
    }
    let fit = text.len().saturating_sub(1) / length;
    if fit == 0 {
        return Err(Error::Config(format!(
            "a held-out text of {} bytes given, expected more than the length {length}",
            text.len()
        )));
    }
    let batch = sequences.min(fit);
    let spare = text.len() - 1 - length;
    let starts: Vec<usize> = (0..batch).map(|i| i * spare / (batch - 1).max(1)).collect();
    let edges = edges(train_length, length);
    let mut sums = vec![0.0f64; edges.len()];
    let mut states: Option<States> = None;
    let mut at = 0;
    while at < length {
        let size = segment.min(length - at);
        let read = |shift: usize| -> Vec<u32> {
            let windows = starts
                .iter()
                .map(|start| &text[start + at + shift..][..size]);
            windows.flatten().map(|&byte| byte as u32).collect()
        };
        let (logits, after) = model.forward(&read(0), [batch, size], states.take())?;
        states = Some(after);
        for (i, loss) in token_losses(logits, &read(1))?.into_iter().enumerate() {
            let position = at + i % size + 1;
            sums[edges.partition_point(|&edge| edge < position)] += loss as f64;
        }
        at += size;
        each(batch * size);
    }
    let widths = edges
        .iter()
        .scan(0, |left, &edge| Some(edge - std::mem::replace(left, edge)));
    let loss = sums
        .iter()
        .zip(widths)
        .map(|(sum, width)| sum / (width * batch) as f64);
    Ok(ByPosition {
        loss: loss.collect(),
        positions: edges,
        sequences: batch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_double_through_the_training_length() {
        assert_eq!(edges(64, 500), [8, 16, 32, 64, 128, 256, 500]);
        assert_eq!(edges(100, 400), [25, 50, 100, 200, 400]);
        assert_eq!(edges(4, 4), [4]);
    }
}
