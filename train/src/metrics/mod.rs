//! Metrics of a run, one JSON object a line, and the same numbers as a table on request. A resumed run continues the file
//! where its checkpoint stands: lines of steps that are done again are dropped, so every step has one line.

use crate::Error;
use crate::trainer::StepReport;
use baton_data::files::write_whole;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

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
}

/// A file that grows by lines.
struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// A file that begins with `kept`.
    fn begin(path: PathBuf, kept: &[u8]) -> Result<Self, Error> {
        write_whole(&path, kept)?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|e| Error::file(&path, e))?;
        Ok(Lines { path, file })
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(line);
        written.map_err(|e| Error::file(&self.path, e))
    }

    fn sync(&self) -> Result<(), Error> {
        let synced = self.file.sync_data();
        synced.map_err(|e| Error::file(&self.path, e))
    }
}

impl Metrics {
    /// Opens `metrics.jsonl` in `folder` for a run that stands at `step`, and `metrics.csv` if a table is wanted.
    pub fn open(folder: &Path, step: u64, table: bool) -> Result<Self, Error> {
        let path = folder.join("metrics.jsonl");
        let fail = |e| Error::file(&path, e);
        fs::create_dir_all(folder).map_err(fail)?;
        let names = COLUMNS.map(|(name, _)| name);
        let (mut kept, mut rows) = (Vec::new(), format!("{}\n", names.join(",")));
        if step > 0 && path.exists() {
            for line in BufReader::new(File::open(&path).map_err(fail)?).lines() {
                let line = line.map_err(fail)?;
                let value: Option<Value> = serde_json::from_str(&line).ok();
                if let Some(value) =
                    value.filter(|value| value["step"].as_u64().is_some_and(|at| at < step))
                {
                    kept.extend_from_slice(line.as_bytes());
                    kept.push(b'\n');
                    rows.push_str(&row(&value));
                }
            }
        }
        let table = table.then(|| Lines::begin(folder.join("metrics.csv"), rows.as_bytes()));
        Ok(Metrics {
            lines: Lines::begin(path, &kept)?,
            table: table.transpose()?,
        })
    }

    /// Waits until what was written is on the disk: a checkpoint is never ahead of its metrics.
    pub fn sync(&self) -> Result<(), Error> {
        self.lines.sync()?;
        self.table.as_ref().map_or(Ok(()), Lines::sync)
    }

    /// Appends one line.
    pub fn write(&mut self, report: &StepReport) -> Result<(), Error> {
        let mut line = serde_json::to_vec(report).map_err(|e| Error::file(&self.lines.path, e))?;
        line.push(b'\n');
        self.lines.write(&line)?;
        if let Some(table) = &mut self.table {
            let value = serde_json::from_slice(&line);
            let value: Value = value.map_err(|e| Error::file(&table.path, e))?;
            table.write(row(&value).as_bytes())?;
        }
        Ok(())
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
