//! Where a checkpoint lies, and what it is that lies there where it is none.

use super::layout::CONFIG;
use crate::checkpoint::{CHECKPOINT, LOCK};
use crate::head;
use baton_config::Error;
use baton_data::files::{self, folder};
use std::path::{Path, PathBuf};

/// Where a checkpoint lies.
pub(super) enum At {
    /// In a folder with this configuration.
    Folder(PathBuf),
    /// In this file of the trainer's.
    Run(PathBuf),
}

/// What lies at `path`; what can be no checkpoint says what it is.
pub(super) fn place(path: &Path) -> Result<At, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder(path);
    if path.is_file() {
        let ends = [".safetensors", ".bin", ".pt", ".pth", ".json"];
        let published = name != CHECKPOINT && ends.iter().any(|end| name.ends_with(end));
        return match published && !head::is(path) {
            true => Err(Error::file(
                path,
                format!(
                    "it is a file of a published checkpoint, expected its folder, which holds {CONFIG} and \
                     the weights: {}",
                    beside.display()
                ),
            )),
            false => Ok(At::Run(path.to_path_buf())),
        };
    }
    let (config, run) = (path.join(CONFIG), path.join(CHECKPOINT));
    if config.symlink_metadata().is_ok() {
        return Ok(At::Folder(config));
    }
    if run.is_file() {
        return Ok(At::Run(run));
    }
    let begun = |folder: &Path| folder.join(LOCK).is_file();
    let what = match path.is_dir() {
        true if begun(path) => NONE_YET.into(),
        true => {
            format!("neither {CONFIG} nor {CHECKPOINT} is in this folder, expected one of them")
        }
        false if name == CHECKPOINT && begun(beside) => NONE_YET.into(),
        false if path.symlink_metadata().is_err() => "no such file or folder".into(),
        false => {
            files::open(path)?;
            "expected a file or a folder".into()
        }
    };
    Err(Error::file(path, what))
}

/// What a run says that was begun and has written nothing.
const NONE_YET: &str = "the run in this folder has no checkpoint yet, expected one: it is written every \
                        --checkpoint-every steps, and at the end or when the run is stopped";
