//! Configurations in files: TOML and JSON, read in parts and written whole.

use super::keys::whole;
use crate::Error;
use crate::train::TrainConfig;
use baton_data::files;
use serde_json::Value;
use std::path::Path;

/// The preset that a file names, and what it says itself.
pub(super) fn read(path: &Path) -> Result<(Option<String>, Value), Error> {
    let text = files::text(path)?;
    let is_toml = path.extension().is_some_and(|ending| ending == "toml");
    let read: Result<Value, String> = match is_toml {
        true => ::toml::from_str(&text).map(json).map_err(|e| e.to_string()),
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
    let table = what.as_object_mut();
    let preset = table.and_then(|table| table.remove("preset"));
    let preset = preset.map(|name| name.as_str().unwrap_or_default().to_string());
    Ok((preset, what))
}

/// A value of TOML in JSON, which has no word for numbers that are not finite: these are refused as they were given.
fn json(value: ::toml::Value) -> Value {
    use ::toml::Value as Toml;
    match value {
        Toml::String(text) => text.into(),
        Toml::Integer(number) => number.into(),
        Toml::Float(number) if number.is_finite() => number.into(),
        Toml::Float(number) => number.to_string().into(),
        Toml::Boolean(flag) => flag.into(),
        Toml::Datetime(time) => time.to_string().into(),
        Toml::Array(all) => all.into_iter().map(json).collect(),
        Toml::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| (key, json(value)));
            Value::Object(entries.collect())
        }
    }
}

/// A configuration with every key, as a file of TOML.
pub fn toml(config: &TrainConfig) -> Result<String, Error> {
    ::toml::to_string_pretty(&whole(config)).map_err(|why| {
        Error::Config(format!(
            "the configuration cannot be written as TOML: {why}; --json writes it as JSON"
        ))
    })
}
