//! How a layout calls the weights, where it has other names than the paths of the model's fields.
//!
//! A weight here may be several there, rows under each other: what is one product here is often
//! several projections in a file. Each of these is checked by its own name before it is joined; a
//! tensor that no entry names keeps its name, so that it is refused by it later.

use super::layout::{EMBEDDING, HEAD};
use baton_config::Error;
use baton_runtime::Tensor;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Names of every weight that is called otherwise.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    ours: String,
    theirs: Theirs,
}

#[derive(Clone, Debug)]
enum Theirs {
    One(String),
    /// In order, with the shape of each.
    Joined(Vec<(String, Vec<usize>)>),
}

impl Names {
    /// A weight of another name.
    pub fn rename(&mut self, ours: impl Into<String>, theirs: impl Into<String>) {
        self.0.push(Entry {
            ours: ours.into(),
            theirs: Theirs::One(theirs.into()),
        });
    }

    /// A weight that is several in the file.
    pub fn join(&mut self, ours: impl Into<String>, theirs: Vec<(String, Vec<usize>)>) {
        self.0.push(Entry {
            ours: ours.into(),
            theirs: Theirs::Joined(theirs),
        });
    }

    /// Refuses names that something was put before, by what was put there: programs that wrap a model do so, and
    /// dictionaries around its weights.
    pub fn unwrapped(&self, weights: &BTreeMap<String, Tensor>) -> Result<(), Error> {
        let [ours, theirs] = EMBEDDING;
        let looked = [self.called(ours), theirs, HEAD];
        if looked.iter().any(|name| weights.contains_key(*name)) {
            return Ok(());
        }
        for name in looked {
            let ends = |given: &&String| {
                given
                    .strip_suffix(name)
                    .is_some_and(|first| first.ends_with('.'))
            };
            if let Some(given) = weights.keys().find(ends) {
                let before = given.strip_suffix(name).unwrap_or_default();
                return Err(Error::Config(format!(
                    "tensor `{given}` given, expected `{name}`: `{before}` stands before the names (a wrapper's \
                     or of a dictionary around the weights), expected the model's own `state_dict()`"
                )));
            }
            let inner = name
                .split_once('.')
                .filter(|(_, inner)| weights.contains_key(*inner));
            if let Some((outer, inner)) = inner.filter(|_| name != HEAD) {
                return Err(Error::Config(format!(
                    "tensor `{inner}` given, expected `{name}`: the names lack `{outer}.`, as those of a model \
                     without its head do, expected the whole model's"
                )));
            }
        }
        Ok(())
    }

    /// Calls weights from a file as the model does.
    pub fn read(&self, weights: &mut BTreeMap<String, Tensor>) -> Result<(), Error> {
        let mut wrong = Vec::new();
        for Entry { ours, theirs } in &self.0 {
            let value = match theirs {
                Theirs::One(name) => weights.remove(name),
                Theirs::Joined(parts) => joined(parts, weights, &mut wrong),
            };
            if let Some(value) = value {
                weights.insert(ours.clone(), value);
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Error::Config(wrong.join("; "))),
        }
    }

    /// Calls the model's weights as the file does.
    pub fn write<'a>(
        &'a self,
        weights: &'a BTreeMap<String, Tensor>,
    ) -> BTreeMap<&'a str, Cow<'a, Tensor>> {
        let mut named: BTreeMap<&str, Cow<Tensor>> = weights
            .iter()
            .map(|(name, tensor)| (name.as_str(), Cow::Borrowed(tensor)))
            .collect();
        for Entry { ours, theirs } in &self.0 {
            let Some(whole) = named.remove(ours.as_str()) else {
                continue;
            };
            match theirs {
                Theirs::One(name) => {
                    named.insert(name, whole);
                }
                Theirs::Joined(parts) => {
                    let mut at = 0;
                    for (name, shape) in parts {
                        let count: usize = shape.iter().product();
                        let data = whole.data[at..at + count].to_vec();
                        let shape = shape.clone();
                        named.insert(name, Cow::Owned(Tensor { shape, data }));
                        at += count;
                    }
                }
            }
        }
        named
    }

    /// What the file calls `ours`.
    pub fn called<'a>(&'a self, ours: &'a str) -> &'a str {
        let entry = self.0.iter().find(|entry| entry.ours == ours);
        match entry.map(|entry| &entry.theirs) {
            Some(Theirs::One(name)) => name,
            _ => ours,
        }
    }
}

/// The rows of `parts` under each other; absent where something is wrong with one.
fn joined(
    parts: &[(String, Vec<usize>)],
    weights: &mut BTreeMap<String, Tensor>,
    wrong: &mut Vec<String>,
) -> Option<Tensor> {
    let mut data = Vec::new();
    let before = wrong.len();
    for (name, shape) in parts {
        match weights.remove(name) {
            None => wrong.push(format!("tensor `{name}` is missing")),
            Some(part) if part.shape == *shape => data.extend(part.data),
            Some(part) => wrong.push(format!(
                "tensor `{name}` has shape {:?}, expected {shape:?}",
                part.shape
            )),
        }
    }
    let mut shape = parts.first()?.1.clone();
    shape[0] = parts.iter().map(|(_, shape)| shape[0]).sum();
    (wrong.len() == before).then_some(Tensor { shape, data })
}
