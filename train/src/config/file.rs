//! Configurations in files: TOML and JSON, read in parts and written whole.

use super::{Said, presets};
use crate::Error;
use crate::files::{self, folder};
use crate::trainer::TrainConfig;
use serde_json::Value;
use std::path::Path;

pub(super) fn read(path: &Path) -> Result<Vec<Said>, Error> {
    let text = files::text(path)?;
    let is_toml = path.extension().is_some_and(|ending| ending == "toml");
    let read: Result<Value, String> = match is_toml {
        true => ::toml::from_str(&text).map_err(|e| e.to_string()),
        false => serde_json::from_str(&text).map_err(|e| e.to_string()),
    };
    let mut what = read.map_err(|why| {
        let form = if is_toml {
            "TOML"
        } else {
            "JSON (a file of TOML ends in .toml)"
        };
        Error::file(path, format!("no {form}: {}", why.trim_end()))
    })?;
    let mut all = Vec::new();
    if let Some(preset) = what
        .as_object_mut()
        .and_then(|table| table.remove("preset"))
    {
        let name = preset.as_str().unwrap_or_default();
        all.push(presets::said(name).map_err(|why| Error::file(path, why))?);
    }
    all.push(Said {
        by: path.display().to_string(),
        what,
        folder: folder(path).to_path_buf(),
    });
    Ok(all)
}

/// A configuration with every key, as a file of TOML.
pub fn toml(config: &TrainConfig) -> Result<String, Error> {
    let whole = super::whole(config);
    ::toml::to_string_pretty(&whole).map_err(|why| {
        Error::Config(format!(
            "the configuration cannot be written as TOML: {why}; --json writes it as JSON"
        ))
    })
}
