//! What somebody said, held against the keys that there are: all that is wrong with it, and the rest in one form.
//!
//! What is wrong is taken out, so that looking goes on behind it; `none` becomes the absence that it means, a
//! whole number with a point a whole number.

use super::keys::{ALL, Key, Kind, LAYERS, of_block, of_layer};
use super::options;
use crate::initial_state::InitialStateConfig;
use baton_ir::text::nearest;
use serde_json::{Value, json};

/// All that was found wrong, and where.
#[derive(Default)]
pub(super) struct Wrong {
    /// What to say.
    pub all: Vec<String>,
    /// The keys that it is about, whole.
    pub paths: Vec<String>,
}

impl Wrong {
    /// Notes that `by` says something wrong of `path`.
    pub fn note(&mut self, by: &str, path: &str, what: impl std::fmt::Display) {
        let by = if by.is_empty() {
            String::new()
        } else {
            format!("{by}: ")
        };
        self.all.push(format!("{by}{what}"));
        self.paths.push(path.into());
    }

    /// Whether something is wrong in `table` or above it.
    pub fn about(&self, table: &str) -> bool {
        let inside = |path: &String| path.is_empty() || path.split('.').next() == Some(table);
        self.paths.iter().any(inside)
    }
}

/// Looks at a whole part; the block's type is `block` where it says none.
pub(super) fn part(by: &str, what: &mut Value, block: &str, wrong: &mut Wrong) {
    let mut looks = Looks { by, block, wrong };
    looks.table(
        &Table {
            path: "",
            called: "a key",
            keys: ALL,
        },
        what,
    );
}

/// A table of keys: its own key, and what its keys are called.
struct Table<'a> {
    path: &'a str,
    called: &'a str,
    keys: &'static [Key],
}

impl Table<'_> {
    fn whole(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
            .trim_start_matches('.')
            .into()
    }
}

struct Looks<'a> {
    by: &'a str,
    block: &'a str,
    wrong: &'a mut Wrong,
}

impl Looks<'_> {
    fn table(&mut self, of: &Table<'_>, value: &mut Value) {
        let Some(table) = value.as_object_mut() else {
            let named = match of.path {
                "" => String::new(),
                path => format!("`{path}` given as "),
            };
            let what = format!("{named}{}, expected keys and their values", said(value));
            self.wrong.note(self.by, of.path, what);
            *value = json!({});
            return;
        };
        let names: Vec<String> = table.keys().cloned().collect();
        for name in names {
            let path = of.whole(&name);
            let Some(key) = of.keys.iter().find(|key| key.name == name) else {
                table.remove(&name);
                self.unknown(of, &name);
                continue;
            };
            let entry = &mut table[&name];
            match key.kind {
                Kind::Table(keys) => {
                    let called = format!("a key of `{path}`");
                    let (path, called) = (&path[..], &called[..]);
                    self.table(&Table { path, called, keys }, entry);
                }
                Kind::Block => self.of_block(&path, entry),
                kind => match take(kind, entry) {
                    Ok(()) if matches!(kind, Kind::Layers) => {
                        let layers = entry.as_array_mut().into_iter().flatten();
                        layers
                            .enumerate()
                            .for_each(|(i, layer)| self.of_layer(&format!("{path}[{i}]"), layer));
                    }
                    Ok(()) => {}
                    Err(expected) => {
                        let what =
                            format!("`{path}` given as {}, expected {expected}", said(entry));
                        self.wrong.note(self.by, &path, what);
                        table.remove(&name);
                    }
                },
            }
        }
    }

    fn of_block(&mut self, path: &str, value: &mut Value) {
        let kind = value.as_object_mut().and_then(|table| table.remove("type"));
        let name = kind.as_ref().and_then(Value::as_str).unwrap_or(self.block);
        let called = match name {
            "recurrence" => "a key of the block of a text".to_string(),
            name => format!("a key of the block {name}"),
        };
        let (called, keys) = (&called[..], of_block(name));
        // One option for groups, whatever the block's authors call them.
        let apart = self.by == "--groups" && keys.iter().any(|key| key.name == "n_groups");
        let given = value.as_object_mut().filter(|_| apart);
        if let Some(groups) = given.and_then(|table| table.remove("num_groups")) {
            value["n_groups"] = groups;
        }
        self.table(&Table { path, called, keys }, value);
        if let (Some(kind), Some(table)) = (kind, value.as_object_mut()) {
            table.insert("type".into(), kind);
        }
    }

    /// A layer of a hybrid. A list is said as a whole, so all that a layer needs is said with it.
    fn of_layer(&mut self, path: &str, value: &mut Value) {
        let given = value.as_object_mut().and_then(|table| table.remove("type"));
        let kind = given.as_ref().and_then(Value::as_str).unwrap_or_default();
        let Some(keys) = of_layer(kind) else {
            let names = LAYERS.map(|(name, _)| name);
            let given = given.as_ref().map_or("nothing".into(), said);
            let near = nearest(kind, names).map(|near| format!(": did you mean \"{near}\"?"));
            let what = format!(
                "`{path}.type` given as {given}, expected one of {}{}",
                names.join(", "),
                near.unwrap_or_default()
            );
            return self.wrong.note(self.by, path, what);
        };
        let missing = keys.iter().filter(|key| !key.may_be_left_out());
        let missing = missing.filter(|key| value.get(key.name).is_none());
        let missing = missing.map(|key| key.name);
        let block = value.get("block");
        let untyped = block.is_some_and(|block| block.is_object() && block.get("type").is_none());
        for name in missing.chain(untyped.then_some("block.type")) {
            let what = format!("`{path}.{name}` is missing, expected in the layer {kind}");
            self.wrong.note(self.by, path, what);
        }
        if !untyped {
            let called = &format!("a key of the layer {kind}")[..];
            self.table(&Table { path, called, keys }, value);
        }
        if let Some(table) = value.as_object_mut() {
            table.insert("type".into(), json!(kind));
        }
    }

    fn unknown(&mut self, of: &Table<'_>, name: &str) {
        let names = of.keys.iter().map(|key| key.name);
        let elsewhere = || {
            ALL.iter().find_map(|key| match key.kind {
                _ if key.name == name => Some(name.to_string()),
                Kind::Table(keys) if keys.iter().any(|key| key.name == name) => {
                    Some(format!("{}.{name}", key.name))
                }
                _ => None,
            })
        };
        let near = nearest(name, names.clone()).map(|near| of.whole(near));
        let option = options::is_one(name) && of.path.is_empty();
        let head = of.keys.iter().any(|key| key.name == "head_dim");
        let remedy = match near.or_else(elsewhere) {
            _ if option => format!("it is an option, `--{}`", name.replace('_', "-")),
            _ if let Some(key) = options::called(name) => {
                format!("`--{}` is `{key}`", name.replace('_', "-"))
            }
            Some(near) => format!("did you mean `{near}`?"),
            None if name == "num_heads" && head => {
                let size = of.whole("head_dim");
                format!("its heads are its channels over `{size}` (--head-size)")
            }
            None if let Some((option, key)) =
                options::near(name).filter(|_| of.path.is_empty()) =>
            {
                format!(
                    "did you mean `--{}`, which is `{key}`?",
                    option.replace('_', "-")
                )
            }
            None => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
        };
        let path = of.whole(name);
        let what = format!("`{path}` given, expected {}: {remedy}", of.called);
        self.wrong.note(self.by, &path, what);
    }
}

/// A value in the one form of its kind, or what was expected.
fn take(kind: Kind, value: &mut Value) -> Result<(), String> {
    let number = |value: &Value| value.as_f64().filter(|x| x.is_finite());
    let wanted = |found: bool, expected: &str| match found {
        true => Ok(()),
        false => Err(expected.to_string()),
    };
    if matches!(kind, Kind::Size | Kind::Count)
        && let Some(whole) = number(value).filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x))
        && value.is_f64()
    {
        *value = json!(whole as u64);
    }
    match kind {
        Kind::Optional(_) if value.is_null() || *value == "none" => {
            *value = Value::Null;
            Ok(())
        }
        Kind::Optional(kind) => {
            take(*kind, value).map_err(|expected| format!("{expected}, or \"none\""))
        }
        Kind::Size => wanted(
            value.as_u64().is_some_and(|n| n > 0),
            "a whole number from 1 on",
        ),
        Kind::Count => wanted(value.is_u64(), "a whole number from 0 on"),
        Kind::Positive => wanted(number(value).is_some_and(|x| x > 0.0), "a number above 0"),
        Kind::FromZero => wanted(
            number(value).is_some_and(|x| x >= 0.0),
            "a number from 0 on",
        ),
        Kind::Share => wanted(
            number(value).is_some_and(|x| (0.0..=1.0).contains(&x)),
            "a number from 0 to 1",
        ),
        Kind::BelowOne => wanted(
            number(value).is_some_and(|x| (0.0..1.0).contains(&x)),
            "a number from 0 to below 1",
        ),
        Kind::Flag => wanted(value.is_boolean(), "true or false"),
        Kind::Word(words) => {
            let given = value.as_str().unwrap_or_default();
            let near = nearest(given, words.iter().copied());
            let near = near.map_or(String::new(), |near| format!(": did you mean \"{near}\"?"));
            wanted(
                words.contains(&given),
                &format!("one of {}{near}", words.join(", ")),
            )
        }
        Kind::Range => {
            let pair: Option<[f64; 2]> = serde_json::from_value(value.clone()).ok();
            wanted(
                pair.is_some_and(|[low, high]| 0.0 < low && low <= high && high.is_finite()),
                "two numbers above 0 as [0.001, 0.1], the second not below the first",
            )
        }
        Kind::Bounds => {
            let expected = "two bounds, each a number from 0 on or \"none\", as [0.001, \"none\"]";
            let Some(bounds) = value.as_array_mut().filter(|bounds| bounds.len() == 2) else {
                return Err(expected.into());
            };
            bounds
                .iter_mut()
                .try_for_each(|bound| take(Kind::Optional(&Kind::FromZero), bound))
                .map_err(|_| expected.into())
        }
        Kind::Text => wanted(value.is_string(), "a text"),
        Kind::Sizes => {
            let table = value.as_object_mut();
            let sizes = table.map(|t| t.values_mut().all(|size| take(Kind::Size, size).is_ok()));
            wanted(sizes == Some(true), "sizes from 1 on by the text's names")
        }
        Kind::Lines => {
            let table = value.as_object();
            let lines = table.map(|t| t.values().all(Value::is_string));
            wanted(
                lines == Some(true),
                "settings as \"conv=4,act=silu\" by the text's names",
            )
        }
        Kind::Layers => {
            let tables = value.as_array().filter(|layers| !layers.is_empty());
            wanted(
                tables.is_some_and(|layers| layers.iter().all(Value::is_object)),
                "a list of layers, each a table with its type",
            )
        }
        Kind::InitialState => {
            let read = InitialStateConfig::said(value);
            *value = json!(read.map_err(|why| format!("an initial state: {why}"))?);
            Ok(())
        }
        Kind::Table(_) | Kind::Block => Ok(()),
    }
}

/// A value as it was given.
fn said(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}
