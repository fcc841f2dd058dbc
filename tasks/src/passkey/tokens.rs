//! The passkey as token ids: noise, `| The passkey is: <key> |` somewhere in it, and
//! `|What is the passkey? The passkey is` at the end, followed by the key.
//!
//! Noise is a text's tokens, or random ones. The key is uniformly random ids. Markers are the words
//! above, or, for small vocabularies, three ids that nothing else uses. A length is all tokens, the
//! key at the end included. Scored under teacher forcing: the first token of the key (what the token
//! format's authors report) and the whole of it.

use crate::Material;
use crate::{Ask, Asked, Place, Said, Task, Trial, tokens_right};
use baton_data::Error;
use baton_data::rng::Rng;
use serde::{Deserialize, Serialize};

/// What stands around the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Markers {
    /// The published words, by the tokenizer.
    #[default]
    Words,
    /// The last three ids of the vocabulary: before the key, after it, and the question.
    Ids,
}

/// The task's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenPasskey {
    /// Tokens in the vocabulary; 0: the tokenizer's.
    pub vocabulary: usize,
    /// Tokens of the key.
    pub key: usize,
    /// The least number of noise tokens between the key and the question.
    pub gap: usize,
    /// What stands around the key.
    pub markers: Markers,
}

impl Default for TokenPasskey {
    fn default() -> Self {
        TokenPasskey {
            vocabulary: 0,
            key: 5,
            gap: 0,
            markers: Markers::Words,
        }
    }
}

impl TokenPasskey {
    /// The task on `material`.
    pub fn build(self, material: &Material) -> Result<impl Task + use<>, Error> {
        let vocabulary = match self.vocabulary {
            0 => material.codec.vocabulary(),
            given => given,
        };
        let spare = match self.markers {
            Markers::Ids => 3,
            Markers::Words => 0,
        };
        if self.key == 0 || vocabulary < spare + 2 {
            return Err(Error::Config(format!(
                "passkey: a key of {} tokens in a vocabulary of {vocabulary} given, expected at least 1 in {}",
                self.key,
                spare + 2
            )));
        }
        let markers = match self.markers {
            Markers::Ids => [3, 2, 1].map(|last| vec![(vocabulary - last) as u32]),
            Markers::Words => {
                let words = [
                    "| The passkey is: ",
                    " |",
                    "|What is the passkey? The passkey is",
                ];
                let mut markers = [const { Vec::new() }; 3];
                for (marker, words) in markers.iter_mut().zip(words) {
                    *marker = material.codec.tokens(words)?;
                }
                markers
            }
        };
        let top = markers
            .iter()
            .flatten()
            .max()
            .map_or(0, |&top| top as usize);
        if top >= vocabulary {
            return Err(Error::Config(format!(
                "passkey: a vocabulary of {vocabulary} given, expected more than {top} for the markers' words; \
                 markers=ids fits any"
            )));
        }
        Ok(Built {
            settings: self,
            ids: vocabulary - spare,
            markers,
            material: material.clone(),
        })
    }
}

struct Built {
    settings: TokenPasskey,
    /// Ids that noise and keys are drawn from.
    ids: usize,
    markers: [Vec<u32>; 3],
    material: Material,
}

impl Task for Built {
    fn name(&self) -> String {
        format!("passkey, key of {}", self.settings.key)
    }

    fn scores(&self) -> &'static [&'static str] {
        &["first token", "whole key"]
    }

    fn chance(&self) -> Option<Vec<f64>> {
        let one = 1.0 / self.ids as f64;
        Some(vec![one, one.powi(self.settings.key as i32)])
    }

    fn has_depth(&self) -> bool {
        true
    }

    fn trial(&self, place: Place, rng: &mut Rng) -> Result<Trial, Error> {
        let TokenPasskey { key, gap, .. } = self.settings;
        let around = self.markers.iter().map(Vec::len).sum::<usize>() + 2 * key;
        let Some(room) = place.length.checked_sub(around + gap) else {
            return Err(Error::Config(format!(
                "passkey: length {} given, expected at least {} for markers, key and gap",
                place.length,
                around + gap
            )));
        };
        let key: Vec<u32> = (0..key).map(|_| rng.below(self.ids) as u32).collect();
        let before = match place.depth {
            Some(depth) => (depth * room as f64).round() as usize,
            None => rng.below(room + 1),
        };
        let mut tokens = self.material.noise(room + gap, self.ids, rng)?;
        let after = tokens.split_off(before.min(room));
        let [open, close, question] = &self.markers;
        for part in [open, &key, close, &after, question, &key] {
            tokens.extend(part);
        }
        let first = tokens.len() - key.len();
        let asked = (first..tokens.len()).map(|at| Asked {
            after: at - 1,
            token: tokens[at],
        });
        Ok(Trial {
            ask: Ask::Forced(asked.collect()),
            tokens,
        })
    }

    fn score(&self, trial: &Trial, said: &Said) -> Vec<f64> {
        let first = match (&trial.ask, said) {
            (Ask::Forced(asked), Said::Tokens(said)) => said.first() == Some(&asked[0].token),
            _ => false,
        };
        vec![f64::from(first), tokens_right(trial, said)[1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{Plan, run};
    use crate::predict::Rule;
    use baton_data::tokenizer::Tokenizer;

    fn plan() -> Plan {
        Plan {
            lengths: vec![80, 3000],
            depths: vec![0.0, 0.5, 1.0],
            trials: 100,
            batch: 16,
            seed: 4,
        }
    }

    #[test]
    fn a_lookup_is_right_and_a_constant_is_chance_with_ids_only() {
        let settings = TokenPasskey {
            vocabulary: 19,
            markers: Markers::Ids,
            ..TokenPasskey::default()
        };
        let task = settings.build(&Material::bytes(None)).unwrap();
        let mut lookup = Rule(|read: &[u32]| {
            let place = |id| read.iter().position(|&t| t == id).unwrap();
            assert_eq!(place(17) - place(16), 6);
            read[place(16) + read.len() - place(18)]
        });
        let grid = run(
            &task,
            &plan(),
            &Tokenizer::Bytes,
            &mut lookup,
            &mut |_, _| {},
        )
        .unwrap();
        for cell in &grid.cells {
            assert!(cell.scores.iter().all(|s| s.mean == 1.0) && cell.tokens == cell.length);
        }
        let mut constant = Rule(|_: &[u32]| 3);
        let grid = run(
            &task,
            &plan(),
            &Tokenizer::Bytes,
            &mut constant,
            &mut |_, _| {},
        )
        .unwrap();
        let first: f64 = grid.cells.iter().map(|c| c.scores[0].mean).sum();
        // 600 trials: three standard deviations are 0.03.
        assert!((first / 6.0 - 1.0 / 16.0).abs() < 0.03, "{first}");
    }

    #[test]
    fn words_around_the_key_in_a_text() {
        let text = "It is a truth universally acknowledged, that a single man. ".repeat(9);
        let task = TokenPasskey {
            gap: 30,
            ..TokenPasskey::default()
        };
        let task = task.build(&Material::bytes(Some(text.into()))).unwrap();
        let place = |depth| Place {
            length: 200,
            depth: Some(depth),
        };
        let mut rng = Rng::at(1, baton_data::rng::Purpose::Trials, 0);
        for (depth, before) in [(0.0, 0), (0.5, 52), (1.0, 104)] {
            let trial = task.trial(place(depth), &mut rng).unwrap();
            assert_eq!(trial.tokens.len(), 200);
            let ascii = |&t: &u32| char::from_u32(t).filter(char::is_ascii).unwrap_or('?');
            let text: String = trial.tokens.iter().map(ascii).collect();
            assert_eq!(text.find("| The passkey is: "), Some(before));
            let asked = text.find("|What is the passkey? The passkey is").unwrap();
            assert_eq!(asked, 200 - 5 - 36);
            assert_eq!(trial.tokens[before + 18..][..5], trial.tokens[195..]);
        }
        let short = Place {
            length: 60,
            depth: None,
        };
        let error = task.trial(short, &mut rng).err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("expected at least 96")));
    }
}
