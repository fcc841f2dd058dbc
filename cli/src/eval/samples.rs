//! Every trial as a line of JSON: what was read, what was right, what was said, what it scored. So a row of zeros
//! can be understood.

use crate::failure::Failure;
use baton_data::files::Target;
use baton_tasks::grid::Sample;
use baton_tasks::prompts::Answered;
use baton_tasks::prompts::Scoring;
use baton_tasks::{Ask, Codec, Said};
use serde_json::{Map, Value, json};

/// The lines of a run, and where they go.
pub struct Samples {
    target: Option<Target>,
    lines: Vec<u8>,
}

impl Samples {
    /// Lines for a file that can be written; none without one.
    pub fn new(target: Option<Target>) -> Self {
        let lines = Vec::new();
        Samples { target, lines }
    }

    /// Writes the file, if there is one.
    pub fn write(&self) -> Result<(), Failure> {
        match &self.target {
            Some(target) => Ok(target.write(&self.lines)?),
            None => Ok(()),
        }
    }

    /// A trial of a generated task. What is asked in text is shown as text, what is asked by tokens as tokens.
    pub fn trial(&mut self, sample: &Sample, codec: &dyn Codec) {
        if self.target.is_none() {
            return;
        }
        let tokens = &sample.trial.tokens;
        let (prompt, references) = match &sample.trial.ask {
            Ask::Greedy { references, .. } => {
                let text = codec.text(tokens).unwrap_or_default();
                (json!(text), json!(references))
            }
            Ask::Forced(asked) => {
                let right: Vec<u32> = asked.iter().map(|asked| asked.token).collect();
                (json!(tokens), json!(right))
            }
        };
        let answer = match sample.said {
            Said::Text(text) => json!(text),
            Said::Tokens(tokens) => json!(tokens),
        };
        self.line(&json!({
            "task": sample.task,
            "length": sample.place.length,
            "depth": sample.place.depth,
            "trial": sample.number,
            "tokens": tokens.len(),
            "prompt": prompt,
            "references": references,
            "answer": answer,
            "scores": scores(sample.scores.iter().copied()),
        }));
    }

    /// A question of a file.
    pub fn question(&mut self, answered: &Answered) {
        if self.target.is_none() {
            return;
        }
        let question = answered.question;
        let names = question.scoring.names().iter().copied();
        let mut line = json!({
            "task": question.task,
            "record": question.number,
            "tokens": answered.tokens,
            "prompt": question.prompt,
            "references": question.references,
            "answer": answered.answer,
            "scores": scores(names.zip(answered.scores.iter().copied())),
        });
        if question.scoring == Scoring::Choice {
            line["choices"] = json!(question.choices);
            line["likelihoods"] = json!(answered.likelihoods);
        }
        self.line(&line);
    }

    fn line(&mut self, line: &Value) {
        self.lines.extend(format!("{line}\n").bytes());
    }
}

fn scores<'a>(scores: impl Iterator<Item = (&'a str, f64)>) -> Map<String, Value> {
    scores
        .map(|(name, score)| (name.to_string(), json!(score)))
        .collect()
}
