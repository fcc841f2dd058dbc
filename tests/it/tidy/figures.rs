//! README's tables of times are those of the benchmarks' results (benches/page.py writes both), number by number.
//!
//! A cell is found from the results by its column, so neither a table that was edited nor results that were measured anew
//! without it pass.

use serde_json::Value;
use std::path::Path;

/// Columns and the phases that they show.
const COLUMNS: [(&str, &str); 4] = [
    ("forward ms", "forward"),
    ("keeping states ms", "forward_keep"),
    ("backward ms", "backward"),
    ("training tokens/s", "train"),
];

fn number(value: f64) -> String {
    match value {
        _ if value >= 1000.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// What a column of a row's table says.
fn cell(row: &Value, column: &str) -> Option<String> {
    let whole = |value: &Value| Some(value.as_f64().map_or("-".into(), |x| format!("{x:.0}")));
    match column {
        "" if row["peer"] == "Baton" => return Some("**Baton**".into()),
        "" => return row["peer"].as_str().map(Into::into),
        "cold start ms" => return whole(&row["cold_start_ms"]),
        "most memory MiB" => return whole(&row["peak_mib"]),
        "of peak" => {
            let share = row["phases"]["forward"]["peak_share"].as_f64();
            return Some(share.map_or("-".into(), |share| format!("{:.0}%", 100.0 * share)));
        }
        _ => {}
    }
    let (_, phase) = COLUMNS.iter().find(|(name, _)| *name == column)?;
    let found = &row["phases"][phase];
    let Some(median) = found["median_ms"].as_f64() else {
        return Some("-".into());
    };
    let text = match *phase {
        "train" => {
            let tokens = row["sizes"]["B"].as_f64()? * row["sizes"]["T"].as_f64()?;
            format!("{:.0}", 1e3 * tokens / median)
        }
        _ => number(median),
    };
    match found["over_ours"][1].as_f64() {
        Some(over) => Some(format!("{text} ({})", number(over))),
        None => Some(text),
    }
}

/// The tables between README's marks: the section's name, and the cells of each line.
fn tables(readme: &str) -> Vec<(&str, Vec<Vec<&str>>)> {
    let parts = readme.split("<!-- bench ").skip(1);
    let tables = parts.filter_map(|part| {
        let (name, rest) = part.split_once(" -->")?;
        let (block, _) = rest.split_once("<!-- end of bench -->")?;
        let lines = block.lines().filter_map(|line| line.strip_prefix('|'));
        let cells = lines.map(|line| {
            line.trim_end_matches('|')
                .split('|')
                .map(str::trim)
                .collect()
        });
        Some((name, cells.collect()))
    });
    tables.collect()
}

/// What README shows otherwise than the results have it.
fn differences(readme: &str, results: &Value) -> Vec<String> {
    let mut all = vec![];
    for (name, lines) in tables(readme) {
        let rows = results["sections"][name]["rows"].as_array();
        let rows = rows.into_iter().flatten();
        let rows: Vec<&Value> = rows.filter(|row| row.get("missing").is_none()).collect();
        let [head, _, shown @ ..] = lines.as_slice() else {
            all.push(format!("{name}: no table"));
            continue;
        };
        if shown.len() != rows.len() {
            all.push(format!(
                "{name}: {} lines, {} results",
                shown.len(),
                rows.len()
            ));
        }
        for (line, row) in shown.iter().zip(rows) {
            for (column, shown) in head.iter().zip(line) {
                let expected = cell(row, column);
                if expected.as_deref() != Some(shown) {
                    all.push(format!(
                        "{name}, {column}: `{shown}`, the results have {expected:?}"
                    ));
                }
            }
        }
    }
    all
}

#[test]
fn readme_shows_the_results_of_the_benchmarks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    let (readme, results) = (read("README.md"), read("benches/results/bench.json"));
    let results: Value = serde_json::from_str(&results).expect("bench.json");
    assert_eq!(
        tables(&readme)
            .iter()
            .map(|table| table.0)
            .collect::<Vec<_>>(),
        ["ssd", "training"]
    );
    let found = differences(&readme, &results);
    assert!(
        found.is_empty(),
        "`make bench BENCH=--page` writes them: {found:#?}"
    );

    for (_, lines) in tables(&readme) {
        let line = lines[2].join(" | ");
        let shown = lines[2][1];
        let digit = shown.find(|c: char| c.is_ascii_digit()).expect("a number");
        let other = if shown.as_bytes()[digit] == b'9' {
            "8"
        } else {
            "9"
        };
        let mut edited = shown.to_string();
        edited.replace_range(digit..digit + 1, other);
        let edited = readme.replacen(&line, &line.replacen(shown, &edited, 1), 1);
        assert!(
            !differences(&edited, &results).is_empty(),
            "not noticed: {shown} edited"
        );
        let shorter = readme.replacen(&format!("| {line} |\n"), "", 1);
        assert!(
            !differences(&shorter, &results).is_empty(),
            "not noticed: a line less"
        );
    }
    let mut other = results.clone();
    let median = &mut other["sections"]["ssd"]["rows"][0]["phases"]["backward"]["median_ms"];
    *median = (1.5 * median.as_f64().expect("a time")).into();
    assert!(
        !differences(&readme, &other).is_empty(),
        "not noticed: other results"
    );
}
