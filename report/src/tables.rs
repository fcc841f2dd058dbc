//! Tables of a family: perplexity and state at multiples of the training length, scores by length.
//!
//! A number is the mean over an arm's runs, with their standard deviation where there are several.

use crate::found::{Cell, by_length, cells, files, results, train_length};
use crate::plot::short;
use crate::{Arm, Family};
use baton_tasks::measures::{ByPosition, Interval, OverTime, Remembrance};
use serde_json::Value;

/// A run's values by place.
type Values = Vec<(usize, f64)>;

/// A row's name and its runs.
type Row = (String, Vec<Values>);

/// Places that a table has columns for, at most eight.
#[derive(Clone, Copy, PartialEq)]
enum Columns {
    /// The training length times powers of four, and the last.
    Octaves,
    /// From the first in even steps, and the last.
    Lengths,
    /// From the first in even steps: cuts lie closest where they end.
    Cuts,
}

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
            arms(family, by),
            Columns::Octaves,
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
        all.extend(table(family, title, arms(family, by), Columns::Octaves));
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
        all.extend(table(family, title, arms(family, by), Columns::Cuts));
    }
    for file in files(family, |m| {
        !["perplexity", "states", "remembrance"].contains(&m)
    }) {
        let rows = family.arms.iter().flat_map(|arm| scores(arm, file));
        let title = format!("{file}, percent by length");
        all.extend(table(family, &title, rows.collect(), Columns::Lengths));
    }
    all
}

/// A row for each arm.
fn arms(family: &Family, by: impl Fn(&Arm) -> Vec<Values>) -> Vec<Row> {
    let rows = family.arms.iter().map(|arm| (arm.name.clone(), by(arm)));
    rows.collect()
}

/// The mean of the first score over depths and tasks, in percent, by length; where it leaves out a length that has
/// not all of them, a row for each task too.
fn scores(arm: &Arm, file: &str) -> Vec<Row> {
    let found = results::<Value>(arm, file);
    let runs: Vec<Vec<Cell>> = found.iter().map(cells).collect();
    let percent = |cells: &[Cell]| -> Values {
        let means = by_length(cells).into_iter();
        means.map(|(length, mean)| (length, 100.0 * mean)).collect()
    };
    let means: Vec<Values> = runs.iter().map(|cells| percent(cells)).collect();
    let mut tasks: Vec<&str> = runs.iter().flatten().map(|cell| cell.task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let whole = runs.iter().zip(&means).all(|(cells, means)| {
        let shown = |cell: &Cell| means.iter().any(|&(length, _)| length == cell.length);
        cells.iter().all(shown)
    });
    let mut rows = vec![(arm.name.clone(), means)];
    if !whole && tasks.len() > 1 {
        rows.extend(tasks.into_iter().map(|task| {
            let own = |cells: &Vec<Cell>| -> Values {
                let own = cells.iter().copied().filter(|cell| cell.task == task);
                percent(&own.collect::<Vec<Cell>>())
            };
            let name = format!("{}: {task}", arm.name);
            (name, runs.iter().map(own).collect())
        }));
    }
    rows
}

/// A table of `rows`; none where they have no values.
fn table(family: &Family, title: &str, rows: Vec<Row>, columns: Columns) -> Option<Table> {
    let places = rows.iter().flat_map(|(_, runs)| runs.iter().flatten());
    let mut places: Vec<usize> = places.map(|&(place, _)| place).collect();
    places.sort_unstable();
    places.dedup();
    let last = *places.last()?;
    if let (Columns::Octaves, Some(length)) = (columns, train_length(family)) {
        let fits = |place: &usize| {
            let power = (*place as f64 / length as f64).log(4.0);
            power >= 0.0 && power.fract() == 0.0 || *place == last
        };
        places.retain(fits);
    }
    let step = places.len().div_ceil(8).max(1);
    let mut kept: Vec<usize> = places.iter().copied().step_by(step).collect();
    if columns != Columns::Cuts && !kept.contains(&last) {
        kept.truncate(7);
        kept.push(last);
    }
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
    let measured = rows
        .iter()
        .filter(|(_, runs)| runs.iter().any(|run| !run.is_empty()));
    let rows = measured.map(|(name, runs)| {
        let cells = kept.iter().map(|&place| cell(runs, place));
        (name.clone(), cells.collect())
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
