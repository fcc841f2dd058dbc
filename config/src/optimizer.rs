//! The settings of AdamW.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The settings of AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decay of matrices, times the learning rate.
    pub weight_decay: f64,
    /// The largest global norm of the gradients.
    pub clip: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            clip: 1.0,
        }
    }
}

impl fmt::Display for AdamWConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdamWConfig {
            beta1,
            beta2,
            weight_decay,
            clip,
            ..
        } = self;
        write!(
            f,
            "AdamW, betas {beta1} and {beta2}, weight decay {weight_decay}, clipped to {clip}"
        )
    }
}

impl AdamWConfig {
    /// Refuses settings that no step can be made with.
    pub fn check(&self) -> Result<(), Error> {
        let decays = [self.beta1, self.beta2].map(|beta| (0.0..1.0).contains(&beta));
        let least = |x: f64, least: f64| x.is_finite() && x >= least;
        let right = decays == [true; 2]
            && least(self.epsilon, f64::MIN_POSITIVE)
            && least(self.weight_decay, 0.0)
            && least(self.clip, f64::MIN_POSITIVE);
        match right {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "beta1 {}, beta2 {}, epsilon {}, weight_decay {}, clip {} given, expected betas from 0 to below 1, weight_decay of at least 0, \
                 epsilon and clip above 0, all finite",
                self.beta1, self.beta2, self.epsilon, self.weight_decay, self.clip
            ))),
        }
    }
}
