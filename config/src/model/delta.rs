//! The shape of a Gated DeltaNet or KDA block.

use super::checks::{is_no, not_zero};
use crate::Error;
use serde::{Deserialize, Serialize};

/// A block of the gated delta rule: with a decay for each head it is Gated DeltaNet, with one for each
/// key KDA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeltaConfig {
    /// Heads of queries and keys.
    pub num_heads: usize,
    /// Heads of values, a multiple: consecutive ones share a key head. Absent is as many, which KDA has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_v_heads: Option<usize>,
    /// Key channels of a head, K.
    pub head_dim: usize,
    /// Value channels of a head, V.
    pub value_dim: usize,
    /// Taps of the convolutions of queries, keys and values.
    pub conv_kernel: usize,
    /// Whether a step may write twice over, so that a key's factor is within -1 to 1.
    #[serde(default, skip_serializing_if = "is_no")]
    pub allow_neg_eigval: bool,
    /// Whether the output's gate is a logistic function in place of SiLU.
    #[serde(default, skip_serializing_if = "is_no")]
    pub sigmoid_gate: bool,
    /// Standard deviation that every projection, convolution and embedding is drawn with.
    pub initializer_range: f64,
}

impl DeltaConfig {
    /// Heads of values.
    pub fn value_heads(&self) -> usize {
        self.num_v_heads.unwrap_or(self.num_heads)
    }

    /// Channels of all keys.
    pub fn keys(&self) -> usize {
        self.num_heads.saturating_mul(self.head_dim)
    }

    /// Channels of all values.
    pub fn values(&self) -> usize {
        self.value_heads().saturating_mul(self.value_dim)
    }

    /// Columns of the projection that the output's gate, beta and the decay come from; `keyed` is KDA.
    pub fn gates(&self, keyed: bool) -> [usize; 3] {
        let heads = self.value_heads();
        match keyed {
            true => [self.value_dim, heads, self.value_dim],
            false => [self.values(), heads, heads],
        }
    }

    pub(super) fn states(&self) -> Vec<Vec<usize>> {
        vec![vec![self.value_heads(), self.head_dim, self.value_dim]]
    }

    pub(super) fn about_weights(&self, hidden: usize) -> f64 {
        let keys = self.num_heads as f64 * self.head_dim as f64;
        let values = self.value_heads() as f64 * self.value_dim as f64;
        let conv = self.conv_kernel as f64;
        hidden as f64 * (2.0 * keys + 3.0 * values) + conv * (2.0 * keys + values)
    }

    pub(super) fn check(&self, keyed: bool) -> Result<(), Error> {
        not_zero(&[
            ("num_heads", self.num_heads),
            ("head_dim", self.head_dim),
            ("value_dim", self.value_dim),
            ("conv_kernel", self.conv_kernel),
        ])?;
        let heads = self.value_heads();
        let (h, multiple) = (self.num_heads, if keyed { "" } else { "a multiple of " });
        match heads >= 1 && heads.is_multiple_of(h) && (!keyed || heads == h) {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "num_v_heads {heads} given, expected {multiple}num_heads {h}"
            ))),
        }
    }
}
