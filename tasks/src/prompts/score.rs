//! How an answer to a question from a file is asked for and scored, as the published harnesses do.

use crate::babi;
use crate::ruler;
use baton_data::Error;
use std::str::FromStr;

/// A way to ask with its scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// The first line of what is said is a reference.
    Exact,
    /// A reference is in what is said, whatever its case.
    Contains,
    /// BABILong's: of all answers of the task's questions the right one alone is named.
    Babilong,
    /// RULER's `string_match_all`: the share of references that are named.
    StringMatchAll,
    /// The likeliest of several answers.
    Choice,
    /// The first token of the first reference, under teacher forcing.
    FirstToken,
    /// Every token of the first reference, under teacher forcing.
    Forced,
}

const ALL: [(&str, Scoring); 7] = [
    ("exact", Scoring::Exact),
    ("contains", Scoring::Contains),
    ("babilong", Scoring::Babilong),
    ("string_match_all", Scoring::StringMatchAll),
    ("choice", Scoring::Choice),
    ("first_token", Scoring::FirstToken),
    ("forced", Scoring::Forced),
];

impl Scoring {
    /// What its scores are called.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Scoring::Exact => &["exact"],
            Scoring::Contains => &["contains"],
            Scoring::Babilong => &["answer"],
            Scoring::StringMatchAll => &["found", "all found"],
            Scoring::Choice => &["choice", "choice, by characters"],
            Scoring::FirstToken => &["first token"],
            Scoring::Forced => &["token", "answer"],
        }
    }

    /// The scores of a text that was said to `question`; `labels` are all answers of the task, in lower case.
    pub(super) fn of_text(
        self,
        references: &[String],
        question: &str,
        labels: &[String],
        said: &str,
    ) -> Vec<f64> {
        let any = |of: &dyn Fn(&String) -> bool| vec![f64::from(references.iter().any(of))];
        match self {
            Scoring::Exact => {
                let first = said.trim_start().lines().next().unwrap_or("").trim();
                any(&|reference| reference.trim() == first)
            }
            Scoring::Contains => {
                let said = said.to_lowercase();
                any(&|reference| said.contains(&reference.to_lowercase()))
            }
            Scoring::Babilong => {
                any(&|reference| babi::names_only(reference.trim(), labels, said, question))
            }
            _ => ruler::found(references, said).to_vec(),
        }
    }

    /// The scores of choices with these log-likelihoods: the likeliest, and the likeliest by its characters. As in
    /// lm-evaluation-harness (`acc`, `acc_norm`) what divides a choice from the prompt is none of its characters.
    pub(super) fn of_choices(
        choices: &[String],
        right: Option<usize>,
        likelihoods: &[f64],
    ) -> Vec<f64> {
        let characters = choices.iter().map(|choice| {
            let characters = choice.trim_start().chars().count();
            characters.max(1) as f64
        });
        let each: Vec<f64> = likelihoods
            .iter()
            .zip(characters)
            .map(|(sum, n)| sum / n)
            .collect();
        let is_right = |scores: &[f64]| {
            let best =
                (0..scores.len()).reduce(|best, i| if scores[i] > scores[best] { i } else { best });
            f64::from(best.is_some() && best == right)
        };
        vec![is_right(likelihoods), is_right(&each)]
    }
}

impl FromStr for Scoring {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = ALL
            .iter()
            .find(|(known, _)| *known == name.replace('-', "_"));
        found.map(|(_, scoring)| *scoring).ok_or_else(|| {
            let known = ALL.map(|(known, _)| known).join(", ");
            Error::Config(format!("scoring `{name}` given, expected one of {known}"))
        })
    }
}
