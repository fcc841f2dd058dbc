//! What of an experiment is small enough to keep beside the code: everything but the weights.

use super::jobs::Job;
use crate::Error;
use baton_data::files::write_whole;
use baton_tasks::measures::RUN;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Lines that are kept of a run's metrics, at most.
const LINES: usize = 200;

/// Copies `run.json`, the measurements (their results in six digits), and metrics thinned by averaging
/// the loss over equal spans, of every job that is done from `folder` to `target`. Returns how many
/// files were written.
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
                let mut value: Value =
                    serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, e))?;
                if let Some(result) = value.get_mut("result") {
                    round(result);
                }
                write_whole(&to.join(name), format!("{value}\n").as_bytes())?;
                written += 1;
            }
        }
        let metrics = from.join("metrics.jsonl");
        if metrics.exists() {
            let text = fs::read(&metrics).map_err(|e| Error::file(&metrics, e))?;
            write_whole(&to.join("metrics.jsonl"), thinned(&text).as_bytes())?;
            written += 1;
        }
    }
    Ok(written)
}

/// Six significant digits are more than any measure here is sure of.
fn round(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(round),
        Value::Object(all) => all.values_mut().for_each(round),
        Value::Number(number) if number.is_f64() => {
            let short = number.as_f64().map(|x| format!("{x:.5e}").parse::<f64>());
            if let Some(Ok(short)) = short {
                *value = short.into();
            }
        }
        _ => {}
    }
}

/// What is no line of a run's need be no text.
fn thinned(text: &[u8]) -> String {
    let lines = text.split(|&byte| byte == b'\n');
    let lines: Vec<Value> = lines.flat_map(serde_json::from_slice).collect();
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
    fn results_keep_six_digits_and_whole_numbers() {
        let mut value = serde_json::json!({"a": [1.23456789e-7, 123456789, "x", null]});
        round(&mut value);
        assert_eq!(
            value.to_string(),
            r#"{"a":[1.23457e-7,123456789,"x",null]}"#
        );
    }

    #[test]
    fn metrics_keep_their_mean() {
        let line = |i: usize| format!("{{\"step\":{i},\"loss\":{i}.5}}\n");
        let text: String = (0..400).map(line).collect();
        let torn = [text.as_bytes(), &b"{\"step\":400,\xff\n"[..]].concat();
        let thin = thinned(&torn);
        assert_eq!(thin.lines().count(), 200);
        let first: Value = serde_json::from_str(thin.lines().next().unwrap()).unwrap();
        assert_eq!((&first["step"], &first["loss"]), (&1.into(), &1.0.into()));
        assert_eq!(thinned(line(3).as_bytes()), "{\"loss\":3.5,\"step\":3}\n");
    }
}
