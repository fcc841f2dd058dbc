//! Questions from files: the benchmarks that people have, in the fields that they are published with.
//!
//! A question is what a [`Form`] makes of a record: a prompt with its references, or with choices. They are asked
//! as the generated tasks are, greedily or forced, or by the likelihood of each choice; and scored as the
//! published harnesses do ([`Scoring`]). How long a question is follows from its tokens, so cells are tasks
//! by lengths up to which a prompt reaches.

mod fields;
mod form;
mod question;
mod score;

pub use form::{Form, PRESETS};
pub use question::Question;
pub use score::Scoring;

use super::babi;
use super::grid::{Cell, Grid, Score, answers};
use super::{Ask, Asked, Codec, Predict, Said, Trial, tokens_right};
use baton_data::Error;
use std::collections::BTreeMap;

/// How questions are asked.
#[derive(Clone, Debug)]
pub struct Asking {
    /// Tokens of a continuation.
    pub count: usize,
    /// The most questions side by side.
    pub batch: usize,
    /// Ends of the lengths that cells are made of, rising; powers of two when empty.
    pub buckets: Vec<usize>,
}

/// What was said to a question.
pub struct Answered<'a> {
    /// The question.
    pub question: &'a Question,
    /// Tokens that were read.
    pub tokens: usize,
    /// A continuation, the likeliest tokens as text, or the likeliest choice.
    pub answer: String,
    /// Of each choice.
    pub likelihoods: Vec<f64>,
    /// By the names of the scoring.
    pub scores: Vec<f64>,
}

/// A question in tokens: what is read, and from which token on it is asked for.
struct Ready<'a> {
    question: &'a Question,
    /// One, or one for each choice.
    rows: Vec<(Vec<u32>, usize)>,
}

impl Ready<'_> {
    /// Tokens of its prompt.
    fn length(&self) -> usize {
        self.rows[0].1
    }
}

/// A row of the tables: a task, what its scores are called, a length.
type Row<'a> = (&'a str, &'a [&'a str], usize);

/// Asks all questions; `each` hears the tokens that were read, `answered` every answer.
pub fn run(
    questions: &[Question],
    asking: &Asking,
    codec: &dyn Codec,
    model: &mut dyn Predict,
    each: &mut dyn FnMut(usize),
    answered: &mut dyn FnMut(Answered),
) -> Result<Vec<Grid>, Error> {
    let ready = questions.iter().map(|question| ready(question, codec));
    let mut ready = ready.collect::<Result<Vec<_>, _>>()?;
    // Side by side stand questions of one kind and about one length.
    ready.sort_by_key(|one| (one.question.scoring.names(), one.length()));
    let labels = labels(questions);
    let mut sums: BTreeMap<Row<'_>, Vec<Vec<f64>>> = BTreeMap::new();
    let mut most: BTreeMap<(&str, usize), (usize, usize)> = BTreeMap::new();
    let size = asking.batch.max(1);
    for same in ready.chunk_by(|a, b| a.question.scoring == b.question.scoring) {
        for batch in same.chunks(size) {
            let scoring = batch[0].question.scoring;
            let said = match scoring {
                Scoring::Choice => choices(batch, size, model)?,
                _ => texts(batch, asking.count, &labels, codec, model)?,
            };
            let strange = model.not_finite();
            each(batch.iter().map(Ready::length).sum());
            for (i, (one, (answer, likelihoods, scores))) in batch.iter().zip(said).enumerate() {
                let tokens = one.length();
                let length = asking.bucket(tokens);
                let task = one.question.task.as_str();
                let key = (task, scoring.names(), length);
                sums.entry(key).or_default().push(scores.clone());
                let most = most.entry((task, length)).or_default();
                most.0 = most.0.max(tokens);
                // Which of a batch it was is not known; the count is right.
                most.1 += if i == 0 { strange } else { 0 };
                answered(Answered {
                    question: one.question,
                    tokens,
                    answer,
                    likelihoods,
                    scores,
                });
            }
        }
    }
    let mut grids: Vec<Grid> = Vec::new();
    let mut last = None;
    for ((task, names, length), all) in sums {
        let count = all.len();
        let sum = |i: usize| all.iter().map(|scores| scores[i]).sum();
        let scores = names.iter().enumerate();
        let scores = scores.map(|(i, name)| Score::of(name, sum(i), count, None));
        let (tokens, not_finite) = most[&(task, length)];
        let cell = Cell {
            length,
            depth: None,
            trials: count,
            tokens,
            not_finite,
            refused: None,
            scores: scores.collect(),
        };
        if last != Some((task, names)) {
            let (task, cells) = (task.to_string(), Vec::new());
            grids.push(Grid { task, cells });
        }
        last = Some((task, names));
        grids.last_mut().expect("one was pushed").cells.push(cell);
    }
    Ok(grids)
}

impl Asking {
    fn bucket(&self, tokens: usize) -> usize {
        let own = self.buckets.iter().copied().find(|&end| tokens <= end);
        own.unwrap_or_else(|| tokens.next_power_of_two())
    }
}

/// What each task's questions are answered with, in lower case: the parts of those that are lists.
fn labels(questions: &[Question]) -> BTreeMap<&str, Vec<String>> {
    let mut labels: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for question in questions {
        let all = labels.entry(&question.task).or_default();
        for reference in &question.references {
            let reference = reference.trim().to_lowercase();
            for label in babi::parts(&reference) {
                if !all.iter().any(|known| known == label) {
                    all.push(label.to_string());
                }
            }
        }
    }
    labels
}

fn ready<'a>(question: &'a Question, codec: &dyn Codec) -> Result<Ready<'a>, Error> {
    let wrong = |what: &str| {
        let (task, number) = (&question.task, question.number);
        Error::Config(format!("{task}, record {number}: {what}"))
    };
    let rows = match question.scoring {
        Scoring::Choice => {
            let rows = question.choices.iter();
            rows.map(|choice| followed(question, choice, codec))
                .collect::<Result<Vec<_>, _>>()?
        }
        Scoring::FirstToken | Scoring::Forced => {
            vec![followed(question, &question.references[0], codec)?]
        }
        _ => {
            let tokens = codec.tokens(&question.prompt)?;
            let end = tokens.len();
            vec![(tokens, end)]
        }
    };
    let greedy = !matches!(
        question.scoring,
        Scoring::Choice | Scoring::FirstToken | Scoring::Forced
    );
    if rows.iter().any(|(_, from)| *from == 0) {
        return Err(wrong("a prompt without tokens, expected at least one"));
    }
    if !greedy && rows.iter().any(|(tokens, from)| tokens.len() == *from) {
        return Err(wrong("an answer without tokens, expected at least one"));
    }
    Ok(Ready { question, rows })
}

/// The tokens of a question's prompt and what follows it, and how many of them are the prompt's. As in
/// lm-evaluation-harness both are encoded together, white space at the end of the prompt goes to what follows, and one
/// space stands between where there is none, which what it logs has already.
fn followed(
    question: &Question,
    answer: &str,
    codec: &dyn Codec,
) -> Result<(Vec<u32>, usize), Error> {
    let context = question.prompt.trim_end();
    let between = &question.prompt[context.len()..];
    let divided =
        question.verbatim || !between.is_empty() || answer.starts_with(char::is_whitespace);
    let between = if divided { between } else { " " };
    let tokens = codec.tokens(&format!("{context}{between}{answer}"))?;
    let from = codec.tokens(context)?.len().min(tokens.len());
    Ok((tokens, from))
}

type Said3 = (String, Vec<f64>, Vec<f64>);

/// Answers of questions that are gone on with or forced.
fn texts(
    batch: &[Ready],
    count: usize,
    labels: &BTreeMap<&str, Vec<String>>,
    codec: &dyn Codec,
    model: &mut dyn Predict,
) -> Result<Vec<Said3>, Error> {
    let trial = |one: &Ready| {
        let (tokens, from) = &one.rows[0];
        let asked = |at: usize| Asked {
            after: at - 1,
            token: tokens[at],
        };
        let ask = match one.question.scoring {
            Scoring::FirstToken => Ask::Forced(vec![asked(*from)]),
            Scoring::Forced => Ask::Forced((*from..tokens.len()).map(asked).collect()),
            _ => Ask::Greedy {
                count,
                question: one.question.question.clone(),
                references: one.question.references.clone(),
                answer: Vec::new(),
            },
        };
        let tokens = tokens.clone();
        Trial { tokens, ask }
    };
    let trials: Vec<Trial> = batch.iter().map(trial).collect();
    let said = answers(&trials, codec, model, &mut |_| {})?;
    let mut all = Vec::new();
    for ((one, trial), said) in batch.iter().zip(&trials).zip(said) {
        let question = one.question;
        let (answer, scores) = match &said {
            Said::Text(text) => {
                let labels = &labels[question.task.as_str()];
                (
                    text.clone(),
                    question.scoring.of_text(
                        &question.references,
                        &question.question,
                        labels,
                        text,
                    ),
                )
            }
            Said::Tokens(tokens) => {
                let [share, whole] = tokens_right(trial, &said);
                let scores = match question.scoring {
                    Scoring::FirstToken => vec![share],
                    _ => vec![share, whole],
                };
                (codec.text(tokens)?, scores)
            }
        };
        all.push((answer, Vec::new(), scores));
    }
    Ok(all)
}

/// The likeliest choice of each question, `size` rows at a time.
fn choices(batch: &[Ready], size: usize, model: &mut dyn Predict) -> Result<Vec<Said3>, Error> {
    let rows: Vec<(&[u32], usize)> = batch
        .iter()
        .flat_map(|one| one.rows.iter().map(|(tokens, from)| (&tokens[..], *from)))
        .collect();
    let mut found = Vec::new();
    for rows in rows.chunks(size) {
        found.extend(model.likelihood(rows, &mut |_| {})?);
    }
    let mut found = found.into_iter();
    let said = batch.iter().map(|one| {
        let likelihoods: Vec<f64> = found.by_ref().take(one.rows.len()).collect();
        let best = (0..likelihoods.len()).reduce(|best, i| {
            if likelihoods[i] > likelihoods[best] {
                i
            } else {
                best
            }
        });
        let answer = best.map_or(String::new(), |i| one.question.choices[i].clone());
        let scores = Scoring::of_choices(&one.question.choices, one.question.right, &likelihoods);
        (answer, likelihoods, scores)
    });
    Ok(said.collect())
}

#[cfg(test)]
mod tests;
