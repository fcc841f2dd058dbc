//! Perplexity by position, as found.

use super::numbers::numbers;
use serde::{Deserialize, Serialize};

/// Losses by position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ByPosition {
    /// The right edges of the buckets: bucket i holds positions up to edge i, from after edge
    /// i - 1. A position is the number of tokens read before the one predicted.
    pub positions: Vec<usize>,
    /// Mean nats per token of each bucket.
    #[serde(deserialize_with = "numbers")]
    pub loss: Vec<f64>,
    /// Both ends of the 95 % interval of each over sequences (Student's t); absent for one.
    #[serde(default, deserialize_with = "numbers")]
    pub interval: Option<Vec<[f64; 2]>>,
    /// Sequences that were run.
    pub sequences: usize,
    /// Where in the text each begins; no heed is paid to the bounds of documents.
    pub starts: Vec<usize>,
}
