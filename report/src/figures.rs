//! Figures of a family: training, and one for each measure.
//!
//! A line is the mean over an arm's runs, at each place over those that are there. Its band goes from the
//! lowest to the highest of them; an arm of one run has the 95 % interval over sequences instead, where the
//! measure gives one. Arms that differ in steps (`.., 100 steps`) stand in figures of their own beside those
//! that have none.

use crate::found::{Cell, by_length, cells, files, results, train_length};
use crate::plot::{Axis, Figure, HeatMap, Lines, Series, short};
use crate::{Arm, Family};
use baton_tasks::measures::{ByPosition, OverTime, Remembrance, log_spaced};
use serde_json::Value;

/// A figure and what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// For a file.
    pub name: String,
    /// The drawing.
    pub figure: Figure,
    /// Below it.
    pub caption: String,
}

/// Points of one run, and the interval of each.
struct Curve {
    points: Vec<[f64; 2]>,
    interval: Option<Vec<[f64; 2]>>,
}

/// All figures of a family.
pub fn figures(family: &Family) -> Vec<Shown> {
    let mut all = Vec::new();
    for (suffix, arms) in groups(&family.arms) {
        let mut place = 0;
        let mut add = |name: &str, figure: Option<Lines>, what: &str, bands: &str| {
            place += 1;
            if let Some(mut lines) = figure {
                if !suffix.is_empty() {
                    lines.title = format!("{}: {suffix}", lines.title);
                }
                let shown = Shown {
                    name: slug(&[&family.name, name, &suffix]),
                    caption: format!("{what} {bands}"),
                    figure: Figure::Lines(lines),
                };
                all.push((place, shown));
            }
        };
        let title = |what: &str| format!("{what}, {}", family.name);
        let marks = train_length(family).map(|t| (t as f64, format!("training length, {t}")));
        let marks: Vec<(f64, String)> = marks.into_iter().collect();
        let lines = |what: &str, x: Axis, y: Axis, marks: &[(f64, String)], series| {
            let series: Vec<Series> = series;
            (!series.is_empty()).then(|| Lines {
                title: title(what),
                x,
                y,
                series,
                marks: marks.to_vec(),
            })
        };
        for file in files(family, |m| m == "perplexity") {
            let (series, bands) = series(&arms, |arm| {
                let found = results::<ByPosition>(arm, file).into_iter();
                let curve = |r: ByPosition| Curve {
                    points: points(&r.positions, r.loss.iter().map(|l| l.exp())),
                    interval: r
                        .interval
                        .map(|all| all.iter().map(|i| i.map(f64::exp)).collect()),
                };
                found.map(curve).collect()
            });
            let (x, y) = (
                Axis::log2("tokens read before the one predicted (right edge of its bucket)"),
                wide(&series, "perplexity", 6.0),
            );
            let figure = lines("Perplexity by position", x, y, &marks, series);
            let what = "Perplexity of each bucket of positions.";
            add(file, figure, what, &bands);
        }
        for file in files(family, |m| m == "states") {
            let (series, bands) = series(&arms, |arm| {
                let found = results::<OverTime>(arm, file).into_iter();
                let curve = |r: OverTime| Curve {
                    points: points(&r.times, r.std.iter().copied()),
                    interval: None,
                };
                found.map(curve).collect()
            });
            let y = wide(&series, "standard deviation", 8.0);
            let x = Axis::log2("tokens read");
            let figure = lines("Standard deviation of the full state", x, y, &marks, series);
            let what = "Over all elements of the states of all layers.";
            add(file, figure, what, &bands);
        }
        for file in files(family, |m| m == "remembrance") {
            let (series, bands) = series(&arms, |arm| {
                let found = results::<Remembrance>(arm, file).into_iter();
                let curve = |r: Remembrance| Curve {
                    points: points(&r.cuts, r.distance.iter().map(at_least)),
                    interval: r
                        .interval
                        .map(|all| all.iter().map(|i| i.each_ref().map(at_least)).collect()),
                };
                found.map(curve).collect()
            });
            let (x, y) = (
                Axis::linear("t: the tokens before it are forgotten"),
                Axis::log10("total variation"),
            );
            let figure = lines("Effective remembrance", x, y, &marks, series);
            let what = "Total variation between the predictions at the end from the whole text \
                        and from t on.";
            add(file, figure, what, &bands);
        }
        for file in files(family, |m| {
            !["perplexity", "states", "remembrance"].contains(&m)
        }) {
            let (series, bands) = series(&arms, |arm| {
                let found = results::<Value>(arm, file);
                let curve = |result: &Value| {
                    let means = by_length(&cells(result)).into_iter();
                    Curve {
                        points: means.map(|(length, mean)| [length as f64, mean]).collect(),
                        interval: None,
                    }
                };
                let curves = found.iter().map(curve);
                curves.filter(|c| !c.points.is_empty()).collect()
            });
            let (x, y) = (Axis::log2("length"), Axis::share("score"));
            let what = score_name(&arms, file);
            let figure = lines(&format!("{file}: {what}"), x, y, &marks, series);
            let what = "Mean over depths and tasks, at lengths at which each has a score.";
            add(file, figure, what, &bands);
        }
        let (series, bands) = series(&arms, |arm| {
            let ends = arm.runs.iter().filter_map(|run| run.losses.last());
            let last = ends.map(|&(step, _)| step).max().unwrap_or(0);
            let curves = arm.runs.iter().map(|run| Curve {
                points: smooth(&run.losses, last),
                interval: None,
            });
            curves.filter(|c| c.points.len() > 1).collect()
        });
        let (x, y) = (Axis::log2("step"), Axis::linear("nats per token"));
        let figure = lines("Training loss", x, y, &[], series);
        add("training", figure, "Averaged over spans of steps.", &bands);
        for (part, name, place) in [
            (0, "held-out", "within the training length"),
            (1, "held-out-past", "past the training length"),
        ] {
            let (series, bands) = self::series(&arms, |arm| {
                let curves = arm.runs.iter().map(|run| Curve {
                    points: run.held_out[part].clone(),
                    interval: None,
                });
                curves.filter(|c| c.points.len() > 1).collect()
            });
            let (x, y) = (Axis::log2("step"), Axis::linear("nats per token"));
            let figure = lines(&format!("Held-out loss {place}"), x, y, &[], series);
            add(name, figure, "Of held-out text during training.", &bands);
        }
    }
    // Those of one measure side by side; the sort is stable.
    all.sort_by_key(|(place, _): &(usize, Shown)| *place);
    let lines = all.into_iter().map(|(_, shown)| shown);
    lines.chain(heat_maps(family)).collect()
}

/// Arms by what follows the last comma of their names; those without one in every group.
fn groups(arms: &[Arm]) -> Vec<(String, Vec<&Arm>)> {
    let suffix = |arm: &Arm| arm.name.rsplit_once(", ").map(|(_, s)| s.to_string());
    let mut suffixes: Vec<String> = Vec::new();
    for suffix in arms.iter().filter_map(suffix) {
        if !suffixes.contains(&suffix) {
            suffixes.push(suffix);
        }
    }
    if suffixes.len() < 2 {
        return vec![(String::new(), arms.iter().collect())];
    }
    suffixes.sort_by_key(|suffix| {
        let number = suffix.split_whitespace().next();
        number.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    });
    let group = |wanted: &String| {
        let fits = |arm: &&Arm| suffix(arm).is_none_or(|s| s == *wanted);
        arms.iter().filter(fits).collect()
    };
    let all = suffixes.iter().map(|s| (s.clone(), group(s)));
    all.collect()
}

/// A curve for each arm that has any, and how their bands are made.
fn series(arms: &[&Arm], curves: impl Fn(&Arm) -> Vec<Curve>) -> (Vec<Series>, String) {
    let mut all: Vec<Series> = Vec::new();
    let mut counts = Vec::new();
    for arm in arms {
        let curves = curves(arm);
        let (points, band) = match &curves[..] {
            [] => continue,
            [one] => (one.points.clone(), one.interval.clone()),
            several => {
                let (points, band) = means(several);
                (points, Some(band))
            }
        };
        // What is not finite is in the tables, and has no place on an axis.
        let band = band.map(|band| {
            let pairs = band.into_iter().zip(&points);
            let pairs = pairs.filter(|(_, p)| p[1].is_finite());
            pairs.map(|(band, _)| band).collect()
        });
        let points: Vec<[f64; 2]> = points.into_iter().filter(|p| p[1].is_finite()).collect();
        if points.is_empty() {
            continue;
        }
        counts.push(curves.len());
        let used: Vec<usize> = all.iter().map(|s| s.colour).collect();
        all.push(Series {
            name: arm.name.clone(),
            colour: colour(&arm.name, &used),
            points,
            band,
        });
    }
    (all, bands(&counts))
}

/// The mean at each place where any of the curves is, over those that are there, and the lowest and the highest of them.
fn means(curves: &[Curve]) -> (Vec<[f64; 2]>, Vec<[f64; 2]>) {
    let mut all: Vec<[f64; 2]> = curves.iter().flat_map(|c| c.points.clone()).collect();
    all.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let places = all.chunk_by(|a, b| a[0] == b[0]);
    let mean = |there: &[[f64; 2]]| {
        let values = || there.iter().map(|p| p[1]);
        let mean = values().sum::<f64>() / there.len() as f64;
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        ([there[0][0], mean], [low, high])
    };
    places.map(mean).unzip()
}

/// The same intervention has the same colour in every figure.
fn colour(arm: &str, used: &[usize]) -> usize {
    let arm = arm.to_lowercase();
    let words: [(&str, usize); 9] = [
        ("base", 0),
        ("zero", 1),
        ("control", 1),
        ("passing", 2),
        ("fitted", 3),
        ("random", 4),
        ("tbptt", 5),
        ("tbtt", 5),
        ("truncated", 5),
    ];
    let known = words.iter().find(|(word, _)| arm.contains(word));
    let wanted = known.map(|&(_, colour)| colour);
    let free = |colour: &usize| !used.contains(colour);
    wanted
        .filter(|colour| free(colour))
        .or_else(|| (6..8).chain(0..6).find(free))
        .unwrap_or(used.len())
}

fn points(x: &[usize], y: impl Iterator<Item = f64>) -> Vec<[f64; 2]> {
    x.iter().zip(y).map(|(&x, y)| [x as f64, y]).collect()
}

/// What a logarithmic axis can show of a distance; what is no number stays none.
fn at_least(distance: &f64) -> f64 {
    match distance.is_nan() {
        true => f64::NAN,
        false => distance.max(1e-4),
    }
}

/// A logarithmic axis when values differ by more than `factor`.
fn wide(series: &[Series], label: &str, factor: f64) -> Axis {
    let values = || series.iter().flat_map(|s| s.points.iter().map(|p| p[1]));
    let high = values().filter(|v| v.is_finite()).fold(0.0, f64::max);
    let low = values().fold(f64::INFINITY, f64::min);
    match high > factor * low {
        true => Axis::log10(label),
        false => Axis::linear(label),
    }
}

/// Losses averaged over spans that grow with the step, up to the step `last`: runs that are averaged have the same.
fn smooth(losses: &[(u64, f64)], last: u64) -> Vec<[f64; 2]> {
    let edges = log_spaced(1, last as usize + 1, 60);
    let mut left = 0;
    let mut all = Vec::new();
    for edge in edges {
        let span = |&&(step, _): &&(u64, f64)| left <= step && step < edge as u64;
        let inside: Vec<f64> = losses.iter().filter(span).map(|&(_, loss)| loss).collect();
        if !inside.is_empty() {
            all.push([
                edge as f64,
                inside.iter().sum::<f64>() / inside.len() as f64,
            ]);
        }
        left = edge as u64;
    }
    all
}

/// How the bands of lines over so many runs each are made.
fn bands(counts: &[usize]) -> String {
    let one = "95 % intervals over sequences, where there are any";
    let most = counts.iter().copied().max().unwrap_or(0);
    if most < 2 {
        return format!("One run each; bands are {one}.");
    }
    let several = "bands go from the lowest to the highest of them";
    match counts.contains(&1) {
        true => format!("Means over up to {most} runs; {several}, those of one run are {one}."),
        false => format!("Means over up to {most} runs; {several}."),
    }
}

fn score_name(arms: &[&Arm], file: &str) -> String {
    let mut results = arms.iter().flat_map(|arm| results::<Value>(arm, file));
    let name = results.find_map(|result| {
        let grids = result["grids"].as_array().into_iter().flatten();
        let mut cells = grids.flat_map(|grid| grid["cells"].as_array().into_iter().flatten());
        // A cell that was not asked has no scores.
        cells.find_map(|cell| Some(cell["scores"][0]["name"].as_str()?.to_string()))
    });
    name.unwrap_or_else(|| "score".into())
}

/// A heat map for each arm whose task has depths, means over its runs.
fn heat_maps(family: &Family) -> Vec<Shown> {
    let mut all = Vec::new();
    for file in files(family, |m| {
        !["perplexity", "states", "remembrance"].contains(&m)
    }) {
        for arm in &family.arms {
            let found = results::<Value>(arm, file);
            let runs: Vec<Vec<Cell>> = found.iter().map(cells).collect();
            let mut depths: Vec<f64> = runs.iter().flatten().filter_map(|c| c.depth).collect();
            depths.sort_by(f64::total_cmp);
            depths.dedup();
            let mut lengths: Vec<usize> = runs.iter().flatten().map(|c| c.length).collect();
            lengths.sort_unstable();
            lengths.dedup();
            if depths.is_empty() {
                continue;
            }
            // The mean at a place, none where a score is not finite, and how many runs it is over.
            let cell = |depth: f64, length: usize| {
                let here = |c: &&Cell| c.length == length && c.depth == Some(depth);
                let scores = runs.iter().flatten().filter(here).map(|c| c.score);
                let scores: Vec<f64> = scores.collect();
                let mean = scores.iter().sum::<f64>() / scores.len() as f64;
                let there = runs.iter().filter(|run| run.iter().any(|c| here(&c)));
                mean.is_finite().then(|| (mean, there.count()))
            };
            let row = |&depth: &f64| lengths.iter().map(|&l| cell(depth, l)).collect();
            let rows: Vec<Vec<Option<(f64, usize)>>> = depths.iter().map(row).collect();
            let counts = || rows.iter().flatten().flatten().map(|&(_, count)| count);
            let (fewest, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
            let over = match fewest == most {
                true => most.to_string(),
                false => format!("{fewest} to {most}"),
            };
            let means = |row: &Vec<Option<(f64, usize)>>| {
                let means = row.iter().map(|cell| cell.map(|(mean, _)| mean));
                means.collect()
            };
            let map = HeatMap {
                title: format!("{file}, {}", arm.name),
                x: "length".into(),
                y: "depth".into(),
                columns: lengths.iter().map(|&l| short(l as f64)).collect(),
                rows: depths.iter().map(|depth| format!("{depth:.2}")).collect(),
                values: rows.iter().map(means).collect(),
            };
            all.push(Shown {
                name: slug(&[&family.name, file, &arm.name]),
                caption: format!(
                    "{} in percent, mean over {over} run(s); empty: not measured, or not finite.",
                    score_name(&[arm], file)
                ),
                figure: Figure::HeatMap(map),
            });
        }
    }
    all
}

/// Words joined by dashes.
fn slug(words: &[&str]) -> String {
    let all = words.join("-").to_lowercase();
    let parts = all.split(|c: char| !c.is_alphanumeric());
    parts
        .filter(|p| !p.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}
