//! Tasks with right answers: what a model can still do far past its training length.
//!
//! A [`Task`] makes trials: a pure function of random numbers and a [`Place`] (length, depth), which
//! knows nothing of models. A trial asks in one of two ways. *Forced*: the whole sequence is given,
//! and at some places the likeliest next token is compared with the right one; this needs no text
//! and no long training, so tiny models can do it. *Greedy*: the model continues a prompt, and the
//! continuation is read as text; this is how the published harnesses ask.
//!
//! [`grid`] runs trials over lengths and depths on anything that can [`Predict`]: a model, which this crate does not
//! know, or a rule written by hand, which shows that generators and scores are right without any training.
//! [`TaskConfig`] says a task in one line of text, for the command line and for checkpoints, and [`source`] trains
//! on it. What any measure found, of tasks and beside them, is plain data ([`measures`]).

#![deny(missing_docs)]

pub mod babi;
pub mod codec;
mod config;
pub mod copying;
pub mod grid;
pub mod haystack;
mod material;
pub mod measures;
pub mod passkey;
pub mod predict;
pub mod prompts;
pub mod recall;
pub mod ruler;
pub mod source;
pub mod words;

pub use codec::Codec;
pub use config::{Loss, TaskConfig};
pub use grid::{Cell, Grid, Plan, Score};
pub use material::Material;
pub use predict::Predict;
pub use source::TaskSource;

use baton_data::Error;
use baton_data::rng::Rng;

/// The tokens of a length as people say it: `500`, `64k` and `1m` (times 1024 each), `16x` of the training length.
pub fn tokens(length: &str, train_length: Option<usize>) -> Result<usize, Error> {
    let number = length.trim_end_matches(['k', 'm', 'x']);
    let unit = match &length[number.len()..] {
        "" => Some(1),
        "k" => Some(1 << 10),
        "m" => Some(1 << 20),
        "x" => train_length,
        _ => None,
    };
    let count = number.parse::<usize>().ok();
    if length.ends_with('x') && count.is_some() && train_length.is_none() {
        return Err(Error::Config(format!(
            "length `{length}` given for a checkpoint that does not say its training length, expected tokens as 500, \
             64k or 1m"
        )));
    }
    let found = unit.zip(count);
    let tokens = found.and_then(|(unit, number)| unit.checked_mul(number));
    tokens.ok_or_else(|| {
        Error::Config(format!(
            "length `{length}` given, expected tokens as 500, 64k or 1m, or 64x for a checkpoint that knows its \
             training length"
        ))
    })
}

/// Where in the grid a trial lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Tokens of the trial, or what the task calls its length.
    pub length: usize,
    /// Where the answer is hidden, from 0 (start) to 1 (end); anywhere when absent.
    pub depth: Option<f64>,
}

/// The right token after a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Index of the last token read.
    pub after: usize,
    /// What is to follow it.
    pub token: u32,
}

/// How a trial asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// The likeliest next token at each place, the whole sequence given; places in order.
    Forced(Vec<Asked>),
    /// A greedy continuation of the sequence, read as text.
    Greedy {
        /// Tokens of the continuation.
        count: usize,
        /// The question, for scores that look at it.
        question: String,
        /// What the continuation should hold; the first alone or all, as the task scores.
        references: Vec<String>,
        /// A whole right answer as it follows the prompt: what training teaches.
        answer: Vec<u32>,
    },
}

/// One trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What is read.
    pub tokens: Vec<u32>,
    /// What is asked.
    pub ask: Ask,
}

/// What was said to a trial.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The token at each place asked.
    Tokens(Vec<u32>),
    /// The continuation as text.
    Text(String),
}

/// A generator of trials and their score.
pub trait Task: Send + Sync {
    /// Its name in reports; trials of two names differ.
    fn name(&self) -> String;

    /// Names of the scores that [`score`](Self::score) gives.
    fn scores(&self) -> &'static [&'static str];

    /// What blind guessing would score, where that is known.
    fn chance(&self) -> Option<Vec<f64>> {
        None
    }

    /// A trial to train on of at most `room` tokens, answer included, to stand in a sequence after
    /// `before` others; `None` when no more fits.
    fn example(&self, room: usize, before: usize, rng: &mut Rng) -> Result<Option<Trial>, Error> {
        let place = Place {
            length: room,
            depth: None,
        };
        match before {
            0 => self.trial(place, rng).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether something is hidden at a depth.
    fn has_depth(&self) -> bool {
        false
    }

    /// A trial.
    fn trial(&self, place: Place, rng: &mut Rng) -> Result<Trial, Error>;

    /// The token that fills a training sequence.
    fn padding(&self) -> u32 {
        0
    }

    /// Each score of what was said to `trial`, from 0 to 1.
    fn score(&self, trial: &Trial, said: &Said) -> Vec<f64>;
}

/// The share of right tokens, and 1 if all are right.
pub(crate) fn tokens_right(trial: &Trial, said: &Said) -> [f64; 2] {
    let (Ask::Forced(asked), Said::Tokens(said)) = (&trial.ask, said) else {
        return [0.0; 2];
    };
    let right = asked.iter().zip(said).filter(|(a, s)| a.token == **s);
    let right = right.count();
    [
        right as f64 / asked.len().max(1) as f64,
        f64::from(right == asked.len()),
    ]
}
