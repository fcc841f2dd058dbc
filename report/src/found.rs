//! What the measurements of a family say.

use crate::{Arm, Family};
use serde::de::DeserializeOwned;

/// The training length of a family, where a measurement says it.
pub fn train_length(family: &Family) -> Option<usize> {
    let runs = family.arms.iter().flat_map(|arm| &arm.runs);
    let mut measurements = runs.flat_map(|run| run.measurements.values());
    measurements.find_map(|m| m.checkpoint.train_length)
}

/// Names of files that a family's runs have a measurement of `measure` in, sorted.
pub fn files(family: &Family, measure: impl Fn(&str) -> bool) -> Vec<&str> {
    let runs = family.arms.iter().flat_map(|arm| &arm.runs);
    let all = runs.flat_map(|run| &run.measurements);
    let fits = all.filter(|(_, m)| measure(&m.measure));
    let mut names: Vec<&str> = fits.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The results of `file` of an arm's runs, as far as they have the form of `T`.
pub fn results<T: DeserializeOwned>(arm: &Arm, file: &str) -> Vec<T> {
    let found = arm.runs.iter().filter_map(|run| run.measurements.get(file));
    found
        .filter_map(|m| serde_json::from_value(m.result.clone()).ok())
        .collect()
}

/// The first score of a task's cell; NaN where logits were not finite.
pub fn score(cell: &serde_json::Value) -> Option<f64> {
    let mean = cell["scores"][0]["mean"].as_f64()?;
    let strange = cell["not_finite"].as_u64().unwrap_or(0);
    Some(if strange > 0 { f64::NAN } else { mean })
}
