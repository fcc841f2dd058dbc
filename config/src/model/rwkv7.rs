//! The shape of an RWKV-7 block.

use super::checks::not_zero;
use crate::Error;
use serde::{Deserialize, Serialize};

/// An RWKV-7 block; its feed-forward reads the step before too, and its norms remove the mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rwkv7Config {
    /// Channels of a head, K and V.
    pub head_dim: usize,
    /// Rank of the decay's projection.
    pub decay_rank: usize,
    /// Rank of the projection of the rate a.
    pub rate_rank: usize,
    /// Rank of the projection that mixes in the first layer's values.
    pub value_rank: usize,
    /// Rank of the output's gate.
    pub gate_rank: usize,
    /// Whether keys are divided by the root of their square plus 1e-6, and not by their length where
    /// that is more than 1e-12.
    pub fuse_norm: bool,
    /// Whether the norms of the stream have a bias.
    pub norm_bias: bool,
}

impl Rwkv7Config {
    /// Number of heads for a residual stream of `hidden`.
    pub fn num_heads(&self, hidden: usize) -> usize {
        hidden / self.head_dim.max(1)
    }

    pub(super) fn states(&self, hidden: usize) -> Vec<Vec<usize>> {
        vec![vec![self.num_heads(hidden), self.head_dim, self.head_dim]]
    }

    pub(super) fn about_weights(&self, hidden: usize) -> f64 {
        let ranks = [
            self.decay_rank,
            self.rate_rank,
            self.value_rank,
            self.gate_rank,
        ];
        let ranks: f64 = ranks.iter().map(|&rank| rank as f64).sum();
        hidden as f64 * (4.0 * hidden as f64 + 2.0 * ranks)
    }

    pub(super) fn check(&self, hidden: usize) -> Result<(), Error> {
        not_zero(&[
            ("head_dim", self.head_dim),
            ("decay_rank", self.decay_rank),
            ("rate_rank", self.rate_rank),
            ("value_rank", self.value_rank),
            ("gate_rank", self.gate_rank),
        ])?;
        match hidden.is_multiple_of(self.head_dim) {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "head_dim {} given, expected a divisor of hidden_size {hidden}",
                self.head_dim
            ))),
        }
    }
}
