//! The format of Landmark Attention: an instruction, the grass sentences, the key's line somewhere
//! in them, the question. The depth is counted in characters of noise before the key. The answer is the first
//! integer in ten greedy tokens.
//!
//! The noise is as long as fits: prompt and continuation together have at most as many tokens as
//! the place's length.

use crate::haystack::GRASS;
use crate::{Ask, Codec, Place, Said, Task, Trial};
use baton_data::Error;
use baton_data::rng::Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const TASK: &str = "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you about the important information there.";
const QUESTION: &str = "What is the pass key? The pass key is";
/// Tokens of the continuation.
const COUNT: usize = 10;

/// Which numbers are hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// 10000 to 99999.
    #[default]
    FiveDigits,
    /// 1 to 50000, as in the original.
    Landmark,
}

/// The task, for one tokenizer.
pub struct Landmark {
    keys: Keys,
    codec: Arc<dyn Codec>,
    /// Characters of noise by length: found once, by trying.
    noise: Mutex<BTreeMap<usize, usize>>,
}

impl Landmark {
    /// The task.
    pub fn new(keys: Keys, codec: Arc<dyn Codec>) -> Self {
        Landmark {
            keys,
            codec,
            noise: Mutex::default(),
        }
    }

    /// Characters of noise that fit.
    fn noise(&self, length: usize) -> Result<usize, Error> {
        let mut known = self.noise.lock().unwrap_or_else(|held| held.into_inner());
        if let Some(&noise) = known.get(&length) {
            return Ok(noise);
        }
        let fits = |characters: usize| -> Result<bool, Error> {
            let text = prompt(characters / 2, characters, 88_888);
            Ok(self.codec.tokens(&text)?.len() + COUNT <= length)
        };
        if !fits(0)? {
            let least = self.codec.tokens(&prompt(0, 0, 88_888))?.len() + COUNT;
            return Err(Error::Config(format!(
                "passkey: length {length} given, expected at least {least} for the text around the noise"
            )));
        }
        let (mut low, mut high) = (0, length);
        while fits(high)? {
            (low, high) = (high, 2 * high);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match fits(middle)? {
                true => low = middle,
                false => high = middle,
            }
        }
        known.insert(length, low);
        Ok(low)
    }
}

/// The prompt with `before` of `noise` characters of noise before the key.
fn prompt(before: usize, noise: usize, key: usize) -> String {
    let sentence = |i: usize| match i % (GRASS.len() + 1) {
        i if i < GRASS.len() => GRASS.as_bytes()[i] as char,
        _ => ' ',
    };
    let noise_text = |length| -> String { (0..length).map(sentence).collect() };
    format!(
        "{TASK}\n{}\nThe pass key is {key}. Remember it. {key} is the pass key.\n{}\n{QUESTION}",
        noise_text(before),
        noise_text(noise - before),
    )
}

impl Task for Landmark {
    fn name(&self) -> String {
        "passkey, Landmark format".into()
    }

    fn scores(&self) -> &'static [&'static str] {
        &["key"]
    }

    fn has_depth(&self) -> bool {
        true
    }

    fn trial(&self, place: Place, rng: &mut Rng) -> Result<Trial, Error> {
        let key = match self.keys {
            Keys::FiveDigits => 10_000 + rng.below(90_000),
            Keys::Landmark => 1 + rng.below(50_000),
        };
        let mut noise = self.noise(place.length)?;
        // Another key, or noise that is cut elsewhere, may have more tokens than what was tried.
        let tokens = loop {
            let before = match place.depth {
                Some(depth) => (depth * noise as f64).round() as usize,
                None => rng.below(noise + 1),
            };
            let tokens = self.codec.tokens(&prompt(before.min(noise), noise, key))?;
            if tokens.len() + COUNT <= place.length || noise == 0 {
                break tokens;
            }
            noise -= (noise / 64).max(1);
        };
        Ok(Trial {
            tokens,
            ask: Ask::Greedy {
                count: COUNT,
                question: QUESTION.into(),
                references: vec![key.to_string()],
                answer: self.codec.tokens(&format!(" {key}."))?,
            },
        })
    }

    fn score(&self, trial: &Trial, said: &Said) -> Vec<f64> {
        let (Ask::Greedy { references, .. }, Said::Text(said)) = (&trial.ask, said) else {
            return vec![0.0];
        };
        let digits = said.trim_start_matches(|c: char| !c.is_ascii_digit());
        let first: String = digits.chars().take_while(char::is_ascii_digit).collect();
        vec![f64::from(references.first() == Some(&first))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{Plan, run};
    use crate::predict::Rule;
    use baton_data::rng::Purpose;
    use baton_data::tokenizer::Tokenizer;

    fn task() -> Landmark {
        Landmark::new(Keys::FiveDigits, Arc::new(Tokenizer::Bytes))
    }

    #[test]
    fn the_format_is_the_published_one() {
        let place = Place {
            length: 400,
            depth: Some(0.5),
        };
        let mut rng = Rng::at(1, Purpose::Trials, 0);
        let trial = task().trial(place, &mut rng).unwrap();
        assert_eq!(trial.tokens.len(), 390);
        let Ask::Greedy { references, .. } = &trial.ask else {
            panic!("the format is greedy")
        };
        let key = &references[0];
        let text = Tokenizer::Bytes.text(&trial.tokens).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[0].starts_with("There is an important info hidden inside"));
        assert!(
            GRASS.starts_with(lines[1]) || lines[1].starts_with(GRASS),
            "{}",
            lines[1]
        );
        let line = format!("The pass key is {key}. Remember it. {key} is the pass key.");
        assert_eq!(lines[2], line);
        assert!(lines[1].len().abs_diff(lines[3].len()) <= 1);
        assert_eq!(lines[4], "What is the pass key? The pass key is");
    }

    #[test]
    fn a_reader_finds_the_key_everywhere_and_a_constant_does_not() {
        let plan = Plan {
            lengths: vec![512, 4096],
            depths: vec![0.0, 0.3, 1.0],
            trials: 5,
            batch: 2,
            seed: 1,
        };
        let mut reader = Rule(|read: &[u32]| {
            let text = Tokenizer::Bytes.text(read).unwrap();
            let key = text.split("The pass key is ").nth(1).unwrap();
            let answer = format!(" {}", key.split(". ").next().unwrap());
            let said = text.rsplit("The pass key is").next().unwrap().len();
            u32::from(*answer.as_bytes().get(said).unwrap_or(&b'.'))
        });
        let grid = run(
            &task(),
            &plan,
            &Tokenizer::Bytes,
            &mut reader,
            &mut |_, _| {},
        )
        .unwrap();
        assert_eq!(grid.cells.len(), 6);
        for cell in &grid.cells {
            assert_eq!(cell.scores[0].mean, 1.0, "{cell:?}");
            assert_eq!(cell.tokens, cell.length);
        }
        let mut constant = Rule(|_: &[u32]| u32::from(b'1'));
        let grid = run(
            &task(),
            &plan,
            &Tokenizer::Bytes,
            &mut constant,
            &mut |_, _| {},
        )
        .unwrap();
        assert!(grid.cells.iter().all(|cell| cell.scores[0].mean == 0.0));
    }

    #[test]
    fn the_first_integer_counts() {
        let ask = Ask::Greedy {
            count: COUNT,
            question: QUESTION.into(),
            references: vec!["12345".into()],
            answer: vec![],
        };
        let trial = Trial {
            tokens: vec![],
            ask,
        };
        let score = |said: &str| task().score(&trial, &Said::Text(said.into()))[0];
        assert_eq!(score(" is 12345. 9"), 1.0);
        assert_eq!(score(" 123456"), 0.0);
        assert_eq!(score(" 9, 12345"), 0.0);
        assert_eq!(score(""), 0.0);
    }

    /// A vocabulary with a token for the key that the noise is found with.
    struct Merged;

    impl Codec for Merged {
        fn tokens(&self, text: &str) -> Result<Vec<u32>, Error> {
            Tokenizer::Bytes.tokens(&text.replace("88888", "8"))
        }

        fn text(&self, tokens: &[u32]) -> Result<String, Error> {
            Tokenizer::Bytes.text(tokens)
        }

        fn vocabulary(&self) -> usize {
            256
        }
    }

    #[test]
    fn a_key_of_more_tokens_has_less_noise() {
        let task = Landmark::new(Keys::FiveDigits, Arc::new(Merged));
        for depth in [None, Some(0.0), Some(0.3), Some(1.0)] {
            let length = 1000;
            let place = Place { length, depth };
            for i in 0..10 {
                let mut rng = Rng::at(1, Purpose::Trials, i);
                let tokens = task.trial(place, &mut rng).unwrap().tokens.len() + COUNT;
                assert!((length - 16..=length).contains(&tokens), "{tokens}");
            }
        }
    }

    #[test]
    fn a_length_without_room_is_refused() {
        let place = Place {
            length: 100,
            depth: None,
        };
        let mut rng = Rng::at(1, Purpose::Trials, 0);
        let error = task().trial(place, &mut rng).unwrap_err().to_string();
        assert!(
            error.contains("length 100 given, expected at least"),
            "{error}"
        );
    }
}
