//! The file without a name that a store grows into, and what the files of stores have in common.

use super::block::Block;
use crate::Error;
use memmap2::MmapOptions;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn wrong(path: &Path, reason: impl ToString) -> Error {
    Error::File {
        path: path.to_path_buf(),
        reason: reason.to_string(),
    }
}

/// A file that is removed when this is dropped, if it is still there.
pub(super) struct Part(pub PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A name that no other file of this machine's programs has.
pub(super) fn unused() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".baton-chunks-{}-{number}", std::process::id())
}

/// The file without a name that blocks beyond the bound go to.
#[derive(Debug)]
pub struct Spill {
    file: File,
    folder: PathBuf,
    end: u64,
}

impl Spill {
    /// One in `folder`, whose name is gone at once.
    pub fn new(folder: &Path) -> Result<Self, Error> {
        let made = |e| wrong(folder, format!("no file for chunks can be made there: {e}"));
        let part = Part(folder.join(unused()));
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true);
        let file = file.open(&part.0).map_err(made)?;
        Ok(Spill::over(file, folder))
    }

    pub(super) fn over(file: File, folder: &Path) -> Self {
        Spill {
            file,
            folder: folder.to_path_buf(),
            end: 0,
        }
    }

    /// Adds a block at the end and maps it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<Block, Error> {
        let (folder, end) = (&self.folder, self.end);
        let full = |e| {
            let free = "free some space there, or give another folder or a larger bound of memory";
            let what = format!("the chunks' file cannot grow from {end} bytes");
            wrong(folder, format!("{what}: {e}; {free}"))
        };
        let place = self.file.seek(SeekFrom::Start(end));
        place
            .and_then(|_| self.file.write_all(bytes))
            .map_err(full)?;
        let mut options = MmapOptions::new();
        options.offset(end).len(bytes.len());
        // SAFETY: the file has no name, and what is mapped is never written again.
        let map = unsafe { options.map(&self.file) }.map_err(full)?;
        self.end += bytes.len() as u64;
        Ok(Block::Mapped(Arc::new(map), 0, bytes.len()))
    }
}
