//! Needles in a haystack: sentences that give a key its value, and a question for some keys.

use super::form::{Form, Written};
use crate::haystack::{GRASS, sentences};
use crate::{Place, words};
use baton_data::Error;
use baton_data::rng::Rng;
use std::sync::Arc;

/// Tokens of the continuation.
const COUNT: usize = 128;
/// Depths in a text are drawn from as many points from its start to its end.
const DEPTHS: usize = 40;

/// What needles lie in.
pub enum Haystack {
    /// The grass sentences, a line each time.
    Grass,
    /// Other needles, a line each.
    Needles,
    /// A text, in one line.
    Text(Arc<str>),
}

/// What a key or a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// An adjective and a noun.
    Word,
    /// Seven digits.
    Number,
    /// A UUID.
    Uuid,
}

impl Value {
    fn draw(self, rng: &mut Rng) -> String {
        match self {
            Value::Word => words::keys(1, rng).remove(0),
            Value::Number => words::number(rng),
            Value::Uuid => words::uuid(rng),
        }
    }

    /// `count` different ones.
    fn distinct(self, count: usize, rng: &mut Rng) -> Vec<String> {
        let mut drawn: Vec<String> = Vec::with_capacity(count);
        while drawn.len() < count {
            let next = self.draw(rng);
            if !drawn.contains(&next) {
                drawn.push(next);
            }
        }
        drawn
    }

    fn name(self) -> &'static str {
        match self {
            Value::Word => "word",
            Value::Number => "number",
            Value::Uuid => "uuid",
        }
    }
}

/// How many needles of which kind lie where.
pub struct Needles {
    /// What they lie in.
    pub haystack: Haystack,
    /// What keys are.
    pub key: Value,
    /// What values are.
    pub value: Value,
    /// Keys with needles of their own.
    pub keys: usize,
    /// Values of each key.
    pub values: usize,
    /// Keys asked for.
    pub queries: usize,
}

impl Needles {
    fn needle(&self, key: &str, value: &str) -> String {
        let kind = self.value.name();
        format!("One of the special magic {kind}s for {key} is: {value}.")
    }

    /// One more needle, of none of the `keys`: a second value would be as right as the first.
    fn other(&self, keys: &[String], rng: &mut Rng) -> String {
        let mut key = self.key.draw(rng);
        while keys.contains(&key) {
            key = self.key.draw(rng);
        }
        self.needle(&key, &self.value.draw(rng))
    }

    /// A haystack of `size` with the needles of `keys` in it; the first of them at `depth`, if given.
    fn hide(
        &self,
        [keys, needles]: [Vec<String>; 2],
        size: usize,
        depth: Option<f64>,
        rng: &mut Rng,
    ) -> String {
        let (mut parts, glue): (Vec<String>, &str) = match &self.haystack {
            Haystack::Grass => (vec![GRASS.to_string(); size], "\n"),
            Haystack::Needles => {
                let other = |_| self.other(&keys, rng);
                ((0..size).map(other).collect(), "\n")
            }
            Haystack::Text(text) => {
                let words = words_from(text, size, rng);
                (sentences(&words).map(str::to_string).collect(), " ")
            }
        };
        let lines = parts.len();
        let mut places: Vec<usize> = match &self.haystack {
            Haystack::Text(_) => {
                let points = rng.distinct(DEPTHS, needles.len());
                let points = points.into_iter();
                points.map(|point| lines * point / (DEPTHS - 1)).collect()
            }
            _ => rng.distinct(lines.max(needles.len()), needles.len()),
        };
        if let (Some(depth), Some(first)) = (depth, places.first_mut()) {
            *first = (depth * lines as f64).round() as usize;
        }
        let mut placed: Vec<(usize, String)> = places.into_iter().zip(needles).collect();
        placed.sort_by_key(|(place, _)| *place);
        for (place, needle) in placed.into_iter().rev() {
            parts.insert(place.min(parts.len()), needle);
        }
        parts.join(glue)
    }
}

/// `count` words of a text from a random one on, beginning again at its end.
fn words_from(text: &str, count: usize, rng: &mut Rng) -> String {
    let at = rng.below(text.len().max(1));
    let at = (at..text.len())
        .find(|&i| text.is_char_boundary(i) && text[i..].starts_with(char::is_whitespace));
    let (before, after) = text.split_at(at.unwrap_or(0));
    let round = after.split_whitespace().chain(before.split_whitespace());
    let words: Vec<&str> = round.cycle().take(count).collect();
    words.join(" ")
}

impl Form for Needles {
    fn count(&self) -> usize {
        COUNT
    }

    fn sizes(&self) -> (usize, Option<usize>) {
        (self.keys * self.values, None)
    }

    fn has_depth(&self) -> bool {
        self.queries * self.values == 1
    }

    fn write(&self, size: usize, place: Place, rng: &mut Rng) -> Result<Written, Error> {
        let keys = self.key.distinct(self.keys, rng);
        let all = self.value.distinct(self.keys * self.values, rng);
        let asked = &keys[..self.queries];
        let references = all[..self.queries * self.values].to_vec();
        let needles = all.iter().enumerate();
        let needles = needles.map(|(i, value)| self.needle(&keys[i / self.values], value));
        let depth = place.depth.filter(|_| self.has_depth());
        let needles: Vec<String> = needles.collect();
        let query = match asked {
            [one] => one.clone(),
            [first @ .., last] => format!("{}, and {last}", first.join(", ")),
            [] => String::new(),
        };
        let context = self.hide([keys, needles], size, depth, rng);
        let kind = self.value.name();
        let prompt = match references.len() {
            1 => format!(
                "A special magic {kind} is hidden within the following text. Make sure to memorize it. \
                 I will quiz you about the {kind} afterwards.\n{context}\nWhat is the special magic \
                 {kind} for {query} mentioned in the provided text? The special magic {kind} for \
                 {query} mentioned in the provided text is"
            ),
            _ => format!(
                "Some special magic {kind}s are hidden within the following text. Make sure to \
                 memorize it. I will quiz you about the {kind}s afterwards.\n{context}\nWhat are all \
                 the special magic {kind}s for {query} mentioned in the provided text? The special \
                 magic {kind}s for {query} mentioned in the provided text are"
            ),
        };
        Ok(Written { prompt, references })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_data::rng::Purpose;

    /// Of so many keys some are the one that is asked for, unless they are drawn again.
    #[test]
    fn an_asked_key_has_one_value() {
        let needles = Needles {
            haystack: Haystack::Needles,
            key: Value::Word,
            value: Value::Number,
            keys: 1,
            values: 1,
            queries: 1,
        };
        let place = Place {
            length: 0,
            depth: None,
        };
        for trial in 0..20 {
            let mut rng = Rng::at(1, Purpose::Trials, trial);
            let Written { prompt, .. } = needles.write(50_000, place, &mut rng).unwrap();
            let (before, _) = prompt.rsplit_once(" mentioned").unwrap();
            let key = before.rsplit(' ').next().unwrap();
            let said = format!(" for {key} is: ");
            assert_eq!(prompt.matches(&said).count(), 1, "{key}");
        }
    }
}
