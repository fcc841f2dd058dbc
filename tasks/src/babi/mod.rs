//! bAbI in a haystack: facts spread among the sentences of any text, and a question about them.
//!
//! Stories are simulated ([`story`], [`world`]), so the facts are not those of the released files:
//! the rules of the world and the verbs are theirs, the stories are other ones. Facts go among the
//! sentences as in BABILong (`context`): in order, each before a sentence drawn evenly with
//! replacement. The prompt has BABILong's form with instructions of our own. The score is
//! BABILong's: of the answers that the task can have, exactly the right one is named before the
//! first full stop.

mod context;
mod prompt;
pub use prompt::names_only;
pub(crate) use prompt::parts;
pub mod story;
#[cfg(test)]
mod tests;
pub mod world;

use super::{Ask, Place, Said, Task, Trial};
use crate::Material;
use baton_data::Error;
use baton_data::rng::Rng;
use serde::{Deserialize, Serialize};

/// Tokens of the continuation.
const COUNT: usize = 20;
/// Tokens of context that each line of a story must have room in.
const TOKENS_PER_LINE: usize = 8;
/// Stories drawn before a length is called too short.
const DRAWS: usize = 1000;

/// The task's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Babi {
    /// Which of the tasks 1 to 5.
    pub qa: usize,
    /// Examples with answers before the context.
    pub shots: usize,
    /// Whether the prompt begins with an instruction.
    pub instruction: bool,
}

/// More examples than this are longer than any context.
const MOST_SHOTS: usize = 1000;

impl Default for Babi {
    fn default() -> Self {
        Babi {
            qa: 1,
            shots: 2,
            instruction: true,
        }
    }
}

impl Babi {
    /// The task on `material`.
    pub fn build(self, material: &Material) -> Result<impl Task + use<>, Error> {
        if !(1..=5).contains(&self.qa) {
            return Err(Error::Config(format!(
                "babi: qa={} given, expected 1 to 5",
                self.qa
            )));
        }
        if self.shots > MOST_SHOTS {
            return Err(Error::Config(format!(
                "babi: shots={} given, expected at most {MOST_SHOTS}",
                self.shots
            )));
        }
        let head = prompt::head(self.qa, self.shots, self.instruction);
        Ok(Built {
            head_tokens: material.codec.tokens(&head)?.len(),
            head,
            settings: self,
            material: material.clone(),
        })
    }
}

struct Built {
    settings: Babi,
    /// The prompt up to the context.
    head: String,
    head_tokens: usize,
    material: Material,
}

impl Task for Built {
    fn name(&self) -> String {
        format!("qa{}", self.settings.qa)
    }

    fn scores(&self) -> &'static [&'static str] {
        &["answer"]
    }

    /// A length of 0 is a story without a haystack.
    fn trial(&self, place: Place, rng: &mut Rng) -> Result<Trial, Error> {
        let codec = self.material.codec.as_ref();
        for _ in 0..DRAWS {
            let sample = story::sample(self.settings.qa, rng);
            let tail = prompt::tail(&sample.question);
            let around = self.head_tokens + codec.tokens(&tail)?.len() + COUNT;
            let facts = (sample.facts.iter())
                .map(|fact| codec.tokens(&format!(" {fact}")))
                .collect::<Result<Vec<_>, _>>()?;
            let noise = match place.length.checked_sub(around) {
                _ if place.length == 0 => Some(0),
                Some(room) if facts.len() < room / TOKENS_PER_LINE => {
                    room.checked_sub(facts.iter().map(Vec::len).sum())
                }
                _ => None,
            };
            let Some(noise) = noise else {
                continue;
            };
            let context = context::spread(facts, noise, &self.material, rng)?;
            return Ok(Trial {
                tokens: codec.tokens(&format!("{}{context}{tail}", self.head))?,
                ask: Ask::Greedy {
                    count: COUNT,
                    answer: codec.tokens(&prompt::answer(&sample.answer))?,
                    question: sample.question,
                    references: vec![sample.answer],
                },
            });
        }
        Err(Error::Config(format!(
            "babi: length {} given, expected more: the prompt around the context takes about {}, and \
             no story of {DRAWS} fits into the rest",
            place.length,
            self.head_tokens + COUNT
        )))
    }

    fn score(&self, trial: &Trial, said: &Said) -> Vec<f64> {
        let (
            Ask::Greedy {
                question,
                references,
                ..
            },
            Said::Text(said),
        ) = (&trial.ask, said)
        else {
            return vec![0.0];
        };
        vec![f64::from(prompt::is_right(
            self.settings.qa,
            said,
            question,
            &references[0],
        ))]
    }
}
