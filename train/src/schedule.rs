//! The learning rate over a run: linear warm-up to a peak, then half a cosine down to a floor.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A learning-rate schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Steps in all.
    pub steps: u64,
    /// The last rate over the highest.
    pub floor: f64,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Schedule {
            peak,
            warmup,
            floor,
            ..
        } = *self;
        write!(
            f,
            "{peak:e} after {warmup} steps of warm-up, by a cosine to {:e}",
            peak * floor
        )
    }
}

impl Schedule {
    /// Refuses rates that are none.
    pub fn check(&self) -> Result<(), Error> {
        let Schedule { peak, floor, .. } = *self;
        let finite = (peak as f32).is_finite(); // steps are made in f32
        match peak >= 0.0 && finite && (0.0..=1.0).contains(&floor) {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "a peak rate of {peak:?} with floor {floor} given, expected a rate from 0 up that f32 holds \
                 and a floor from 0 to 1"
            ))),
        }
    }

    /// The rate of step `step`, from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let span = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let done = ((step - self.warmup) as f64 / span).min(1.0);
        let share = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.peak * (self.floor + (1.0 - self.floor) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_peaks_and_falls_to_the_floor() {
        let schedule = Schedule {
            peak: 2.0,
            warmup: 4,
            steps: 104,
            floor: 0.1,
        };
        assert_eq!(schedule.rate(0), 0.5);
        assert_eq!(schedule.rate(3), 2.0);
        assert_eq!(schedule.rate(4), 2.0);
        assert!((schedule.rate(54) - 1.1).abs() < 1e-12);
        assert!((schedule.rate(104) - 0.2).abs() < 1e-12);
        assert!((schedule.rate(9999) - 0.2).abs() < 1e-12);
    }
}
