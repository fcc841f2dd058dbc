//! Statistics of the states over time, as found.

use super::numbers::numbers;
use serde::{Deserialize, Serialize};

/// One state of one layer over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerStatistics {
    /// From 0.
    pub layer: usize,
    /// Which of the layer's states, from 0.
    pub state: usize,
    /// Standard deviation over all elements, `[time]`.
    #[serde(deserialize_with = "numbers")]
    pub std: Vec<f64>,
    /// Mean of each head, `[time][head]`.
    #[serde(deserialize_with = "numbers")]
    pub head_mean: Vec<Vec<f64>>,
    /// Standard deviation of each head, `[time][head]`.
    #[serde(deserialize_with = "numbers")]
    pub head_std: Vec<Vec<f64>>,
    /// Greatest magnitude in each head, `[time][head]`.
    #[serde(deserialize_with = "numbers")]
    pub head_max: Vec<Vec<f64>>,
    /// Euclidean norm of each head, averaged over sequences, `[time][head]`.
    #[serde(deserialize_with = "numbers")]
    pub head_norm: Vec<Vec<f64>>,
}

/// The states over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverTime {
    /// Tokens read.
    pub times: Vec<usize>,
    /// Standard deviation over all elements of the states of all recurrences, `[time]`.
    #[serde(deserialize_with = "numbers")]
    pub std: Vec<f64>,
    /// Each state of each layer that is a recurrence.
    pub layers: Vec<LayerStatistics>,
    /// Sequences that were run.
    pub sequences: usize,
    /// Where in the text each begins.
    pub starts: Vec<usize>,
}
