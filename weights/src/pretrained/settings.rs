//! A `config.json` by key, with the numbers that JSON has no words for.
//!
//! Python writes infinity as the bare word `Infinity`, which is no JSON, and transformers 5 as
//! `{"__float__": "Infinity"}`, which is. The first is rewritten to the second before parsing, so
//! that one form is left to understand.

use baton_config::Error;
use baton_data::files;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The key of a number in words.
const WORD: &str = "__float__";

/// A configuration, or an object within one.
pub(super) struct Settings {
    path: PathBuf,
    /// The keys that lead to the object, each with a dot.
    prefix: String,
    map: Map<String, Value>,
    /// Whether some number in it was a bare word.
    bare: bool,
}

impl Settings {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = files::text(path)?;
        let words = in_words(&text);
        let map = serde_json::from_str(&words)
            .map_err(|e| Error::file(path, format!("no configuration: {e}")))?;
        Ok(Settings {
            path: path.to_path_buf(),
            prefix: String::new(),
            map,
            bare: words != text,
        })
    }

    /// What stands in `map`, as read from `path`.
    pub fn of(map: Map<String, Value>, path: &Path) -> Self {
        Settings {
            path: path.to_path_buf(),
            prefix: String::new(),
            map,
            bare: false,
        }
    }

    /// Whether some number in it was a bare word, as Python writes infinity.
    pub fn bare(&self) -> bool {
        self.bare
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything, to look at.
    pub fn map(&self) -> &Map<String, Value> {
        &self.map
    }

    /// Everything.
    pub fn into_map(self) -> Map<String, Value> {
        self.map
    }

    /// Whether `key` is set to anything but null.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The value of `key`; null is absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// All keys that are set.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.map
            .keys()
            .map(String::as_str)
            .filter(|key| self.has(key))
    }

    /// The object under `key`, empty if absent.
    pub fn object(&self, key: &str) -> Result<Settings, Error> {
        let map = self.typed(key, "an object", |value| value.as_object().cloned())?;
        Ok(Settings {
            path: self.path.clone(),
            prefix: format!("{}{key}.", self.prefix),
            map: map.unwrap_or_default(),
            bare: self.bare,
        })
    }

    /// A whole number.
    pub fn size(&self, key: &str) -> Result<Option<usize>, Error> {
        self.typed(key, "a whole number from 0 on", whole)
    }

    /// A whole number, or absent for "auto".
    pub fn size_or_auto(&self, key: &str) -> Result<Option<usize>, Error> {
        match self.get(key) == Some(&"auto".into()) {
            true => Ok(None),
            false => self.typed(key, "a whole number or \"auto\"", whole),
        }
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, Error> {
        let finite = |value: &Value| number(value).filter(|x| x.is_finite());
        self.typed(key, "a number", finite)
    }

    /// True or false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.get(key) {
            Some(value) => value
                .as_str()
                .map(Some)
                .ok_or_else(|| self.wrong(key, value, "a text")),
            None => Ok(None),
        }
    }

    /// Two numbers.
    pub fn range(&self, key: &str) -> Result<Option<[f64; 2]>, Error> {
        self.typed(key, "two numbers", |value| {
            let all: Option<Vec<f64>> = value.as_array()?.iter().map(number).collect();
            all?.try_into().ok()
        })
    }

    /// A range whose bounds are absent where they bound nothing that is positive.
    pub fn limit(&self, key: &str) -> Result<[Option<f64>; 2], Error> {
        let [low, high] = self.range(key)?.unwrap_or([0.0, f64::INFINITY]);
        if low > high || high <= 0.0 || low == f64::INFINITY {
            let given = self.get(key).map(Value::to_string).unwrap_or_default();
            return Err(self.wrong(key, given, "a low and a high end, the second above zero"));
        }
        let unbounded = high >= f32::MAX as f64;
        Ok([(low > 0.0).then_some(low), (!unbounded).then_some(high)])
    }

    /// Refuses any value of `key` but those of `allowed`; absent is allowed.
    pub fn only(&self, key: &str, allowed: &[Value]) -> Result<(), Error> {
        match self.get(key) {
            Some(given) if !allowed.contains(given) => {
                let allowed: Vec<String> = match allowed {
                    [] => vec!["nothing".into()],
                    some => some.iter().map(Value::to_string).collect(),
                };
                Err(self.wrong(key, given, &allowed.join(" or ")))
            }
            _ => Ok(()),
        }
    }

    /// The error of a value that cannot be used.
    pub fn wrong(&self, key: &str, given: impl ToString, expected: &str) -> Error {
        let (prefix, given) = (&self.prefix, given.to_string());
        let what = format!("`{prefix}{key}` is {given}, expected {expected}");
        Error::file(&self.path, what)
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.get(key) {
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| self.wrong(key, value, expected)),
            None => Ok(None),
        }
    }
}

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}

/// A number, in digits or in a word; `NaN` is none.
fn number(value: &Value) -> Option<f64> {
    let number: f64 = match value.get(WORD) {
        Some(word) => word.as_str()?.parse().ok()?,
        None => value.as_f64()?,
    };
    (!number.is_nan()).then_some(number)
}

/// The text of a configuration, whose numbers in words are `bare` or objects.
pub(super) fn text(config: &Map<String, Value>, bare: bool) -> Result<String, Error> {
    let mut config = Value::Object(config.clone());
    if bare {
        mark(&mut config);
    }
    let text = serde_json::to_string_pretty(&config);
    let mut text = text.map_err(|e| Error::Config(format!("a configuration: {e}")))?;
    if bare {
        text = text.replace(r#""\u0001"#, "").replace(r#"\u0001""#, "");
    }
    Ok(format!("{text}\n"))
}

/// Puts texts between marks, which JSON escapes, in place of objects that hold a number's word.
fn mark(value: &mut Value) {
    if let Some(word) = value.get(WORD).and_then(Value::as_str) {
        *value = format!("\u{1}{word}\u{1}").into();
    }
    match value {
        Value::Array(all) => all.iter_mut().for_each(mark),
        Value::Object(all) => all.values_mut().for_each(mark),
        _ => {}
    }
}

/// A limit as transformers 5 writes it.
pub(super) fn limit([low, high]: [Option<f64>; 2]) -> Value {
    let unbounded = serde_json::json!({ WORD: "Infinity" });
    let high = high.map_or(unbounded, Value::from);
    Value::from(vec![Value::from(low.unwrap_or(0.0)), high])
}

/// The text with bare words for numbers replaced by objects that hold them.
fn in_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut inside) = (text, false);
    while let Some(c) = rest.chars().next() {
        let bare = ["-Infinity", "Infinity", "NaN"]
            .into_iter()
            .find(|word| !inside && rest.starts_with(word));
        if let Some(word) = bare {
            out.push_str(&format!("{{\"{WORD}\": \"{word}\"}}"));
            rest = &rest[word.len()..];
            continue;
        }
        let escaped = inside && c == '\\';
        inside ^= c == '"';
        let width = c.len_utf8() + if escaped { next_width(&rest[1..]) } else { 0 };
        out.push_str(&rest[..width]);
        rest = &rest[width..];
    }
    out
}

fn next_width(rest: &str) -> usize {
    rest.chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        let map = serde_json::from_str(&in_words(text)).unwrap();
        Settings::of(map, Path::new("config.json"))
    }

    #[test]
    fn infinity_is_read_in_both_forms_and_left_alone_in_texts() {
        for infinity in ["Infinity", r#"{"__float__": "Infinity"}"#] {
            let settings = settings(&format!(
                r#"{{"a\"": "Infinity \" Infinity", "limit": [0.0, {infinity}], "low": -Infinity}}"#
            ));
            let both = settings.range("limit").unwrap().unwrap();
            assert_eq!(both, [0.0, f64::INFINITY]);
            assert_eq!(settings.limit("limit").unwrap(), [None, None]);
            assert!(settings.number("low").is_err());
            assert_eq!(settings.text("a\"").unwrap(), Some("Infinity \" Infinity"));
        }
        assert_eq!(settings("{}").limit("limit").unwrap(), [None, None]);
        let narrow = settings(r#"{"limit": [0.001, 0.1]}"#)
            .limit("limit")
            .unwrap();
        assert_eq!(narrow, [Some(0.001), Some(0.1)]);
    }

    #[test]
    fn words_go_back_as_they_came_and_none_of_them_is_nan() {
        let given = r#"{"a": {"b": [0.0, -Infinity]}, "c": "Infinity", "d": NaN}"#;
        let read = settings(given);
        let bare = text(&read.map, true).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&in_words(&bare)).unwrap(),
            Value::Object(read.map.clone())
        );
        assert!(
            bare.contains("-Infinity\n") && bare.contains("\"d\": NaN"),
            "{bare}"
        );
        assert!(!text(&read.map, false).unwrap().contains(": NaN"));
        assert!(read.number("d").is_err());
        for limit in [
            "[0.0, NaN]",
            "[NaN, 1.0]",
            "[0.2, 0.1]",
            "[0.0, 0.0]",
            "[Infinity, Infinity]",
        ] {
            let error = settings(&format!("{{\"limit\": {limit}}}")).limit("limit");
            assert!(
                error.unwrap_err().to_string().contains("`limit` is ["),
                "{limit}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key() {
        let settings = settings(r#"{"inner": {"size": -1, "act": "gelu"}}"#)
            .object("inner")
            .unwrap();
        let error = settings.size("size").unwrap_err().to_string();
        assert_eq!(
            error,
            "config.json: `inner.size` is -1, expected a whole number from 0 on"
        );
        let error = settings
            .only("act", &["silu".into(), "swish".into()])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"config.json: `inner.act` is "gelu", expected "silu" or "swish""#
        );
    }
}
