//! The shape of an mLSTM block.

use super::{not_zero, positive};
use crate::Error;
use crate::models::layers::Draw;
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
    /// What projections are drawn from, and what those that lead back to the residual stream are.
    pub(crate) fn draws(hidden: usize, layers: usize) -> [Draw; 2] {
        let small = (2.0 / (5.0 * hidden as f64)).sqrt();
        let back = 2.0 / layers.max(1) as f64 / (hidden as f64).sqrt();
        [small, back].map(Draw::Gaussian)
    }

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
