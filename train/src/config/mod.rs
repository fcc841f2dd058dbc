//! Configurations as people say them: part by part, each laid over the one before.
//!
//! A [`Said`] is what one preset, file or option says; [`lay`] lays them over a beginning, in order, and finds all that
//! is wrong with them before it makes a [`TrainConfig`]. The keys are those of a stored configuration
//! ([`keys`]), so what is written whole ([`whole`], [`toml`]) is read again and is the same run. A block of another type
//! begins as its own defaults, with what its authors put around it; what earlier parts said of the block before is
//! not said of it.

mod block;
mod check;
mod file;
pub mod keys;
mod presets;
#[cfg(test)]
mod tests;

pub use file::toml;
pub use presets::{PRESETS, Preset};

use crate::Error;
use crate::models::ModelConfig;
use crate::small;
use crate::trainer::TrainConfig;
use check::Wrong;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Part of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Who says it, for messages.
    by: String,
    /// Keys and values.
    what: Value,
    /// Where paths in them are from.
    folder: PathBuf,
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
        presets::said(name)
    }

    /// What a file says, TOML or JSON by its ending; a preset that it names comes first.
    pub fn file(path: &Path) -> Result<Vec<Self>, Error> {
        file::read(path)
    }
}

/// What parts are laid over.
pub enum Beginning {
    /// The demonstration's configuration.
    Fresh,
    /// That of a run which goes on from another one's weights: their model stays, and the warm-up is a tenth of the
    /// steps where nobody says it.
    After(TrainConfig),
    /// A run's own, whose model stays.
    Same(TrainConfig),
}

/// A configuration, and what of it was said.
#[derive(Debug)]
pub struct Laid {
    /// The whole.
    pub config: TrainConfig,
    said: Value,
}

impl Laid {
    /// Whether some part said this key.
    pub fn says(&self, path: &str) -> bool {
        said(&self.said, path)
    }
}

fn said(all: &Value, path: &str) -> bool {
    let found = path.split('.').try_fold(all, |value, name| value.get(name));
    found.is_some()
}

/// Lays `parts` over `beginning`; refuses with all that is wrong with them.
pub fn lay(beginning: &Beginning, parts: Vec<Said>) -> Result<Laid, Error> {
    let mut wrong = Wrong::default();
    let base = match beginning {
        Beginning::Fresh => small::base_config(1, 1000),
        Beginning::After(config) | Beginning::Same(config) => config.clone(),
    };
    let value = |config: &TrainConfig| serde_json::to_value(config);
    let unreadable = |e: serde_json::Error| Error::Config(e.to_string());
    let mut all = value(&base).map_err(unreadable)?;
    let mut says = json!({});
    for part in parts {
        let Said {
            by,
            mut what,
            folder,
        } = part;
        if let Err(why) = in_full(&mut what, &folder) {
            wrong.note(&by, "model.block", why);
            if let Some(model) = what["model"].as_object_mut() {
                model.remove("block");
            }
        }
        let kind = kind(&all);
        check::part(&by, &mut what, &kind, &mut wrong);
        if let Some(block) = what.pointer("/model/block")
            && block.get("type").is_some()
            && !block::are_alike(block, &all["model"]["block"])
        {
            anew(&mut all, block).map_err(unreadable)?;
        }
        if let Some(kind) = what.pointer_mut("/model/block/type")
            && small::HYBRID.contains(&kind.as_str().unwrap_or_default())
        {
            *kind = json!("hybrid");
        }
        merge(&mut all, &what);
        merge(&mut says, &what);
    }
    if !said(&says, "schedule.warmup") {
        let steps = all["schedule"]["steps"].as_u64().unwrap_or(0);
        let warmup = match beginning {
            Beginning::Fresh => Some(small::warmup(steps)),
            Beginning::After(_) => Some(steps / 10),
            Beginning::Same(_) => None,
        };
        if let Some(warmup) = warmup {
            all["schedule"]["warmup"] = json!(warmup);
        }
    }
    let model = serde_json::from_value::<ModelConfig>(all["model"].take());
    let model = model.unwrap_or_else(|why| {
        if !wrong.about("model") {
            wrong.note("", "model", why);
        }
        base.model.clone()
    });
    all["model"] = json!(model);
    let config = serde_json::from_value::<TrainConfig>(all);
    let config = config.unwrap_or_else(|why| {
        wrong.note("", "", why);
        base.clone()
    });
    if !matches!(beginning, Beginning::Fresh) && !wrong.about("model") {
        let [stored, now] = [&base.model, &config.model].map(|model| json!({ "model": model }));
        for Difference { path, was, is } in differences(&stored, &now) {
            let what =
                format!("`{path}` given as {is}, expected {was}: the weights are of that model");
            wrong.note("", "model", what);
        }
    }
    for (part, problem) in config.problems() {
        if !wrong.about(part) {
            wrong.note("", part, problem);
        }
    }
    match &wrong.all[..] {
        [] => Ok(Laid { config, said: says }),
        [one] => Err(Error::Config(one.clone())),
        many => Err(Error::Config(format!(
            "{} things are wrong with the configuration:\n  {}",
            many.len(),
            many.join("\n  ")
        ))),
    }
}

/// Brings the block of what was said to its stored form; paths of texts are from `folder` on.
pub(crate) fn in_full(what: &mut Value, folder: &Path) -> Result<(), Error> {
    let block = what.pointer_mut("/model/block");
    block.map_or(Ok(()), |block| block::in_full(block, folder))
}

/// The type of the block.
fn kind(all: &Value) -> String {
    let kind = all["model"]["block"]["type"].as_str();
    kind.unwrap_or_default().to_string()
}

/// Begins the model of `all` anew around a block of another kind.
fn anew(all: &mut Value, block: &Value) -> Result<(), serde_json::Error> {
    let mut config = small::base_config(1, 1);
    for (size, key) in [
        (&mut config.model.hidden_size, "hidden_size"),
        (&mut config.model.num_hidden_layers, "num_hidden_layers"),
        (&mut config.model.vocab_size, "vocab_size"),
    ] {
        *size = all["model"][key].as_u64().map_or(*size, |n| n as usize);
    }
    let name = block["type"].as_str().unwrap_or_default();
    all["model"] = serde_json::to_value(small::with(config, name).model)?;
    if !small::PUBLISHED.contains(&name) && !small::HYBRID.contains(&name) {
        all["model"]["block"] = json!({ "type": name });
    }
    Ok(())
}

/// Tables are merged key by key, all else replaced; so is where sequences begin.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match key.as_str() {
                    "initial_state" => drop(into.insert(key.clone(), value.clone())),
                    _ => merge(into.entry(key.clone()).or_insert(Value::Null), value),
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// A configuration with every key, also those that a stored one leaves out.
pub fn whole(config: &TrainConfig) -> Value {
    let mut value = json!(config);
    keys::complete(&mut value);
    value
}

/// One place where two configurations differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Its key, whole.
    pub path: String,
    /// Its value in the first; null where there is none.
    pub was: Value,
    /// And in the second.
    pub is: Value,
}

/// All places where two configurations differ.
pub fn differences(a: &Value, b: &Value) -> Vec<Difference> {
    fn walk(path: &str, a: &Value, b: &Value, all: &mut Vec<Difference>) {
        if let (Some(x), Some(y)) = (a.as_object(), b.as_object()) {
            let keys = x.keys().chain(y.keys().filter(|k| !x.contains_key(*k)));
            for key in keys {
                let path = format!("{path}.{key}");
                walk(path.trim_start_matches('.'), &a[key], &b[key], all);
            }
        } else if a != b {
            all.push(Difference {
                path: path.into(),
                was: a.clone(),
                is: b.clone(),
            });
        }
    }
    let mut all = Vec::new();
    walk("", a, b, &mut all);
    all
}
