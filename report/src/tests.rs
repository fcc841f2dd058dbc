//! A folder of runs as it is written, read and shown.

use super::*;
use crate::plot::Figure;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("baton-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn write(folder: &Path, name: &str, value: &Value) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(name), value.to_string()).unwrap();
}

fn measurement(measure: &str, result: Value) -> Value {
    json!({
        "measure": measure,
        "checkpoint": {"run": "r", "weights": "0123456789abcdef", "parameters": 7,
                       "train_length": 16, "config": null, "progress": null},
        "text": "a <text>", "options": {}, "result": result, "seconds": 1.0,
    })
}

fn perplexity(last: f64) -> Value {
    measurement(
        "perplexity",
        json!({"positions": [8, 16, 32, 64], "loss": [2.0, 1.5, 1.5, last],
               "interval": [[1.9, 2.1], [1.4, 1.6], [1.4, 1.6], [last - 0.1, last + 0.1]],
               "sequences": 3, "starts": [0, 1, 2]}),
    )
}

/// Two seeds of a base and of a post-training, one with a task.
fn experiment(name: &str) -> PathBuf {
    let root = folder(name);
    for seed in [1, 2] {
        let base = root.join(format!("base/seed{seed}"));
        write(&base, "perplexity.json", &perplexity(2.0 + seed as f64));
        fs::write(
            base.join("metrics.jsonl"),
            "{\"step\":0,\"loss\":5.0,\"held_out\":{\"within\":4.5,\"past\":null}}\n\
             {\"step\":1,\"loss\":4.0,\"held_out\":{\"within\":3.5,\"past\":4.25}}\n",
        )
        .unwrap();
        let post = root.join(format!("state-passing/seed{seed}"));
        write(&post, "perplexity.json", &perplexity(1.5));
        let label =
            json!({"label": {"family": name, "arm": "state passing", "seed": "1", "order": 3}});
        write(&post, "run.json", &label);
        let cell = |length: u64, depth: f64, mean: f64| {
            json!({"length": length, "depth": depth,
            "trials": 2, "tokens": length, "scores": [{"name": "exact", "mean": mean}]})
        };
        let cells = [cell(16, 0.1, 1.0), cell(16, 0.9, 0.5), cell(64, 0.1, 0.25)];
        let grids = json!({"grids": [{"task": "passkey", "cells": cells}]});
        write(&post, "passkey.json", &measurement("passkey", grids));
        write(&post, "notes.json", &json!({"anything": 1}));
    }
    root
}

#[test]
fn runs_are_sorted_into_arms_and_replicates() {
    let root = experiment("sorted");
    let read = Experiment::read(&root).unwrap();
    fs::remove_dir_all(&root).unwrap();
    let name = root.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(read.name, name);
    let families: Vec<&str> = read.families.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(families, [name.as_str(), "sorted"]);
    let base = &read.families[0].arms[0];
    assert_eq!((base.name.as_str(), base.runs.len()), ("base", 2));
    assert_eq!(base.runs[1].seed, "2");
    assert_eq!(base.runs[0].losses, [(0, 5.0), (1, 4.0)]);
    let [within, past] = &base.runs[0].held_out;
    assert_eq!(
        (&within[..], &past[..]),
        (&[[1.0, 4.5], [2.0, 3.5]][..], &[[2.0, 4.25]][..])
    );
    let post = &read.families[1].arms[0];
    assert_eq!(post.runs[0].measurements.len(), 2);
}

#[test]
fn figures_and_tables_say_what_was_measured() {
    let root = experiment("shown");
    let read = Experiment::read(&root).unwrap();
    fs::remove_dir_all(&root).unwrap();
    let shown = figures(&read.families[0]);
    let Figure::Lines(lines) = &shown[0].figure else {
        panic!("curves were expected");
    };
    let base = &lines.series[0];
    let (low, high) = (3f64.exp(), 4f64.exp());
    assert_eq!(base.points[3], [64.0, 0.5 * (low + high)]);
    assert_eq!(base.band.as_ref().unwrap()[3], [low, high]);
    assert_eq!(lines.marks[0].0, 16.0);
    assert!(shown[1].name.ends_with("training"));
    // One point is no line.
    assert!(shown[2].name.ends_with("held-out") && shown.len() == 3);
    let shown = figures(&read.families[1]);
    let map = shown.iter().find_map(|s| match &s.figure {
        Figure::HeatMap(map) => Some(map),
        Figure::Lines(_) => None,
    });
    let map = map.expect("a heat map");
    assert_eq!(map.columns, ["16", "64"]);
    assert_eq!(map.values, [[Some(1.0), Some(0.25)], [Some(0.5), None]]);
    let tables = tables(&read.families[0]);
    assert_eq!(tables[0].columns, ["16", "64"]);
    let mean = 0.5 * (low + high);
    let std = (high - low) / 2f64.sqrt();
    assert_eq!(tables[0].rows[0].1[1], format!("{mean:.1} ± {std:.1}"));
    assert!(tables[0].markdown().contains("| base | 4.48 ± 0.000 |"));
}

/// One run of an arm may be longer than another: the mean at a step is over the runs that have it.
#[test]
fn replicates_are_averaged_by_their_steps() {
    let root = folder("replicates");
    for (loss, steps) in [(1.0, 100), (3.0, 40)] {
        let run = root.join(format!("base/seed{loss}"));
        fs::create_dir_all(&run).unwrap();
        let line = |step: u64| {
            let held_out = (step + 1).is_multiple_of(20).then_some(loss);
            json!({"step": step, "loss": loss, "held_out": {"within": held_out}}).to_string()
        };
        let lines: Vec<String> = (0..steps).map(line).collect();
        fs::write(run.join("metrics.jsonl"), lines.join("\n")).unwrap();
    }
    let read = Experiment::read(&root).unwrap();
    fs::remove_dir_all(&root).unwrap();
    let shown = figures(&read.families[0]);
    assert_eq!(shown.len(), 2);
    for shown in shown {
        let Figure::Lines(lines) = &shown.figure else {
            panic!("curves were expected");
        };
        let base = &lines.series[0];
        assert!(base.points.is_sorted_by(|a, b| a[0] < b[0]));
        let both = base.points.iter().position(|p| p[1] != 2.0);
        let (both, longer) = base.points.split_at(both.expect("the longer run alone"));
        assert!(longer.iter().all(|p| p[1] == 1.0), "{longer:?}");
        let [end, last] = [both, longer].map(|part| part.last().unwrap()[0]);
        assert!((40.0..45.0).contains(&end) && last == 100.0, "{end} {last}");
        let band = base.band.as_ref().unwrap();
        assert_eq!((band[0], band[both.len()]), ([1.0, 3.0], [1.0; 2]));
        assert_eq!(band.len(), base.points.len());
    }
}

#[test]
fn the_page_fetches_nothing_and_escapes_what_it_is_given() {
    let root = experiment("page");
    let html = page(&Experiment::read(&root).unwrap(), None).unwrap();
    fs::remove_dir_all(&root).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    for fetched in ["src=", "<link", "url(", "@import", "<script"] {
        assert!(!html.contains(fetched), "{fetched}");
    }
    assert!(html.contains("a &lt;text&gt;") && !html.contains("a <text>"));
    assert!(html.matches("<svg").count() >= 4);
    assert!(html.contains("prefers-color-scheme: dark"));
}

#[test]
fn a_folder_without_runs_is_refused() {
    let root = folder("empty");
    fs::create_dir_all(&root).unwrap();
    let error = Experiment::read(&root).unwrap_err().to_string();
    assert!(
        error.contains("expected a run or a folder of runs"),
        "{error}"
    );
    write(&root, "x.json", &json!({"measure": "x", "result": {}}));
    let error = Experiment::read(&root).unwrap_err().to_string();
    assert!(error.contains("x.json: no measurement"), "{error}");
    fs::remove_dir_all(root).unwrap();
}

/// Length, depth and mean.
type Cell = (u64, f64, f64);

/// A result of tasks: name, and cells.
fn tasks(all: &[(&str, &[Cell])]) -> Value {
    let cell = |&(length, depth, mean): &Cell| {
        let strange = u64::from(mean.is_nan());
        let mean = if mean.is_nan() { 0.0 } else { mean };
        json!({"length": length, "depth": depth, "not_finite": strange,
               "scores": [{"name": "exact", "mean": mean}]})
    };
    let grid = |&(task, cells): &(&str, &[Cell])| {
        let cells: Vec<Value> = cells.iter().map(cell).collect();
        json!({"task": task, "cells": cells})
    };
    let grids: Vec<Value> = all.iter().map(grid).collect();
    measurement("task", json!({"grids": grids}))
}

fn only_family(root: &Path) -> Family {
    let mut read = Experiment::read(root).unwrap();
    fs::remove_dir_all(root).unwrap();
    assert_eq!(read.families.len(), 1);
    read.families.remove(0)
}

#[test]
fn a_caption_says_of_each_kind_of_band_what_it_is() {
    let captions = |measured: &[&str]| {
        let root = folder("bands");
        for run in ["base-seed1", "base-seed2", "zero-seed1", "zero-seed2"] {
            let value = match measured.contains(&run) {
                true => perplexity(2.0),
                false => tasks(&[("recall", &[(16, 0.5, 1.0)])]),
            };
            write(&root.join(run), "perplexity.json", &value);
        }
        let shown = figures(&only_family(&root));
        let of = shown
            .into_iter()
            .find(|s| s.caption.starts_with("Perplexity"));
        of.unwrap().caption
    };
    let (range, interval) = ("from the lowest to the highest", "95 % intervals");
    let several = captions(&["base-seed1", "base-seed2"]);
    assert!(several.contains(range) && !several.contains(interval));
    // An arm of two runs, one of which was measured, has the band of one.
    let one = captions(&["base-seed1", "zero-seed2"]);
    assert!(!one.contains(range) && one.contains(interval), "{one}");
    let mixed = captions(&["base-seed1", "base-seed2", "zero-seed1"]);
    assert!(mixed.contains(range) && mixed.contains(interval), "{mixed}");
}

#[test]
fn a_heat_map_has_no_mean_of_what_is_not_finite() {
    let root = folder("strange");
    let nan = f64::NAN;
    for (seed, far) in [(1, nan), (2, nan), (3, 0.5)] {
        let cells = [(16, 0.5, 1.0), (64, 0.5, far), (256, 0.5, 0.25)];
        let cells = if seed == 3 { &cells[..2] } else { &cells[..] };
        let run = root.join(format!("base-seed{seed}"));
        write(&run, "recall.json", &tasks(&[("recall", cells)]));
    }
    write(&root.join("base-seed4"), "p.json", &perplexity(2.0));
    let shown = figures(&only_family(&root));
    let maps = shown.iter().filter_map(|s| match &s.figure {
        Figure::HeatMap(map) => Some((map, &s.caption)),
        Figure::Lines(_) => None,
    });
    let maps: Vec<_> = maps.collect();
    let (map, caption) = maps[0];
    assert_eq!(map.values, [[Some(1.0), None, Some(0.25)]]);
    assert!(caption.contains("mean over 2 to 3 run(s)"), "{caption}");
}

#[test]
fn a_table_has_a_column_for_the_longest() {
    for count in 1..40 {
        let root = folder("longest");
        let cells: Vec<_> = (1..=count).map(|i| (10 * i, 0.5, 1.0)).collect();
        let recall = tasks(&[("recall", &cells)]);
        write(&root.join("base-seed1"), "recall.json", &recall);
        let columns = tables(&only_family(&root)).remove(0).columns;
        let ends = (columns[0].clone(), columns.last().unwrap().clone());
        assert_eq!(ends, ("10".to_string(), (10 * count).to_string()));
        assert!(columns.len() <= 8 && columns.is_sorted_by_key(|c| c.parse::<u64>().unwrap()));
    }
}

/// A length too short for one of the tasks is not in the mean over them.
#[test]
fn a_mean_over_tasks_is_of_the_same_tasks_at_each_length() {
    let root = folder("tasks");
    let hard = [(64, 0.5, 0.25), (256, 0.5, 0.125)];
    let easy = [(16, 0.5, 1.0), (64, 0.5, 0.75), (256, 0.5, 0.625)];
    let both = tasks(&[("easy", &easy), ("hard", &hard)]);
    write(&root.join("base-seed1"), "both.json", &both);
    let family = only_family(&root);
    let shown = figures(&family);
    let Figure::Lines(lines) = &shown[0].figure else {
        panic!("curves were expected");
    };
    assert_eq!(lines.series[0].points, [[64.0, 0.5], [256.0, 0.375]]);
    assert!(shown[0].caption.contains("at which each has a score"));
    let table = tables(&family).remove(0);
    assert_eq!(table.columns, ["16", "64", "256"]);
    let row = |name: &str, cells: [&str; 3]| (name.to_string(), cells.map(String::from).to_vec());
    let rows = [
        row("base", ["", "50.0", "37.5"]),
        row("base: easy", ["100", "75.0", "62.5"]),
        row("base: hard", ["", "25.0", "12.5"]),
    ];
    assert_eq!(table.rows, rows);
}
