//! The shape of a Mamba-2 block.

use super::checks::{is_no, is_yes, ordered, yes};
use crate::Error;
use serde::{Deserialize, Serialize};

/// A Mamba-2 block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mamba2Config {
    /// Inner width over residual width.
    pub expand: usize,
    /// Channels of a head, P.
    pub head_dim: usize,
    /// Rows of the state, N.
    pub state_size: usize,
    /// Groups of heads that share b and c.
    pub n_groups: usize,
    /// Taps of the convolution.
    pub conv_kernel: usize,
    /// Range that -A is drawn from; the published one is 1 to 16, a slow one keeps a long memory.
    pub a_init_range: [f64; 2],
    /// Range that the time step is drawn from, evenly in its logarithm.
    pub time_step_range: [f64; 2],
    /// The least time step drawn.
    pub time_step_floor: f64,
    /// Whether the out-projection begins smaller by the root of the number of layers.
    pub rescale_prenorm_residual: bool,
    /// Whether both projections have a bias.
    #[serde(default, skip_serializing_if = "is_no")]
    pub use_bias: bool,
    /// Whether the convolution has a bias.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub use_conv_bias: bool,
    /// What the time step is clamped to after its softplus; absent is without a bound.
    #[serde(default, skip_serializing_if = "is_unbounded")]
    pub time_step_limit: [Option<f64>; 2],
}

fn is_unbounded(limit: &[Option<f64>; 2]) -> bool {
    *limit == [None, None]
}

impl Default for Mamba2Config {
    /// As published.
    fn default() -> Self {
        Mamba2Config {
            expand: 2,
            head_dim: 64,
            state_size: 128,
            n_groups: 1,
            conv_kernel: 4,
            a_init_range: [1.0, 16.0],
            time_step_range: [1e-3, 1e-1],
            time_step_floor: 1e-4,
            rescale_prenorm_residual: true,
            use_bias: false,
            use_conv_bias: true,
            time_step_limit: [None, None],
        }
    }
}

impl Mamba2Config {
    /// Inner width for a residual stream of `hidden`.
    pub fn intermediate(&self, hidden: usize) -> usize {
        self.expand * hidden
    }

    /// Number of heads for a residual stream of `hidden`.
    pub fn num_heads(&self, hidden: usize) -> usize {
        self.intermediate(hidden) / self.head_dim.max(1)
    }

    pub(super) fn states(&self, hidden: usize) -> Vec<Vec<usize>> {
        vec![vec![self.num_heads(hidden), self.state_size, self.head_dim]]
    }

    pub(super) fn about_weights(&self, hidden: usize) -> f64 {
        let inner = self.expand as f64 * hidden as f64;
        let conv = inner + 2.0 * self.n_groups as f64 * self.state_size as f64;
        hidden as f64 * (2.0 * inner + conv) + conv * self.conv_kernel as f64
    }

    pub(super) fn check(&self, hidden: usize) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        let (inner, heads) = (self.intermediate(hidden), self.num_heads(hidden));
        if heads == 0 || heads * self.head_dim != inner {
            return wrong(format!(
                "head_dim {} given, expected a divisor of expand * hidden_size = {inner}",
                self.head_dim
            ));
        }
        if self.n_groups == 0 || heads % self.n_groups != 0 {
            return wrong(format!(
                "n_groups {} given, expected a divisor of the {heads} heads",
                self.n_groups
            ));
        }
        ordered("a_init_range", self.a_init_range)?;
        ordered("time_step_range", self.time_step_range)?;
        let [low, high] = self.time_step_limit;
        if low.unwrap_or(0.0) < 0.0 || low.unwrap_or(0.0) >= high.unwrap_or(f64::INFINITY) {
            let bound = |bound: Option<f64>| bound.map_or("none".into(), |x| x.to_string());
            return wrong(format!(
                "time_step_limit from {} to {} given, expected 0 <= low < high",
                bound(low),
                bound(high)
            ));
        }
        if self.conv_kernel == 0 || self.state_size == 0 {
            return wrong("conv_kernel or state_size given as 0, expected at least 1".into());
        }
        Ok(())
    }
}
