//! Metrics of a run, one JSON object a line, and the same numbers as a table and as events of TensorBoard on request. A
//! resumed run continues the files where its checkpoint stands: what they have of steps that are done again is dropped,
//! so every step is there once.

mod events;
mod lines;

use crate::Error;
use crate::trainer::{Beside, StepReport};
use events::Events;
use lines::Lines;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The columns of the table, each a place in a line of JSON.
const COLUMNS: [(&str, &str); 9] = [
    ("step", "/step"),
    ("loss", "/loss"),
    ("rate", "/rate"),
    ("norm", "/norm"),
    ("tokens", "/tokens"),
    ("seconds", "/seconds"),
    ("skipped", "/skipped"),
    ("held_out_within", "/held_out/within"),
    ("held_out_past", "/held_out/past"),
];

/// Open metrics files.
pub struct Metrics {
    lines: Lines,
    table: Option<Lines>,
    events: Option<Events>,
}

impl Metrics {
    /// Opens `metrics.jsonl` in `folder` for a run that stands at `step`, and what is wanted beside it.
    pub fn open(folder: &Path, step: u64, beside: Beside) -> Result<Self, Error> {
        let path = folder.join("metrics.jsonl");
        let fail = |e| Error::file(&path, e);
        fs::create_dir_all(folder).map_err(fail)?;
        let names = COLUMNS.map(|(name, _)| name);
        let (mut kept, mut values) = (Vec::new(), Vec::new());
        if step > 0 && path.exists() {
            let all = fs::read(&path).map_err(fail)?;
            // What a kill or a damaged disk left is no line, and need be no text.
            for line in all.split(|&byte| byte == b'\n') {
                let value: Option<Value> = serde_json::from_slice(line).ok();
                if let Some(value) =
                    value.filter(|value| value["step"].as_u64().is_some_and(|at| at < step))
                {
                    kept.extend_from_slice(line);
                    kept.push(b'\n');
                    values.push(value);
                }
            }
        }
        let table = beside.csv.then(|| {
            let rows: String = values.iter().map(row).collect();
            let rows = format!("{}\n{rows}", names.join(","));
            Lines::begin(folder.join("metrics.csv"), rows.as_bytes())
        });
        let events = beside.tensorboard.then(|| Events::open(folder, &values));
        Ok(Metrics {
            lines: Lines::begin(path, &kept)?,
            table: table.transpose()?,
            events: events.transpose()?,
        })
    }

    /// Waits until what was written is on the disk: a checkpoint is never ahead of its metrics.
    pub fn sync(&self) -> Result<(), Error> {
        self.lines.sync()?;
        self.table.as_ref().map_or(Ok(()), Lines::sync)?;
        self.events.as_ref().map_or(Ok(()), Events::sync)
    }

    /// Appends one line.
    pub fn write(&mut self, report: &StepReport) -> Result<(), Error> {
        let mut line = serde_json::to_vec(report).map_err(|e| Error::file(self.lines.path(), e))?;
        line.push(b'\n');
        self.lines.write(&line)?;
        if self.table.is_none() && self.events.is_none() {
            return Ok(());
        }
        let value = serde_json::from_slice(&line);
        let value: Value = value.map_err(|e| Error::file(self.lines.path(), e))?;
        if let Some(table) = &mut self.table {
            table.write(row(&value).as_bytes())?;
        }
        match &mut self.events {
            Some(events) => events.write(&value),
            None => Ok(()),
        }
    }
}

/// A line of JSON as a row; what it does not say is empty.
fn row(value: &Value) -> String {
    let cells = COLUMNS.map(|(_, place)| match value.pointer(place) {
        None | Some(Value::Null) => String::new(),
        Some(value) => value.to_string(),
    });
    format!("{}\n", cells.join(","))
}
