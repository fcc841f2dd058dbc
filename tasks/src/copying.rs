//! The copying task: `$string|string.` over 26 letters.
//!
//! A length is the number of characters of the string. Training packs strings of uniformly random
//! length into a sequence, with the loss on the copies and their full stops; evaluation gives one
//! string and compares each character of the copy with the likeliest one, the copy so far given
//! right (teacher forcing). The full stop is trained on and not scored. Blind guessing of
//! characters scores 1/26.

use super::{Ask, Asked, Place, Said, Task, Trial, tokens_right};
use baton_data::Error;
use baton_data::rng::Rng;
use serde::{Deserialize, Serialize};

/// Letters of the alphabet.
pub const LETTERS: usize = 26;

/// Which tokens stand for the characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ids {
    /// Letters 0 to 25, then `$`, `|`, `.` and the padding `*`: a vocabulary of 30.
    #[default]
    Compact,
    /// As bytes, for a model that reads bytes.
    Bytes,
}

/// The task and the lengths of its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Copying {
    /// The shortest string to train on.
    pub min: usize,
    /// The longest string to train on.
    pub max: usize,
    /// Which tokens stand for the characters.
    pub ids: Ids,
}

impl Default for Copying {
    fn default() -> Self {
        Copying {
            min: 5,
            max: 20,
            ids: Ids::Compact,
        }
    }
}

impl Ids {
    /// The token of a character of `a` to `z`, `$`, `|`, `.`, `*`.
    pub fn token(self, character: u8) -> u32 {
        const MARKS: &[u8] = b"$|.*";
        match self {
            Ids::Bytes => character.into(),
            Ids::Compact => match MARKS.iter().position(|&mark| mark == character) {
                Some(mark) => (LETTERS + mark) as u32,
                None => (character - b'a').into(),
            },
        }
    }

    /// Tokens in the vocabulary.
    pub fn vocabulary(self) -> usize {
        match self {
            Ids::Compact => LETTERS + 4,
            Ids::Bytes => 256,
        }
    }
}

impl Copying {
    /// Refuses lengths that no string has.
    pub fn check(&self) -> Result<(), Error> {
        match 0 < self.min && self.min <= self.max {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "copying: min {}, max {} given, expected 0 < min <= max",
                self.min, self.max
            ))),
        }
    }

    /// One string and its copy.
    fn copy(&self, length: usize, rng: &mut Rng) -> Trial {
        let token = |character| self.ids.token(character);
        let letter = |_| token(b'a' + rng.below(LETTERS) as u8);
        let string: Vec<u32> = (0..length).map(letter).collect();
        let mut tokens = vec![token(b'$')];
        tokens.extend(&string);
        tokens.push(token(b'|'));
        tokens.extend(&string);
        tokens.push(token(b'.'));
        let asked = (length + 1..tokens.len() - 1).map(|after| Asked {
            after,
            token: tokens[after + 1],
        });
        Trial {
            ask: Ask::Forced(asked.collect()),
            tokens,
        }
    }
}

impl Task for Copying {
    fn name(&self) -> String {
        "copying".into()
    }

    fn scores(&self) -> &'static [&'static str] {
        &["character", "string"]
    }

    fn chance(&self) -> Option<Vec<f64>> {
        Some(vec![1.0 / LETTERS as f64, 0.0])
    }

    fn trial(&self, place: Place, rng: &mut Rng) -> Result<Trial, Error> {
        match place.length {
            0 => Err(Error::Config(
                "copying: a string of length 0 given, expected at least 1".into(),
            )),
            length => Ok(self.copy(length, rng)),
        }
    }

    fn example(&self, room: usize, before: usize, rng: &mut Rng) -> Result<Option<Trial>, Error> {
        let around = 3;
        let longest = room.saturating_sub(around) / 2;
        if before == 0 && longest < self.max {
            return Err(Error::Config(format!(
                "copying: a training length of {room} given, expected at least {} for strings of {}",
                2 * self.max + around,
                self.max
            )));
        }
        let length = self.min + rng.below(self.max - self.min + 1);
        Ok((length <= longest).then(|| self.copy(length, rng)))
    }

    fn padding(&self) -> u32 {
        self.ids.token(b'*')
    }

    fn score(&self, trial: &Trial, said: &Said) -> Vec<f64> {
        let (Ask::Forced(asked), Said::Tokens(said)) = (&trial.ask, said) else {
            return vec![0.0; 2];
        };
        let string = Trial {
            tokens: Vec::new(),
            ask: Ask::Forced(asked[..asked.len() - 1].to_vec()),
        };
        tokens_right(&string, &Said::Tokens(said.clone())).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{Plan, run};
    use crate::predict::Rule;
    use baton_data::rng::Purpose;
    use baton_data::tokenizer::Tokenizer;

    fn bytes() -> Copying {
        Copying {
            ids: Ids::Bytes,
            ..Copying::default()
        }
    }

    fn plan() -> Plan {
        Plan {
            lengths: vec![3, 200],
            depths: vec![],
            trials: 100,
            batch: 7,
            seed: 1,
        }
    }

    #[test]
    fn the_format_is_the_published_one() {
        let place = Place {
            length: 6,
            depth: None,
        };
        let mut rng = Rng::at(1, Purpose::Trials, 0);
        let trial = bytes().trial(place, &mut rng).unwrap();
        let text: String = trial.tokens.iter().map(|&t| t as u8 as char).collect();
        assert_eq!(text, "$lvmivc|lvmivc.");
        let Ask::Forced(asked) = trial.ask else {
            panic!("copying is forced")
        };
        let answer: String = asked.iter().map(|a| a.token as u8 as char).collect();
        assert_eq!(answer, "lvmivc.");
        assert_eq!(asked[0].after, 7);
    }

    #[test]
    fn a_copier_is_right_and_a_constant_is_chance() {
        let mut copier = Rule(|read: &[u32]| {
            let bar = read.iter().position(|&t| t == u32::from(b'|')).unwrap();
            read.get(read.len() - bar)
                .copied()
                .filter(|&t| t != u32::from(b'|'))
                .unwrap_or(u32::from(b'.'))
        });
        let grid = run(
            &bytes(),
            &plan(),
            &Tokenizer::Bytes,
            &mut copier,
            &mut |_, _| {},
        )
        .unwrap();
        for cell in &grid.cells {
            assert!(cell.scores.iter().all(|s| s.mean == 1.0), "{cell:?}");
        }
        let mut constant = Rule(|_: &[u32]| u32::from(b'e'));
        let grid = run(
            &bytes(),
            &plan(),
            &Tokenizer::Bytes,
            &mut constant,
            &mut |_, _| {},
        )
        .unwrap();
        let score = &grid.cells[1].scores[0];
        assert!((score.mean - 1.0 / 26.0).abs() < 0.006, "{score:?}");
        assert_eq!(grid.cells[1].scores[1].mean, 0.0);
    }

    #[test]
    fn training_strings_have_the_lengths_asked_for() {
        let task = Copying::default();
        let mut seen = [0; 21];
        for i in 0..2000 {
            let mut rng = Rng::at(1, Purpose::Examples, i);
            let trial = task.example(220, 0, &mut rng).unwrap().unwrap();
            seen[(trial.tokens.len() - 3) / 2] += 1;
        }
        assert!(seen[..5].iter().all(|&n| n == 0) && seen[5..].iter().all(|&n| n > 80));
        let mut rng = Rng::at(1, Purpose::Examples, 0);
        assert!(task.example(12, 1, &mut rng).unwrap().is_none());
        assert!(task.example(42, 0, &mut rng).is_err());
    }
}
