//! Tables of a family: perplexity and state at multiples of the training length, scores by length.
//!
//! A number is the mean over an arm's runs, with their standard deviation where there are several.

use crate::found::{files, results, score, train_length};
use crate::plot::short;
use crate::{Arm, Family};
use baton_tasks::measures::{ByPosition, Interval, OverTime, Remembrance};
use serde_json::Value;

/// A run's values by place.
type Values = Vec<(usize, f64)>;

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Above it.
    pub title: String,
    /// Names of the columns but the first.
    pub columns: Vec<String>,
    /// Each row's name and cells.
    pub rows: Vec<(String, Vec<String>)>,
}

/// All tables of a family.
pub fn tables(family: &Family) -> Vec<Table> {
    let mut all = Vec::new();
    for file in files(family, |m| m == "perplexity") {
        let by = |arm: &Arm| -> Vec<Values> {
            let pairs = |r: ByPosition| {
                let values = r.loss.into_iter().map(f64::exp);
                r.positions.into_iter().zip(values).collect()
            };
            results::<ByPosition>(arm, file)
                .into_iter()
                .map(pairs)
                .collect()
        };
        all.extend(table(
            family,
            "Perplexity of the bucket up to a position",
            by,
            true,
        ));
    }
    for file in files(family, |m| m == "states") {
        let by = |arm: &Arm| -> Vec<Values> {
            let pairs = |r: OverTime| r.times.into_iter().zip(r.std).collect();
            results::<OverTime>(arm, file)
                .into_iter()
                .map(pairs)
                .collect()
        };
        let title = "Standard deviation of the full state after so many tokens";
        all.extend(table(family, title, by, true));
    }
    for file in files(family, |m| m == "remembrance") {
        let by = |arm: &Arm| -> Vec<Values> {
            let pairs = |r: Remembrance| r.cuts.into_iter().zip(r.distance).collect();
            results::<Remembrance>(arm, file)
                .into_iter()
                .map(pairs)
                .collect()
        };
        let title = "Effective remembrance: total variation without the tokens before t";
        all.extend(table(family, title, by, false));
    }
    for file in files(family, |m| {
        !["perplexity", "states", "remembrance"].contains(&m)
    }) {
        let by = |arm: &Arm| -> Vec<Values> {
            let found = results::<Value>(arm, file);
            found.iter().map(scores).collect()
        };
        all.extend(table(
            family,
            &format!("{file}, percent by length"),
            by,
            false,
        ));
    }
    all
}

/// The mean of the first score over depths and tasks, in percent, by length.
fn scores(result: &Value) -> Values {
    let grids = result["grids"].as_array().into_iter().flatten();
    let cells = grids.flat_map(|grid| grid["cells"].as_array().into_iter().flatten());
    let mut all: Vec<(usize, f64, f64)> = Vec::new();
    for cell in cells {
        let (Some(length), Some(mean)) = (cell["length"].as_u64(), score(cell)) else {
            continue;
        };
        match all.iter_mut().find(|(l, _, _)| *l == length as usize) {
            Some((_, sum, count)) => (*sum, *count) = (*sum + mean, *count + 1.0),
            None => all.push((length as usize, mean, 1.0)),
        }
    }
    let mean = |(length, sum, count)| (length, 100.0 * sum / count);
    all.into_iter().map(mean).collect()
}

/// A table of `by`, at most eight columns; `octaves` keeps those at the training length times
/// powers of four, and the last.
fn table(
    family: &Family,
    title: &str,
    by: impl Fn(&Arm) -> Vec<Values>,
    octaves: bool,
) -> Option<Table> {
    let arms: Vec<(&Arm, Vec<Values>)> = family.arms.iter().map(|arm| (arm, by(arm))).collect();
    let places = arms.iter().flat_map(|(_, runs)| runs.iter().flatten());
    let mut places: Vec<usize> = places.map(|&(place, _)| place).collect();
    places.sort_unstable();
    places.dedup();
    let last = *places.last()?;
    if let (true, Some(length)) = (octaves, train_length(family)) {
        let fits = |place: &usize| {
            let power = (*place as f64 / length as f64).log(4.0);
            power >= 0.0 && power.fract() == 0.0 || *place == last
        };
        places.retain(fits);
    }
    let step = places.len().div_ceil(8).max(1);
    let kept: Vec<usize> = places.iter().copied().step_by(step).collect();
    let cell = |runs: &[Values], place: usize| {
        let values = runs.iter().flatten().filter(|(p, _)| *p == place);
        let values: Vec<f64> = values.map(|&(_, value)| value).collect();
        if values.is_empty() {
            return String::new();
        }
        let Interval { mean, std, .. } = Interval::of(&values);
        if !mean.is_finite() {
            return "not finite".into();
        }
        match std {
            Some(std) => format!("{} ± {}", digits(mean), digits(std)),
            None => digits(mean),
        }
    };
    let measured = arms.iter().filter(|(_, runs)| !runs.is_empty());
    let rows = measured.map(|(arm, runs)| {
        let cells = kept.iter().map(|&place| cell(runs, place));
        (arm.name.clone(), cells.collect())
    });
    Some(Table {
        title: format!("{title}, {}", family.name),
        rows: rows.collect(),
        columns: kept.iter().map(|&place| short(place as f64)).collect(),
    })
}

/// Three digits or so.
fn digits(x: f64) -> String {
    match x.abs() {
        a if a >= 1e5 => format!("{x:.1e}"),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        a if a >= 0.1 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

impl Table {
    /// For a document.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "**{}**\n\n| | {} |\n|---|",
            self.title,
            self.columns.join(" | ")
        );
        text.push_str(&"--:|".repeat(self.columns.len()));
        for (name, cells) in &self.rows {
            text.push_str(&format!("\n| {name} | {} |", cells.join(" | ")));
        }
        text.push('\n');
        text
    }
}
