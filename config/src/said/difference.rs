//! Where two configurations differ.

use super::keys::whole;
use crate::model::ModelConfig;
use crate::train::TrainConfig;
use serde_json::Value;
use std::collections::BTreeMap;

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

/// The first place where two configurations differ, in words; of texts the first line.
pub fn difference(stored: &str, now: &str) -> Option<String> {
    fn walk(path: &str, a: &Value, b: &Value) -> Option<String> {
        if let (Some(x), Some(y)) = (a.as_object(), b.as_object()) {
            let keys = x.keys().chain(y.keys().filter(|k| !x.contains_key(*k)));
            return keys.into_iter().find_map(|key| {
                let path = format!("{path}.{key}");
                walk(path.trim_start_matches('.'), &a[key], &b[key])
            });
        }
        let lines = |text: &Value| -> Vec<String> {
            let lines = text.as_str().unwrap_or_default().lines();
            lines.map(|line| line.trim().into()).collect()
        };
        let (x, y) = (lines(a), lines(b));
        let place = (0..x.len().max(y.len())).find(|&i| x.get(i) != y.get(i));
        match place {
            Some(i) if x.len() > 1 && y.len() > 1 => {
                let [x, y] = [&x, &y].map(|lines| lines.get(i).map_or("nothing", String::as_str));
                let line = i + 1;
                Some(format!(
                    "line {line} of `{path}` was `{x}` there and is `{y}` now"
                ))
            }
            _ => (a != b).then(|| format!("`{path}` was {a} there and is {b} now")),
        }
    }
    let parsed = [stored, now].map(serde_json::from_str::<Value>);
    match parsed {
        [Ok(stored), Ok(now)] => walk("", &in_todays_form(stored), &now),
        _ => (stored != now).then(|| format!("{stored} there, {now} now")),
    }
}

/// What is another one in a changed configuration: what was and what is, by key.
pub fn changed(stored: &TrainConfig, now: &TrainConfig) -> Option<BTreeMap<String, [Value; 2]>> {
    let all = differences(&whole(stored), &whole(now)).into_iter();
    let all: BTreeMap<_, _> = all
        .map(|Difference { path, was, is }| (path, [was, is]))
        .collect();
    (!all.is_empty()).then_some(all)
}

/// A stored configuration whose block was a kind of its own, as one of a text.
fn in_todays_form(mut stored: Value) -> Value {
    if let Some(model) = stored.pointer_mut("/config/model")
        && !["mamba2", "recurrence"]
            .iter()
            .any(|kind| model["block"]["type"] == *kind)
        && let Ok(today) = serde_json::from_value::<ModelConfig>(model.clone())
    {
        *model = serde_json::json!(today);
    }
    stored
}
