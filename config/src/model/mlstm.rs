//! The shape of an mLSTM block.

use super::checks::{not_zero, positive};
use crate::Error;
use serde::{Deserialize, Serialize};

/// An mLSTM block, as in xLSTM's 7B model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MlstmConfig {
    /// Number of heads.
    pub num_heads: usize,
    /// Key channels of a head, K.
    pub key_dim: usize,
    /// Value channels of a head, V.
    pub value_dim: usize,
    /// What the gates are kept within: c tanh(x / c).
    pub gate_soft_cap: f64,
}

impl MlstmConfig {
    pub(super) fn states(&self) -> Vec<Vec<usize>> {
        let (h, k, v) = (self.num_heads, self.key_dim, self.value_dim);
        vec![vec![h, k, v], vec![h, k], vec![h]]
    }

    pub(super) fn about_weights(&self, hidden: usize) -> f64 {
        let widths = 2.0 * self.key_dim as f64 + 3.0 * self.value_dim as f64 + 2.0;
        hidden as f64 * self.num_heads as f64 * widths
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        not_zero(&[
            ("num_heads", self.num_heads),
            ("key_dim", self.key_dim),
            ("value_dim", self.value_dim),
        ])?;
        positive("gate_soft_cap", self.gate_soft_cap)
    }
}
