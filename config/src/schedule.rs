//! The learning rate over a run: linear warm-up to a peak, then one of four shapes down to a floor or along it.
//!
//! Shapes are functions of the step and of the steps in all, so that a run which is made longer is a run of
//! another schedule from there on; `constant`, and `wsd` before its last part, do not look at the end.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A learning-rate schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// What comes after the warm-up; a cosine where nothing is said.
    #[serde(default, skip_serializing_if = "is_cosine")]
    pub shape: Shape,
    /// The highest rate.
    pub peak: f64,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Steps in all.
    pub steps: u64,
    /// The last rate over the highest; a constant rate has none.
    pub floor: f64,
    /// Steps of the last part of [`Shape::Wsd`]; a tenth of all where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<u64>,
}

/// How a rate goes on after its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Half a cosine from the peak to the floor.
    #[default]
    Cosine,
    /// The peak.
    Constant,
    /// A line from the peak to the floor.
    Linear,
    /// Warm-up, stable, decay: the peak, and a line to the floor over the last steps.
    Wsd,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 4] = [Shape::Cosine, Shape::Constant, Shape::Linear, Shape::Wsd];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Cosine => "cosine",
            Shape::Constant => "constant",
            Shape::Linear => "linear",
            Shape::Wsd => "wsd",
        }
    }
}

fn is_cosine(shape: &Shape) -> bool {
    *shape == Shape::Cosine
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peak, warmup) = (self.peak, self.warmup);
        write!(f, "{:e} after {warmup} steps of warm-up, ", short(peak))?;
        let floor = short(peak * self.floor);
        match self.shape {
            Shape::Cosine => write!(f, "by a cosine to {floor:e}"),
            Shape::Constant => write!(f, "constant"),
            Shape::Linear => write!(f, "by a line to {floor:e}"),
            Shape::Wsd => write!(
                f,
                "by a line to {floor:e} over the last {} steps",
                self.decay()
            ),
        }
    }
}

/// In six digits, as rates are shown: a tenth of 3e-3 is 3e-4.
fn short(rate: f64) -> f64 {
    format!("{rate:.5e}").parse().unwrap_or(rate)
}

impl Schedule {
    /// Refuses rates that are none.
    pub fn check(&self) -> Result<(), Error> {
        let Schedule { peak, floor, .. } = *self;
        let finite = (peak as f32).is_finite(); // steps are made in f32
        if !(peak >= 0.0 && finite && (0.0..=1.0).contains(&floor)) {
            return Err(Error::Config(format!(
                "a peak rate of {peak:?} with floor {floor} given, expected a rate from 0 up that f32 holds \
                 and a floor from 0 to 1"
            )));
        }
        match (self.shape, self.decay) {
            (_, None) => Ok(()),
            (Shape::Wsd, Some(decay)) if decay <= self.steps.saturating_sub(self.warmup) => Ok(()),
            (Shape::Wsd, Some(decay)) => Err(Error::Config(format!(
                "schedule.decay {decay} given, expected at most the {} steps after the warm-up",
                self.steps.saturating_sub(self.warmup)
            ))),
            (shape, Some(decay)) => Err(Error::Config(format!(
                "schedule.decay {decay} given for the shape {}, expected it for wsd alone",
                shape.name()
            ))),
        }
    }

    /// Steps of the last part of [`Shape::Wsd`].
    fn decay(&self) -> u64 {
        let after = self.steps.saturating_sub(self.warmup);
        self.decay.unwrap_or(self.steps / 10).min(after)
    }

    /// The rate of step `step`, from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let begins = match self.shape {
            Shape::Wsd => self.steps.saturating_sub(self.decay()).max(self.warmup),
            _ => self.warmup,
        };
        let span = self.steps.saturating_sub(begins).max(1) as f64;
        let done = (step.saturating_sub(begins) as f64 / span).min(1.0);
        let share = match self.shape {
            Shape::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Shape::Constant => return self.peak,
            Shape::Linear | Shape::Wsd => 1.0 - done,
        };
        self.peak * (self.floor + (1.0 - self.floor) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shape: Shape, decay: Option<u64>) -> Schedule {
        Schedule {
            shape,
            peak: 2.0,
            warmup: 4,
            steps: 104,
            floor: 0.1,
            decay,
        }
    }

    /// Rates at steps, each of which can be worked out by hand.
    #[test]
    fn every_shape_warms_up_and_ends_where_it_says() {
        let wsd = of(Shape::Wsd, Some(20));
        let all: [(Schedule, &[(u64, f64)]); 5] = [
            (
                of(Shape::Cosine, None),
                &[
                    (4, 2.0),
                    (29, 1.1 + 0.9 * 0.5f64.sqrt()),
                    (54, 1.1),
                    (104, 0.2),
                ],
            ),
            (
                of(Shape::Constant, None),
                &[(4, 2.0), (54, 2.0), (9999, 2.0)],
            ),
            (
                of(Shape::Linear, None),
                &[(4, 2.0), (29, 1.55), (54, 1.1), (104, 0.2)],
            ),
            (
                wsd,
                &[(4, 2.0), (84, 2.0), (89, 1.55), (94, 1.1), (104, 0.2)],
            ),
            // A tenth of 104 is 10.
            (of(Shape::Wsd, None), &[(94, 2.0), (99, 1.1), (104, 0.2)]),
        ];
        for (schedule, rates) in all {
            schedule.check().unwrap();
            let shape = schedule.shape.name();
            assert_eq!((schedule.rate(0), schedule.rate(3)), (0.5, 2.0), "{shape}");
            for &(step, rate) in rates {
                assert!((schedule.rate(step) - rate).abs() < 1e-12, "{shape} {step}");
            }
            let late = [schedule.rate(104), schedule.rate(u64::MAX)];
            assert_eq!(late[0], late[1], "{shape}");
        }
    }

    #[test]
    fn rates_are_shown_short() {
        let schedule = Schedule {
            peak: 3e-3 * 0.1,
            ..of(Shape::Cosine, None)
        };
        assert_eq!(
            schedule.to_string(),
            "3e-4 after 4 steps of warm-up, by a cosine to 3e-5"
        );
    }

    #[test]
    fn a_last_part_is_for_one_shape_and_fits() {
        for (schedule, part) in [
            (of(Shape::Wsd, Some(101)), "at most the 100 steps"),
            (of(Shape::Cosine, Some(1)), "for wsd alone"),
        ] {
            let error = schedule.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        // What is older than shapes is a cosine, and is written as it was.
        let old = r#"{"peak":2.0,"warmup":4,"steps":104,"floor":0.1}"#;
        let read: Schedule = serde_json::from_str(old).unwrap();
        assert_eq!(read, of(Shape::Cosine, None));
        assert_eq!(serde_json::to_string(&read).unwrap(), old);
    }
}
