//! What the measurements of a family say.

use crate::{Arm, Family};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

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

/// The first score of a task at one place.
#[derive(Clone, Copy)]
pub struct Cell<'a> {
    /// Which grid of the result it is in: a task whose questions differ in scores has several.
    pub grid: usize,
    /// The task's name.
    pub task: &'a str,
    /// Its length.
    pub length: usize,
    /// Its depth, where it has one.
    pub depth: Option<f64>,
    /// The mean; NaN where logits were not finite.
    pub score: f64,
}

/// The cells of a task's result that have a score; one that was refused has none.
pub fn cells(result: &Value) -> Vec<Cell<'_>> {
    let mut all = Vec::new();
    let grids = result["grids"].as_array().into_iter().flatten();
    for (grid, asked) in grids.enumerate() {
        let task = asked["task"].as_str().unwrap_or_default();
        for cell in asked["cells"].as_array().into_iter().flatten() {
            if let (Some(length), Some(score)) = (cell["length"].as_u64(), score(cell)) {
                all.push(Cell {
                    grid,
                    task,
                    length: length as usize,
                    depth: cell["depth"].as_f64(),
                    score,
                });
            }
        }
    }
    all
}

/// The mean over the cells of each length, at lengths that have all tasks and depths that any has: what is averaged
/// is the same at each.
pub fn by_length(cells: &[Cell]) -> Vec<(usize, f64)> {
    let mut lengths: BTreeMap<usize, Vec<&Cell>> = BTreeMap::new();
    for cell in cells {
        lengths.entry(cell.length).or_default().push(cell);
    }
    let part = |cell: &Cell| (cell.grid, cell.depth);
    lengths.retain(|_, here| {
        let has = |wanted: &Cell| here.iter().any(|cell| part(cell) == part(wanted));
        cells.iter().all(has)
    });
    let mean = |(length, here): (usize, Vec<&Cell>)| {
        let sum: f64 = here.iter().map(|cell| cell.score).sum();
        (length, sum / here.len() as f64)
    };
    lengths.into_iter().map(mean).collect()
}

/// The first score of a task's cell; NaN where logits were not finite.
fn score(cell: &Value) -> Option<f64> {
    let mean = cell["scores"][0]["mean"].as_f64()?;
    let strange = cell["not_finite"].as_u64().unwrap_or(0);
    Some(if strange > 0 { f64::NAN } else { mean })
}
