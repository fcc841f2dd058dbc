//! A mean with its 95 % confidence interval, by Student's t over independent samples.
//!
//! Samples are sequences or seeds, so there are few of them: the normal quantile would claim too
//! much. One sample has a mean and no interval.

use serde::{Deserialize, Serialize};

/// Student's t at 0.975 for 1 to 30 degrees of freedom.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// A mean over samples and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Half the width of the 95 % interval; absent for one sample.
    pub half: Option<f64>,
    /// The standard deviation of the samples; absent for one.
    pub std: Option<f64>,
}

impl Interval {
    /// Of `samples`, at least one.
    pub fn of(samples: &[f64]) -> Self {
        let n = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / n;
        if samples.len() < 2 {
            return Interval {
                mean,
                half: None,
                std: None,
            };
        }
        let squares: f64 = samples.iter().map(|x| (x - mean).powi(2)).sum();
        let std = (squares / (n - 1.0)).sqrt();
        Interval {
            mean,
            half: Some(quantile(samples.len() - 1) * std / n.sqrt()),
            std: Some(std),
        }
    }

    /// Both ends; the mean itself for one sample.
    pub fn ends(&self) -> [f64; 2] {
        let half = self.half.unwrap_or(0.0);
        [self.mean - half, self.mean + half]
    }
}

/// Student's t at 0.975; past the table by its expansion around the normal quantile.
fn quantile(freedom: usize) -> f64 {
    let z: f64 = 1.959_964;
    let n = freedom as f64;
    T.get(freedom.wrapping_sub(1)).copied().unwrap_or_else(|| {
        z + (z.powi(3) + z) / (4.0 * n)
            + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_samples_have_the_interval_of_the_textbook() {
        let interval = Interval::of(&[1.0, 2.0, 3.0]);
        assert_eq!(interval.mean, 2.0);
        assert_eq!(interval.std, Some(1.0));
        assert!((interval.half.unwrap() - 4.303 / 3f64.sqrt()).abs() < 1e-12);
        assert_eq!(Interval::of(&[7.0]).ends(), [7.0, 7.0]);
    }

    #[test]
    fn the_expansion_continues_the_table() {
        // t at 0.975: 2.0395 for 31 degrees, 1.9840 for 100.
        assert!((quantile(31) - 2.0395).abs() < 1e-3);
        assert!((quantile(100) - 1.9840).abs() < 1e-4);
        assert!(quantile(30) > quantile(31));
    }
}
