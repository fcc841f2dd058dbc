//! A task said in one line, `name` or `name:key=value,..`.
//!
//! The line is what the command line takes and what a training configuration stores, so two runs
//! on different tasks are told apart by their configurations.

use super::babi::Babi;
use super::copying::{Copying, Ids};
use super::passkey::{Keys, Landmark, TokenPasskey};
use super::recall::Recall;
use super::ruler::{Ruler, TokenRuler};
use super::{Codec, Material, Task};
use baton_data::{Error, line, plain};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;

/// Where the loss of a training example lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// On the answers alone.
    #[default]
    Answer,
    /// On every token.
    All,
}

/// The settings of the Landmark passkey.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LandmarkPasskey {
    /// Which numbers are hidden.
    pub keys: Keys,
}

macro_rules! kinds {
    ($($name:literal $kind:ident($settings:ty): $what:literal,)*) => {
        /// Which task, and its settings.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Kind { $(#[doc = $what] #[serde(rename = $name)] $kind($settings),)* }

        /// Names and meanings of all tasks.
        pub const TASKS: &[(&str, &str)] = &[$(($name, $what),)*];

        fn kind(name: &str, settings: Value) -> Option<Result<Kind, Error>> {
            match name {
                $($name => Some(read::<$settings>(name, settings).map(Kind::$kind)),)*
                _ => None,
            }
        }

        fn said(kind: &Kind) -> (&'static str, Result<[Value; 2], serde_json::Error>) {
            match kind {
                $(Kind::$kind(settings) => ($name, both(settings)),)*
            }
        }
    };
}

kinds! {
    "copying" Copying(Copying): "`$string|string.`",
    "recall" Recall(Recall): "multi-query associative recall",
    "passkey" Passkey(LandmarkPasskey): "a number hidden in noise, as text",
    "token-passkey" TokenPasskey(TokenPasskey): "a key of random ids hidden in noise",
    "babi" Babi(Babi): "bAbI in a haystack",
    "ruler" Ruler(Ruler): "RULER's synthetic tasks, as text",
    "token-ruler" TokenRuler(TokenRuler): "RULER's tasks as token ids",
}

/// The most that a number of a setting may be: tokens of a vocabulary, of a key, of a string. Sums of a
/// few of them fit every integer.
const MOST: u64 = 1 << 24;

/// A task to train on or to evaluate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskConfig {
    /// Which task.
    pub task: Kind,
    /// Where the loss lies in training.
    #[serde(default)]
    pub loss: Loss,
}

impl TaskConfig {
    /// Which task, as a line begins.
    pub fn name(&self) -> &'static str {
        said(&self.task).0
    }

    /// The task on `material`.
    pub fn build(&self, material: &Material) -> Result<Box<dyn Task>, Error> {
        self.check()?;
        Ok(match self.task.clone() {
            Kind::Copying(task) => {
                task.check()?;
                Box::new(task)
            }
            Kind::Recall(task) => {
                task.check()?;
                Box::new(task)
            }
            Kind::Passkey(settings) => {
                Box::new(Landmark::new(settings.keys, material.codec.clone()))
            }
            Kind::TokenPasskey(settings) => Box::new(settings.build(material)?),
            Kind::Babi(settings) => Box::new(settings.build(material)?),
            Kind::Ruler(settings) => Box::new(settings.build(material)?),
            Kind::TokenRuler(settings) => Box::new(settings.build(material)?),
        })
    }

    /// Refuses numbers that no memory holds.
    fn check(&self) -> Result<(), Error> {
        let (name, settings) = said(&self.task);
        let [own, _] = settings.map_err(|why| Error::Config(format!("task `{name}`: {why}")))?;
        let settings = own.as_object().into_iter().flatten();
        for (key, value) in settings {
            if let Some(number) = value.as_u64().filter(|&number| number > MOST) {
                return Err(Error::Config(format!(
                    "task `{name}`: {key}={number} given, expected at most {MOST}"
                )));
            }
        }
        Ok(())
    }

    /// Tokens that a model of this task needs in its vocabulary, with `codec` for its text.
    pub fn vocabulary(&self, codec: &dyn Codec) -> usize {
        let own = match &self.task {
            Kind::Copying(task) if task.ids == Ids::Compact => return task.ids.vocabulary(),
            Kind::Recall(task) => return task.vocabulary,
            Kind::TokenPasskey(task) => task.vocabulary,
            Kind::TokenRuler(task) => task.vocabulary,
            _ => 0,
        };
        match own {
            0 => codec.vocabulary(),
            own => own,
        }
    }
}

impl FromStr for TaskConfig {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: String| Error::Config(format!("task `{text}`: {what}"));
        let (name, options) = line::read(text)
            .map_err(|part| wrong(format!("`{part}` given, expected `key=value`")))?;
        let mut map = Map::new();
        for (key, value) in options {
            let value = serde_json::from_str(&value).unwrap_or_else(|_| value.into());
            if map.insert(key.to_string(), value).is_some() {
                return Err(wrong(format!("`{key}` given twice")));
            }
        }
        let loss = match map.remove("loss") {
            None => Loss::Answer,
            Some(loss) => read("loss", loss)?,
        };
        let task = kind(name, Value::Object(map)).ok_or_else(|| {
            let known: Vec<&str> = TASKS.iter().map(|(name, _)| *name).collect();
            Error::Config(format!(
                "task `{name}` given, expected one of {}",
                known.join(", ")
            ))
        })??;
        Ok(TaskConfig { task, loss })
    }
}

impl fmt::Display for TaskConfig {
    /// The settings that differ from the defaults; with `#` all of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, settings) = said(&self.task);
        let [own, default] = settings.map_err(|_| fmt::Error)?;
        let own = own.as_object().cloned().unwrap_or_default();
        let mut parts: Vec<String> = own
            .iter()
            .filter(|(key, value)| f.alternate() || default.get(key) != Some(value))
            .map(|(key, value)| match value.as_str() {
                Some(text) => format!("{key}={text}"),
                None => format!("{key}={value}"),
            })
            .collect();
        if self.loss == Loss::All {
            parts.push("loss=all".into());
        }
        match parts.is_empty() {
            true => f.write_str(name),
            false => write!(f, "{name}:{}", parts.join(",")),
        }
    }
}

fn read<T: DeserializeOwned>(name: &str, settings: Value) -> Result<T, Error> {
    serde_json::from_value(settings)
        .map_err(|why| Error::Config(format!("task `{name}`: {}", plain::json(&why))))
}

/// Settings and their defaults.
fn both<T: Serialize + Default>(settings: &T) -> Result<[Value; 2], serde_json::Error> {
    Ok([
        serde_json::to_value(settings)?,
        serde_json::to_value(T::default())?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_said_again() {
        for line in [
            "copying",
            "copying:ids=bytes,max=30,loss=all",
            "recall:pairs=4,power=0.1,vocabulary=64",
            "passkey:keys=landmark",
            "token-passkey:key=3,markers=ids,vocabulary=32",
            "babi:qa=2",
            "ruler:task=vt",
            "token-ruler:task=fwe",
        ] {
            let config: TaskConfig = line.parse().unwrap();
            assert_eq!(config.to_string(), line);
            let stored = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<TaskConfig>(&stored).unwrap(), config);
        }
    }

    #[test]
    fn a_task_is_said_in_full() {
        let config: TaskConfig = "passkey".parse().unwrap();
        assert_eq!(format!("{config:#}"), "passkey:keys=five_digits");
        assert_eq!(config.name(), "passkey");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |line: &str| line.parse::<TaskConfig>().unwrap_err().to_string();
        assert!(error("sorting").contains("`sorting` given, expected one of copying, recall"));
        assert!(error("copying:mx=3").contains("unknown field `mx`"));
        assert!(error("copying:max").contains("`max` given, expected `key=value`"));
        assert!(error("copying:max=-1").contains("-1"));
        assert!(error("copying:max=5,max=6").contains("twice"));
        assert!(error("copying:loss=some").contains("unknown variant `some`"));
    }
}
