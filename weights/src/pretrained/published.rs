//! What a published checkpoint has beside its weights, and this program does not decide: keys of its
//! configuration, and files for other programs.
//!
//! It goes wherever the weights go. A run that begins from such a checkpoint, and a folder of Baton's own
//! layout made of one, hold it below `published/`, so that what goes back into the layout it came from has every
//! key and file that came. Weights are left behind in every form: those of another program would be
//! other weights once training is done.

use super::described::described;
use super::layout::{CONFIG, Layout};
use super::settings::{self, Settings};
use crate::checkpoint::LOCK;
use baton_config::Error;
use baton_data::files::{self, write_whole};
use baton_data::tokenizer;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder that holds it where the layout is another.
const FOLDER: &str = "published";
/// How the names of files that hold weights end.
const WEIGHTS: [&str; 10] = [
    ".safetensors",
    ".index.json",
    ".h5",
    ".msgpack",
    ".gguf",
    ".ggml",
    ".onnx",
    ".pth",
    ".pt",
    ".ot",
];

/// The configuration and the files of a checkpoint that was published.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// Its layout, one of those that others write.
    pub layout: Layout,
    /// Its configuration as it came.
    pub config: Map<String, Value>,
    /// Whether numbers without digits were bare words in it, as Python writes them.
    pub bare: bool,
    /// Its folder.
    folder: PathBuf,
    /// The files below it that hold neither configuration, weights nor the vocabulary.
    files: Vec<PathBuf>,
}

impl Published {
    /// Of the configuration `settings` and what lies beside it in `folder`.
    pub fn new(layout: Layout, settings: Settings, folder: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        list(folder, Path::new(""), &mut files)?;
        files.sort();
        Ok(Published {
            layout,
            bare: settings.bare(),
            config: settings.into_map(),
            folder: folder.to_path_buf(),
            files,
        })
    }

    /// What `folder`, a run's or one of Baton's own layout, holds of the checkpoint that it is from.
    pub fn kept(folder: &Path) -> Result<Option<Self>, Error> {
        let folder = folder.join(FOLDER);
        let config = folder.join(CONFIG);
        if !config.is_file() {
            return Ok(None);
        }
        let settings = Settings::read(&config)?;
        let (layout, ..) = described(&settings)?;
        Published::new(layout, settings, &folder).map(Some)
    }

    /// Holds it below `folder`, unless something is there.
    pub fn keep(&self, folder: &Path) -> Result<(), Error> {
        let folder = folder.join(FOLDER);
        let config = folder.join(CONFIG);
        if config.is_file() {
            return Ok(());
        }
        self.copy(&folder)?;
        // The configuration last: it says that the rest is there.
        let text = settings::text(&self.config, self.bare)?;
        Ok(write_whole(&config, text.as_bytes())?)
    }

    /// Copies the files into `folder`.
    pub fn copy(&self, folder: &Path) -> Result<(), Error> {
        self.files.iter().try_for_each(|file| {
            let bytes = files::read(&self.folder.join(file))?;
            Ok(write_whole(&folder.join(file), &bytes)?)
        })
    }
}

/// The files below `folder`, as paths from there. Hidden folders hold nothing of the checkpoint, and one that is a
/// checkpoint or a run itself is another.
fn list(folder: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let here = folder.join(below);
    for entry in fs::read_dir(&here).map_err(|e| Error::file(&here, e))? {
        let name = entry.map_err(|e| Error::file(&here, e))?.file_name();
        let (path, said) = (below.join(&name), name.to_string_lossy());
        let whole = folder.join(&path);
        if whole.is_dir() {
            let other =
                whole.is_symlink() || [CONFIG, LOCK].iter().any(|file| whole.join(file).is_file());
            if !other && !said.starts_with('.') {
                list(folder, &path, found)?;
            }
            continue;
        }
        let weights =
            said.starts_with("pytorch_model") || WEIGHTS.iter().any(|end| said.ends_with(end));
        let read = below == Path::new("") && [CONFIG, tokenizer::FILE].contains(&said.as_ref());
        if !weights && !read {
            found.push(path);
        }
    }
    Ok(())
}
