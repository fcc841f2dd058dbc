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
        let least = |x: f64, least: f64| x.is_finite() && x >= least;
        // These are f32 in a step, where a decay near 1 is 1 and a tiny epsilon is 0.
        let decays = [self.beta1, self.beta2].map(|beta| beta >= 0.0 && (beta as f32) < 1.0);
        let epsilon = self.epsilon as f32;
        let right = decays == [true; 2]
            && epsilon.is_finite()
            && epsilon > 0.0
            && least(self.weight_decay, 0.0)
            && least(self.clip, f64::MIN_POSITIVE);
        match right {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "beta1 {}, beta2 {}, epsilon {}, weight_decay {}, clip {} given, expected betas from 0 to below 1 and epsilon \
                 above 0 in f32, weight_decay of at least 0, clip above 0, all finite",
                self.beta1, self.beta2, self.epsilon, self.weight_decay, self.clip
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_cannot_tell_from_1_or_0_is_refused() {
        let check = |change: fn(&mut AdamWConfig)| {
            let mut config = AdamWConfig::default();
            change(&mut config);
            config.check().map_err(|e| e.to_string())
        };
        let wrong: [fn(&mut AdamWConfig); 5] = [
            |c| c.beta1 = 0.999_999_99,
            |c| c.beta2 = 0.999_999_99,
            |c| c.beta2 = -0.1,
            |c| c.epsilon = 1e-50,
            |c| c.epsilon = 1e50,
        ];
        for change in wrong {
            let error = check(change).unwrap_err();
            assert!(error.contains("given, expected betas"), "{error}");
        }
        assert_eq!(check(|c| c.beta2 = 0.999_999), Ok(()));
        assert_eq!(check(|c| c.epsilon = 1e-30), Ok(()));
    }
}
