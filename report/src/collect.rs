//! Reading a folder of runs.

use baton_data::Error;
use baton_tasks::measures::{Label, Measurement, RUN};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders within folders that are looked into.
const DEPTH: usize = 6;

/// What a folder holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// The folder's name.
    pub name: String,
    /// What is compared within, in the order of their names.
    pub families: Vec<Family>,
}

/// Runs that are compared with each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// In the order that the plan has, else of their names.
    pub arms: Vec<Arm>,
}

/// Replicates of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// One for each seed.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Which replicate.
    pub seed: String,
    /// Steps and losses of its training.
    pub losses: Vec<(u64, f64)>,
    /// Steps done and losses on held-out text, within the training length and past it.
    pub held_out: [Vec<[f64; 2]>; 2],
    /// Its measurements by the names of their files.
    pub measurements: BTreeMap<String, Measurement<Weights>>,
}

/// What is shown of the checkpoint that was measured.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Weights {
    /// A fingerprint of the weights.
    pub weights: String,
    /// Number of weights.
    pub parameters: usize,
    /// Tokens in a training sequence, where it is known.
    pub train_length: Option<usize>,
    /// How far it was trained, where it is known.
    pub progress: Option<Trained>,
}

/// How far a run had come.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Trained {
    /// Tokens trained on.
    pub tokens: u64,
}

#[derive(Deserialize)]
struct Labelled {
    label: Label,
}

impl Experiment {
    /// Reads a folder; refuses one without a run.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let whole = folder.canonicalize().map_err(|e| Error::file(folder, e))?;
        if !whole.is_dir() {
            return Err(Error::file(
                folder,
                "a file given, expected the folder of a run, or one of runs",
            ));
        }
        let name = whole.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let mut found: Vec<(Label, Run)> = Vec::new();
        walk(&whole, &name, &mut Vec::new(), &mut found)?;
        if found.is_empty() {
            return Err(Error::file(
                folder,
                "no step in a metrics.jsonl and no measurement in it, expected a run or a folder of runs",
            ));
        }
        found.sort_by(|(a, _), (b, _)| {
            let key = |l: &Label| (l.family.clone(), l.order, l.arm.clone(), number(&l.seed));
            key(a).cmp(&key(b))
        });
        let mut families: Vec<Family> = Vec::new();
        for (label, run) in found {
            if families.last().is_none_or(|f| f.name != label.family) {
                families.push(Family {
                    name: label.family.clone(),
                    arms: Vec::new(),
                });
            }
            let arms = &mut families.last_mut().expect("one was pushed").arms;
            if arms.last().is_none_or(|arm| arm.name != label.arm) {
                arms.push(Arm {
                    name: label.arm.clone(),
                    runs: Vec::new(),
                });
            }
            arms.last_mut().expect("one was pushed").runs.push(run);
        }
        Ok(Experiment { name, families })
    }
}

/// Seeds sort as numbers.
fn number(seed: &str) -> (u64, String) {
    let digits = seed.split('.').next().and_then(|text| text.parse().ok());
    (digits.unwrap_or(0), seed.to_string())
}

fn walk(
    folder: &Path,
    name: &str,
    above: &mut Vec<String>,
    found: &mut Vec<(Label, Run)>,
) -> Result<(), Error> {
    let entries = fs::read_dir(folder).map_err(|e| Error::file(folder, e))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    let mut run = Run {
        seed: String::new(),
        losses: Vec::new(),
        held_out: Default::default(),
        measurements: BTreeMap::new(),
    };
    let mut label = None;
    for path in &paths {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() || file.starts_with('.') {
            continue;
        }
        if file == "metrics.jsonl" {
            training(path, &mut run)?;
        } else if file == RUN {
            label = read::<Labelled>(path)?.map(|labelled| labelled.label);
        } else if let Some(stem) = file.strip_suffix(".json")
            && let Some(measurement) = measurement(path)?
        {
            run.measurements.insert(stem.to_string(), measurement);
        }
    }
    if !run.losses.is_empty() || !run.measurements.is_empty() {
        let label = label.unwrap_or_else(|| derived(name, above));
        run.seed = label.seed.clone();
        found.push((label, run));
    }
    for path in paths.iter().filter(|path| path.is_dir()) {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if above.len() < DEPTH && !file.starts_with('.') {
            above.push(file.into_owned());
            walk(path, name, above, found)?;
            above.pop();
        }
    }
    Ok(())
}

/// The label of a run that has none: the folders above it, and its own name without a seed.
fn derived(name: &str, above: &[String]) -> Label {
    let (own, above) = above
        .split_last()
        .map_or((name, &[][..]), |(own, rest)| (own.as_str(), rest));
    let digits = own.len() - own.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (stem, seed) = own.split_at(own.len() - digits);
    let arm = ["-seed", "_seed", "seed", "-s", "_s"]
        .iter()
        .find_map(|mark| stem.strip_suffix(mark))
        .filter(|_| digits > 0);
    let family = match above.is_empty() {
        true => name.to_string(),
        false => above.join("/"),
    };
    match arm {
        Some("") => {
            // `arm/seed1`: the folder above is the arm.
            let (arm, above) = above
                .split_last()
                .map_or((name, &[][..]), |(arm, rest)| (arm.as_str(), rest));
            Label {
                family: if above.is_empty() {
                    name.into()
                } else {
                    above.join("/")
                },
                arm: arm.into(),
                seed: seed.into(),
                order: 0,
            }
        }
        Some(arm) => Label {
            family,
            arm: arm.into(),
            seed: seed.into(),
            order: 0,
        },
        None => Label {
            family,
            arm: own.into(),
            seed: "1".into(),
            order: 0,
        },
    }
}

/// A file that says what it measures; another file is none of ours.
fn measurement(path: &Path) -> Result<Option<Measurement<Weights>>, Error> {
    let text = fs::read(path).map_err(|e| Error::file(path, e))?;
    let Ok(value) = serde_json::from_slice::<Value>(&text) else {
        return Ok(None);
    };
    if value.get("measure").is_none() || value.get("result").is_none() {
        return Ok(None);
    }
    let measurement = serde_json::from_value(value);
    measurement
        .map(Some)
        .map_err(|e| Error::file(path, format!("no measurement: {e}")))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let text = fs::read(path).map_err(|e| Error::file(path, e))?;
    Ok(serde_json::from_slice(&text).ok())
}

fn training(path: &Path, run: &mut Run) -> Result<(), Error> {
    let bytes = fs::read(path).map_err(|e| Error::file(path, e))?;
    // What is no line of a run's need be no text.
    let lines = bytes.split(|&byte| byte == b'\n');
    for line in lines.flat_map(serde_json::from_slice::<Value>) {
        let Some(step) = line["step"].as_u64() else {
            continue;
        };
        run.losses
            .extend(line["loss"].as_f64().map(|loss| (step, loss)));
        for (points, part) in run.held_out.iter_mut().zip(["within", "past"]) {
            let loss = line["held_out"][part].as_f64();
            points.extend(loss.map(|loss| [(step + 1) as f64, loss]));
        }
    }
    Ok(())
}
