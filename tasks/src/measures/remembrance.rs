//! Effective remembrance, as found.

use super::numbers::numbers;
use serde::{Deserialize, Serialize};

/// The distances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remembrance {
    /// Each t, in rising order.
    pub cuts: Vec<usize>,
    /// EffRem_T(t), averaged over sequences.
    #[serde(deserialize_with = "numbers")]
    pub distance: Vec<f64>,
    /// Both ends of the 95 % interval of each over sequences (Student's t); absent for one.
    #[serde(default, deserialize_with = "numbers")]
    pub interval: Option<Vec<[f64; 2]>>,
    /// Sequences that were run.
    pub sequences: usize,
    /// Where in the text each begins.
    pub starts: Vec<usize>,
}
