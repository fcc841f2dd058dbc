//! A file that grows by lines.

use crate::Error;
use baton_data::files::write_whole;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that grows by lines.
pub(super) struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// A file that begins with `kept`.
    pub fn begin(path: PathBuf, kept: &[u8]) -> Result<Self, Error> {
        write_whole(&path, kept)?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|e| Error::file(&path, e))?;
        Ok(Lines { path, file })
    }

    /// The first `length` bytes of a file, or of a new one.
    pub fn cut(path: PathBuf, length: u64) -> Result<Self, Error> {
        let fail = |e| Error::file(&path, e);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(fail)?;
        file.set_len(length).map_err(fail)?;
        Ok(Lines { path, file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends what ends with a line's end.
    pub fn write(&mut self, line: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(line);
        written.map_err(|e| Error::file(&self.path, e))
    }

    /// Waits until all of it is on the disk.
    pub fn sync(&self) -> Result<(), Error> {
        let synced = self.file.sync_data();
        synced.map_err(|e| Error::file(&self.path, e))
    }
}
