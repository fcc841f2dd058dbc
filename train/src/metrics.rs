//! Metrics of a run, one JSON object a line. A resumed run continues the file where its checkpoint
//! stands: lines of steps that are done again are dropped, so every step has one line.

use crate::Error;
use crate::files::write_whole;
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// An open metrics file.
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file for a run that stands at `step`.
    pub fn open(path: &Path, step: u64) -> Result<Self, Error> {
        let fail = |e| Error::file(path, e);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        let mut kept = Vec::new();
        if step > 0 && path.exists() {
            for line in BufReader::new(File::open(path).map_err(fail)?).lines() {
                let line = line.map_err(fail)?;
                let value: Option<serde_json::Value> = serde_json::from_str(&line).ok();
                let at = value.as_ref().and_then(|value| value["step"].as_u64());
                if at.is_some_and(|at| at < step) {
                    kept.extend_from_slice(line.as_bytes());
                    kept.push(b'\n');
                }
            }
        }
        write_whole(path, &kept)?;
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        Ok(Metrics {
            path: path.to_path_buf(),
            file,
        })
    }

    /// Waits until what was written is on the disk: a checkpoint is never ahead of its metrics.
    pub fn sync(&self) -> Result<(), Error> {
        let synced = self.file.sync_data();
        synced.map_err(|e| Error::file(&self.path, e))
    }

    /// Appends one line.
    pub fn write(&mut self, record: &impl Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(record).map_err(|e| Error::file(&self.path, e))?;
        line.push(b'\n');
        let written = self.file.write_all(&line);
        written.map_err(|e| Error::file(&self.path, e))
    }
}
