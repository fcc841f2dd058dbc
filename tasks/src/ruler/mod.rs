//! RULER's synthetic tasks: needles in a haystack, variable tracing, common and frequent words.
//!
//! [`Ruler`] asks in text as the harness does: a prompt that ends in the beginning of the answer, a
//! greedy continuation, and the share of the references found in it, whatever their case
//! (`string_match_all`). A `Form` writes a prompt of a given size; the largest size that fits the
//! length with the continuation is searched for once. [`TokenRuler`] asks in token ids, for small
//! models. The two question-answering tasks need downloads and are not here.

mod aggregation;
mod form;
mod needles;
mod tokens;
mod tracing;

pub use tokens::{TokenKind, TokenRuler};

use super::haystack::GRASS;
use super::{Ask, Codec, Place, Said, Task, Trial};
use crate::Material;
use baton_data::Error;
use baton_data::rng::{Purpose, Rng};
use form::{Form, Written};
use needles::{Haystack, Needles, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// How much longer a continuation is whose tokens are single letters.
const LETTERS_PER_TOKEN: usize = 4;

/// A task's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// One number in grass sentences.
    #[default]
    #[serde(rename = "niah_single_1")]
    Single1,
    /// One number in a text.
    #[serde(rename = "niah_single_2")]
    Single2,
    /// One UUID in a text.
    #[serde(rename = "niah_single_3")]
    Single3,
    /// One number of four in a text.
    #[serde(rename = "niah_multikey_1")]
    Multikey1,
    /// One number in a haystack of numbers.
    #[serde(rename = "niah_multikey_2")]
    Multikey2,
    /// One UUID by its UUID in a haystack of both.
    #[serde(rename = "niah_multikey_3")]
    Multikey3,
    /// Four numbers of one key.
    #[serde(rename = "niah_multivalue")]
    Multivalue,
    /// Four numbers of four keys.
    #[serde(rename = "niah_multiquery")]
    Multiquery,
    /// Variable tracing.
    Vt,
    /// Common words.
    Cwe,
    /// Frequent words.
    Fwe,
}

impl Name {
    /// All of them.
    pub const ALL: [Name; 11] = [
        Name::Single1,
        Name::Single2,
        Name::Single3,
        Name::Multikey1,
        Name::Multikey2,
        Name::Multikey3,
        Name::Multivalue,
        Name::Multiquery,
        Name::Vt,
        Name::Cwe,
        Name::Fwe,
    ];

    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Name::Single1 => "niah_single_1",
            Name::Single2 => "niah_single_2",
            Name::Single3 => "niah_single_3",
            Name::Multikey1 => "niah_multikey_1",
            Name::Multikey2 => "niah_multikey_2",
            Name::Multikey3 => "niah_multikey_3",
            Name::Multivalue => "niah_multivalue",
            Name::Multiquery => "niah_multiquery",
            Name::Vt => "vt",
            Name::Cwe => "cwe",
            Name::Fwe => "fwe",
        }
    }

    fn form(self, material: &Material) -> Result<Box<dyn Form>, Error> {
        let text = || match &material.text {
            // Words are taken from it until a length is full.
            Some(text) if text.trim().is_empty() => Err(Error::Config(format!(
                "{}: a haystack without a word given, expected a text with words",
                self.text()
            ))),
            Some(text) => Ok(Haystack::Text(text.clone())),
            None => Ok(Haystack::Grass),
        };
        let one = |haystack, key, value| Needles {
            haystack,
            key,
            value,
            keys: 1,
            values: 1,
            queries: 1,
        };
        let (word, number, uuid) = (Value::Word, Value::Number, Value::Uuid);
        let four = |keys, values, queries| -> Result<Needles, Error> {
            Ok(Needles {
                keys,
                values,
                queries,
                ..one(text()?, word, number)
            })
        };
        Ok(Box::new(match self {
            Name::Single1 => one(Haystack::Grass, word, number),
            Name::Single2 => one(text()?, word, number),
            Name::Single3 => one(text()?, word, uuid),
            Name::Multikey1 => four(4, 1, 1)?,
            Name::Multikey2 => one(Haystack::Needles, word, number),
            Name::Multikey3 => one(Haystack::Needles, uuid, uuid),
            Name::Multivalue => four(1, 4, 1)?,
            Name::Multiquery => four(4, 1, 4)?,
            Name::Vt => return Ok(Box::new(tracing::Tracing)),
            Name::Cwe => return Ok(Box::new(aggregation::Common)),
            Name::Fwe => return Ok(Box::new(aggregation::Frequent)),
        }))
    }
}

/// The task's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ruler {
    /// Which task.
    pub task: Name,
}

impl Ruler {
    /// The task on `material`; tasks in a text without one have grass.
    pub fn build(self, material: &Material) -> Result<impl Task + use<>, Error> {
        self.built(material)
    }

    fn built(self, material: &Material) -> Result<Built, Error> {
        let form = self.task.form(material)?;
        let letters = material.codec.tokens(GRASS)?.len() == GRASS.len();
        Ok(Built {
            name: self.task,
            count: form.count() * if letters { LETTERS_PER_TOKEN } else { 1 },
            form,
            codec: material.codec.clone(),
            sizes: Mutex::default(),
        })
    }
}

struct Built {
    name: Name,
    form: Box<dyn Form>,
    /// Tokens of the continuation.
    count: usize,
    codec: Arc<dyn Codec>,
    /// The greatest sizes that were seen to fit, by length.
    sizes: Mutex<BTreeMap<usize, usize>>,
}

impl Built {
    fn tokens(&self, written: &Written) -> Result<usize, Error> {
        Ok(self.codec.tokens(&written.prompt)?.len() + self.count)
    }

    /// The greatest size that fits `length`, by bisection on one fixed prompt.
    fn size(&self, length: usize) -> Result<usize, Error> {
        let mut known = self.sizes.lock().unwrap_or_else(|held| held.into_inner());
        if let Some(&size) = known.get(&length) {
            return Ok(size);
        }
        let tokens = |size| -> Result<usize, Error> {
            let place = Place {
                length,
                depth: None,
            };
            let mut rng = Rng::at(0, Purpose::Trials, 0);
            self.tokens(&self.form.write(size, place, &mut rng)?)
        };
        let (least, most) = self.form.sizes();
        let needed = tokens(least)?;
        if needed > length {
            return Err(Error::Config(format!(
                "{}: length {length} given, expected at least {needed}",
                self.name.text()
            )));
        }
        let (mut low, mut high) = (least, 2 * least.max(8));
        while most.is_none_or(|most| high < most) && tokens(high)? <= length {
            (low, high) = (high, 2 * high);
        }
        high = most.map_or(high, |most| high.min(most + 1));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match tokens(middle)? <= length {
                true => low = middle,
                false => high = middle,
            }
        }
        known.insert(length, low);
        Ok(low)
    }
}

impl Task for Built {
    fn name(&self) -> String {
        self.name.text().into()
    }

    fn scores(&self) -> &'static [&'static str] {
        &["found", "all found"]
    }

    fn has_depth(&self) -> bool {
        self.form.has_depth()
    }

    fn trial(&self, place: Place, rng: &mut Rng) -> Result<Trial, Error> {
        let (least, _) = self.form.sizes();
        let mut size = self.size(place.length)?;
        loop {
            let written = self.form.write(size, place, rng)?;
            let tokens = self.codec.tokens(&written.prompt)?;
            if tokens.len() + self.count > place.length && size > least {
                size = (size - (size / 64).max(1)).max(least);
                continue;
            }
            let answer = format!(" {}.", written.references.join(", "));
            return Ok(Trial {
                tokens,
                ask: Ask::Greedy {
                    count: self.count,
                    question: String::new(),
                    answer: self.codec.tokens(&answer)?,
                    references: written.references,
                },
            });
        }
    }

    fn score(&self, trial: &Trial, said: &Said) -> Vec<f64> {
        let (Ask::Greedy { references, .. }, Said::Text(said)) = (&trial.ask, said) else {
            return vec![0.0; 2];
        };
        found(references, said).to_vec()
    }
}

/// The share of references that are named, whatever their case, and 1 where all are (`string_match_all`).
pub fn found(references: &[String], said: &str) -> [f64; 2] {
    let said = said.to_lowercase();
    let found = references
        .iter()
        .filter(|r| said.contains(&r.to_lowercase()));
    let found = found.count();
    [
        found as f64 / references.len().max(1) as f64,
        f64::from(found == references.len()),
    ]
}

#[cfg(test)]
mod tests;
