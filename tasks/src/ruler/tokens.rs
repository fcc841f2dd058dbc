//! RULER's tasks as token ids: for models that are trained on them from scratch.
//!
//! Four ids at the top of the vocabulary are marks (`<`, `:`, `>`, `?` below) that nothing else
//! uses; names and values are random ids; noise is a text's tokens or random. All answers are at
//! the end and scored under teacher forcing:
//!
//! | task | hidden | asked |
//! |---|---|---|
//! | `niah` | `< : value >` | `? : value` |
//! | `mq` | six `< name : value >` | `? name : value` for two of the names |
//! | `vt` | two chains of three, `< name : value >` then `< name : name >` | `? value : name name name` |
//! | `fwe` | ids with counts that fall with the square of the rank, the first a mark | `? : id id id`, ranks two to four |

use super::aggregation::times;
use crate::Material;
use crate::{Ask, Asked, Place, Said, Task, Trial, tokens_right};
use baton_data::Error;
use baton_data::rng::Rng;
use serde::{Deserialize, Serialize};

/// Marks.
const MARKS: usize = 4;
/// Keys and queries of `mq`.
const KEYS: usize = 6;
const QUERIES: usize = 2;
/// Chains of `vt`, and the variables of each.
const CHAINS: usize = 2;
const VARIABLES: usize = 3;
/// The fewest words of `fwe`.
const FEWEST: usize = 60;

/// Which task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// One value.
    #[default]
    Niah,
    /// Values by name.
    Mq,
    /// Variable tracing.
    Vt,
    /// Frequent words.
    Fwe,
}

/// The task's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRuler {
    /// Which task.
    pub task: TokenKind,
    /// Tokens in the vocabulary; 0: the tokenizer's.
    pub vocabulary: usize,
    /// Tokens of a name.
    pub name: usize,
    /// Tokens of a value.
    pub value: usize,
}

impl Default for TokenRuler {
    fn default() -> Self {
        TokenRuler {
            task: TokenKind::Niah,
            vocabulary: 0,
            name: 1,
            value: 7,
        }
    }
}

impl TokenRuler {
    /// The task on `material`.
    pub fn build(self, material: &Material) -> Result<impl Task + use<>, Error> {
        const LEAST: usize = 16;
        let vocabulary = match self.vocabulary {
            0 => material.codec.vocabulary(),
            given => given,
        };
        if vocabulary < LEAST + MARKS || self.name == 0 || self.value == 0 {
            return Err(Error::Config(format!(
                "token-ruler: vocabulary={vocabulary}, name={}, value={} given, expected at least {}, 1, 1",
                self.name,
                self.value,
                LEAST + MARKS
            )));
        }
        Ok(Built {
            ids: vocabulary - MARKS,
            settings: self,
            material: material.clone(),
        })
    }
}

struct Built {
    settings: TokenRuler,
    /// Ids below this are names, values and noise; the marks follow.
    ids: usize,
    material: Material,
}

/// What is hidden, in order, and how it is asked for: parts that are given, parts that are the
/// answer.
struct Puzzle {
    hidden: Vec<Vec<u32>>,
    asked: Vec<(Vec<u32>, Vec<u32>)>,
}

impl Built {
    fn marks(&self) -> [u32; MARKS] {
        [0, 1, 2, 3].map(|mark| (self.ids + mark) as u32)
    }

    /// `count` different sequences of `length` ids.
    fn distinct(&self, count: usize, length: usize, rng: &mut Rng) -> Vec<Vec<u32>> {
        let mut drawn: Vec<Vec<u32>> = Vec::with_capacity(count);
        while drawn.len() < count {
            let next = (0..length).map(|_| rng.below(self.ids) as u32).collect();
            if !drawn.contains(&next) {
                drawn.push(next);
            }
        }
        drawn
    }

    fn puzzle(&self, rng: &mut Rng) -> Puzzle {
        let TokenRuler { name, value, .. } = self.settings;
        let [open, is, close, ask] = self.marks();
        let said = |left: &[u32], right: &[u32]| [&[open], left, &[is], right, &[close]].concat();
        let question = |left: &[u32]| [&[ask], left, &[is]].concat();
        match self.settings.task {
            TokenKind::Niah | TokenKind::Fwe => {
                let value = self.distinct(1, value, rng).remove(0);
                Puzzle {
                    hidden: vec![said(&[], &value)],
                    asked: vec![(question(&[]), value)],
                }
            }
            TokenKind::Mq => {
                let (names, values) = (
                    self.distinct(KEYS, name, rng),
                    self.distinct(KEYS, value, rng),
                );
                let asked = rng.distinct(KEYS, QUERIES).into_iter();
                let asked = asked.map(|i| (question(&names[i]), values[i].clone()));
                let pairs = names.iter().zip(&values);
                Puzzle {
                    hidden: pairs.map(|(name, value)| said(name, value)).collect(),
                    asked: asked.collect(),
                }
            }
            TokenKind::Vt => {
                let names = self.distinct(CHAINS * VARIABLES, name, rng);
                let values = self.distinct(CHAINS, value, rng);
                let mut next = [0; CHAINS];
                let mut turns: Vec<usize> = (0..names.len()).map(|i| i % CHAINS).collect();
                rng.shuffle(&mut turns);
                let line = |chain: usize| {
                    let at = chain * VARIABLES + next[chain];
                    next[chain] += 1;
                    match next[chain] {
                        1 => said(&names[at], &values[chain]),
                        _ => said(&names[at], &names[at - 1]),
                    }
                };
                let hidden = turns.into_iter().map(line).collect();
                let chain = rng.below(CHAINS);
                let names = &names[chain * VARIABLES..(chain + 1) * VARIABLES];
                Puzzle {
                    hidden,
                    asked: vec![(question(&values[chain]), names.concat())],
                }
            }
        }
    }

    /// Hidden parts at random places of noise, or the first at `depth`.
    fn hide(
        &self,
        hidden: Vec<Vec<u32>>,
        noise: usize,
        depth: Option<f64>,
        rng: &mut Rng,
    ) -> Result<Vec<u32>, Error> {
        let noise = self.material.noise(noise, self.ids, rng)?;
        let mut places: Vec<usize> = hidden.iter().map(|_| rng.below(noise.len() + 1)).collect();
        if let Some(depth) = depth {
            places[0] = (depth * noise.len() as f64).round() as usize;
        }
        places.sort_unstable();
        let mut tokens = Vec::new();
        let mut from = 0;
        for (place, part) in places.into_iter().zip(hidden) {
            tokens.extend(&noise[from..place]);
            tokens.extend(part);
            from = place;
        }
        tokens.extend(&noise[from..]);
        Ok(tokens)
    }

    /// `room` ids of falling frequency, and the ranks that are asked for.
    fn frequencies(&self, room: usize, rng: &mut Rng) -> (Vec<u32>, Vec<u32>) {
        let words = rng.distinct(self.ids, self.ids);
        let [dots, ..] = self.marks();
        let ranks: Vec<u32> = std::iter::once(dots)
            .chain(words.into_iter().map(|word| word as u32))
            .collect();
        let mut text: Vec<u32> = ranks
            .iter()
            .enumerate()
            .flat_map(|(i, &word)| std::iter::repeat_n(word, times(room, i + 1)))
            .collect();
        text.resize(room, dots);
        rng.shuffle(&mut text);
        (text, ranks[1..4].to_vec())
    }
}

impl Task for Built {
    fn name(&self) -> String {
        format!("{:?}, tokens", self.settings.task).to_lowercase()
    }

    fn scores(&self) -> &'static [&'static str] {
        &["token", "answer"]
    }

    fn has_depth(&self) -> bool {
        self.settings.task == TokenKind::Niah
    }

    fn trial(&self, place: Place, rng: &mut Rng) -> Result<Trial, Error> {
        let [_, is, _, ask] = self.marks();
        let short = |least: usize| {
            Error::Config(format!(
                "token-ruler: length {} given, expected at least {least}",
                place.length
            ))
        };
        let (mut tokens, asked) = match self.settings.task {
            TokenKind::Fwe => {
                const AROUND: usize = 5;
                let room = place
                    .length
                    .checked_sub(AROUND)
                    .filter(|&room| room >= FEWEST);
                let room = room.ok_or_else(|| short(FEWEST + AROUND))?;
                let (text, ranks) = self.frequencies(room, rng);
                (text, vec![(vec![ask, is], ranks)])
            }
            _ => {
                let Puzzle { hidden, asked } = self.puzzle(rng);
                let questions = asked
                    .iter()
                    .map(|(given, answer)| given.len() + answer.len());
                let around = hidden.iter().map(Vec::len).chain(questions).sum();
                let noise = place.length.checked_sub(around);
                let noise = noise.ok_or_else(|| short(around))?;
                (self.hide(hidden, noise, place.depth, rng)?, asked)
            }
        };
        let mut places = Vec::new();
        for (given, answer) in asked {
            tokens.extend(given);
            for token in answer {
                places.push(Asked {
                    after: tokens.len() - 1,
                    token,
                });
                tokens.push(token);
            }
        }
        Ok(Trial {
            tokens,
            ask: Ask::Forced(places),
        })
    }

    fn score(&self, trial: &Trial, said: &Said) -> Vec<f64> {
        tokens_right(trial, said).to_vec()
    }
}
