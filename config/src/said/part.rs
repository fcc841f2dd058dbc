//! What one preset, file or option says.

use super::{file, presets};
use crate::Error;
use baton_data::files::folder;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Part of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Who says it, for messages.
    pub(super) by: String,
    /// Keys and values.
    pub(super) what: Value,
    /// Where paths in them are from.
    pub(super) folder: PathBuf,
}

impl Said {
    /// The value of one key, as `schedule.peak`.
    pub fn key(by: &str, path: &str, value: Value) -> Self {
        let nested = |inner: Value, name: &str| json!({ name: inner });
        Said::part(by, path.rsplit('.').fold(value, nested))
    }

    /// Keys and values, as a file has them.
    pub fn part(by: &str, what: Value) -> Self {
        Said {
            by: by.into(),
            what,
            folder: ".".into(),
        }
    }

    /// `KEY=VALUE`, the value as JSON has it or a word.
    pub fn setting(by: &str, text: &str) -> Result<Self, Error> {
        let Some((path, value)) = text.split_once('=') else {
            return Err(Error::Config(format!(
                "{by} {text} given, expected KEY=VALUE as schedule.floor=0.01"
            )));
        };
        let (path, value) = (path.trim(), value.trim());
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        Ok(Said::key(&format!("{by} {path}"), path, value))
    }

    /// The preset of this name.
    pub fn preset(name: &str) -> Result<Self, Error> {
        Ok(Said::part(
            &format!("the preset {name}"),
            presets::said(name)?,
        ))
    }

    /// What a file says, TOML or JSON by its ending; a preset that it names comes first.
    pub fn file(path: &Path) -> Result<Vec<Self>, Error> {
        let (preset, what) = file::read(path)?;
        let own = Said {
            by: path.display().to_string(),
            what,
            folder: folder(path).to_path_buf(),
        };
        let preset = preset.map(|name| Said::preset(&name));
        let preset = preset.transpose().map_err(|why| Error::file(path, why))?;
        Ok(preset.into_iter().chain([own]).collect())
    }
}
