//! The shape of a Mamba block.

use super::checks::{is_no, is_yes, not_zero, ordered, yes};
use crate::Error;
use serde::{Deserialize, Serialize};

/// A Mamba block, with FalconMamba's divisions where `mixer_rms_eps` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mamba1Config {
    /// Inner width, the number of channels, over residual width.
    pub expand: usize,
    /// Numbers of a channel's state, N.
    pub state_size: usize,
    /// Taps of the convolution.
    pub conv_kernel: usize,
    /// Rank of the time step; absent is a sixteenth of the residual width, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_step_rank: Option<usize>,
    /// Range that the time step is drawn from, evenly in its logarithm.
    pub time_step_range: [f64; 2],
    /// The least time step drawn.
    pub time_step_floor: f64,
    /// Whether the out-projection begins smaller by the root of the number of layers.
    pub rescale_prenorm_residual: bool,
    /// Whether the projections in and out have a bias.
    #[serde(default, skip_serializing_if = "is_no")]
    pub use_bias: bool,
    /// Whether the convolution has a bias.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub use_conv_bias: bool,
    /// FalconMamba: the epsilon with which the low-rank time step, B and C are each divided by their
    /// root mean square; absent is Mamba.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixer_rms_eps: Option<f64>,
}

impl Default for Mamba1Config {
    /// As published.
    fn default() -> Self {
        Mamba1Config {
            expand: 2,
            state_size: 16,
            conv_kernel: 4,
            time_step_rank: None,
            time_step_range: [1e-3, 1e-1],
            time_step_floor: 1e-4,
            rescale_prenorm_residual: true,
            use_bias: false,
            use_conv_bias: true,
            mixer_rms_eps: None,
        }
    }
}

impl Mamba1Config {
    /// Inner width for a residual stream of `hidden`.
    pub fn intermediate(&self, hidden: usize) -> usize {
        self.expand.saturating_mul(hidden)
    }

    /// Rank of the time step for a residual stream of `hidden`.
    pub fn rank(&self, hidden: usize) -> usize {
        self.time_step_rank.unwrap_or(hidden.div_ceil(16))
    }

    pub(super) fn states(&self, hidden: usize) -> Vec<Vec<usize>> {
        vec![vec![self.intermediate(hidden), self.state_size]]
    }

    pub(super) fn about_weights(&self, hidden: usize) -> f64 {
        let inner = self.expand as f64 * hidden as f64;
        let columns = self.conv_kernel as f64 + 3.0 * self.state_size as f64;
        inner * (3.0 * hidden as f64 + 2.0 * self.rank(hidden) as f64 + columns)
    }

    pub(super) fn check(&self, hidden: usize) -> Result<(), Error> {
        let sizes = [
            ("expand", self.expand),
            ("state_size", self.state_size),
            ("conv_kernel", self.conv_kernel),
            ("time_step_rank", self.rank(hidden)),
        ];
        not_zero(&sizes)?;
        ordered("time_step_range", self.time_step_range)
    }
}
