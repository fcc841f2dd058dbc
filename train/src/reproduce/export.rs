//! What of an experiment is small enough to keep beside the code: everything but the weights.

use super::jobs::{Job, RUN};
use crate::Error;
use crate::checkpoint::write_whole;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Lines that are kept of a run's metrics, at most.
const LINES: usize = 200;

/// Copies `run.json`, the measurements, and metrics thinned by averaging the loss over equal spans,
/// of every job that is done from `folder` to `target`. Returns how many files were written.
pub fn export(jobs: &[Job], folder: &Path, target: &Path) -> Result<usize, Error> {
    let mut written = 0;
    for job in jobs {
        let (from, to) = (folder.join(&job.folder), target.join(&job.folder));
        let names = job
            .evaluations
            .iter()
            .map(|(name, _)| format!("{name}.json"));
        for name in names.chain([RUN.to_string()]) {
            let path = from.join(&name);
            if path.exists() {
                let bytes = fs::read(&path).map_err(|e| Error::file(&path, e))?;
                write_whole(&to.join(name), &bytes)?;
                written += 1;
            }
        }
        let metrics = from.join("metrics.jsonl");
        if metrics.exists() {
            let text = fs::read_to_string(&metrics).map_err(|e| Error::file(&metrics, e))?;
            write_whole(&to.join("metrics.jsonl"), thinned(&text).as_bytes())?;
            written += 1;
        }
    }
    Ok(written)
}

fn thinned(text: &str) -> String {
    let lines: Vec<Value> = text.lines().flat_map(serde_json::from_str).collect();
    let span = lines.len().div_ceil(LINES).max(1);
    let one = |span: &[Value]| {
        let losses = span.iter().filter_map(|line| line["loss"].as_f64());
        let (sum, count) = losses.fold((0.0, 0), |(sum, count), loss| (sum + loss, count + 1));
        let mut last = span[span.len() - 1].clone();
        if count > 0 {
            last["loss"] = (sum / f64::from(count)).into();
        }
        format!("{last}\n")
    };
    lines.chunks(span).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_keep_their_mean() {
        let line = |i: usize| format!("{{\"step\":{i},\"loss\":{i}.5}}\n");
        let text: String = (0..400).map(line).collect();
        let thin = thinned(&text);
        assert_eq!(thin.lines().count(), 200);
        let first: Value = serde_json::from_str(thin.lines().next().unwrap()).unwrap();
        assert_eq!((&first["step"], &first["loss"]), (&1.into(), &1.0.into()));
        assert_eq!(thinned(&line(3)), "{\"loss\":3.5,\"step\":3}\n");
    }
}
