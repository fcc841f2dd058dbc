//! `baton eval prompts`: questions from files, as published benchmarks and other programs write them.

use super::asking::lengths;
use super::reading::Reading;
use super::table::tables;
use crate::context::Context;
use crate::failure::Failure;
use crate::numbers;
use baton_tasks::Codec;
use baton_tasks::measures::Measurement;
use baton_tasks::prompts::{Asking, Form, PRESETS, Scoring, run};
use baton_train::eval::Reader;
use baton_train::ranks::answers;
use serde_json::json;
use std::path::PathBuf;

/// Ask the questions of files: BABILong, RULER, LongBench, samples of lm-evaluation-harness, your own
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton eval prompts --checkpoint mamba2-130m --file babilong/data --preset babilong\n  \
    baton eval prompts --checkpoint mamba2-130m --file niah.jsonl --preset ruler --samples said.jsonl\n  \
    baton eval prompts --checkpoint mamba2-130m --file quiz.jsonl --prompt '{context}\\n{question}\\nAnswer:' \\\n      \
    --answer label --choices A,B,C,D --score choice\n\n\
    Files are JSONL, JSON or parquet; a folder is all below it. Fields, and what each score is: docs/tasks.md."
)]
pub struct Prompts {
    #[command(flatten)]
    reading: Reading,
    /// A file of records, or a folder of them
    #[arg(long)]
    file: PathBuf,
    /// Whose fields the records have: babilong, ruler, longbench or lm-eval; the options below change it
    #[arg(long)]
    preset: Option<String>,
    /// The prompt, with fields in braces: '{context}\nQuestion: {question}\nAnswer:'; {field?} may be absent
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The field of the answer: a text, a number or a list of them
    #[arg(long, value_name = "FIELD")]
    answer: Option<String>,
    /// The field of the choices, a list; or several fields, with commas between
    #[arg(long, value_name = "FIELD")]
    choices: Option<String>,
    /// The field of the question, which the babilong score looks at
    #[arg(long, value_name = "FIELD")]
    question: Option<String>,
    /// The field that names rows of tables; the files' names when absent
    #[arg(long, value_name = "FIELD")]
    task: Option<String>,
    /// How answers are scored: exact, contains, babilong, string_match_all, choice, first_token, forced
    #[arg(long, value_name = "NAME")]
    score: Option<Scoring>,
    /// Tokens of a continuation; the preset's, or 32
    #[arg(long, value_parser = numbers::count())]
    tokens: Option<usize>,
    /// The first questions of each file
    #[arg(long, value_name = "N", value_parser = numbers::count())]
    limit: Option<usize>,
    /// Ends of the lengths that tables have columns for (1k,4k,16k); powers of two when absent
    #[arg(long, value_delimiter = ',')]
    lengths: Vec<String>,
}

impl Prompts {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let form = self.form()?;
        let mut given = self.reading.given();
        given.read.push(self.file.clone());
        let group = context.ranks()?;
        let mut samples = self.reading.samples(context, &given)?;
        let questions = form.read(&self.file, self.limit.unwrap_or(usize::MAX))?;
        let subject = given.subject(context)?;
        let codec: &dyn Codec = &subject.tokenizer;
        let vocabulary = Reader::vocabulary(&subject.model);
        if codec.vocabulary() > vocabulary {
            return Err(Failure::new(format!(
                "a model of {vocabulary} tokens given, expected at least the {} of its text",
                codec.vocabulary()
            )));
        }
        let mut buckets = lengths(&self.lengths, subject.checkpoint.train_length)?;
        buckets.sort_unstable();
        let asking = Asking {
            count: form.count,
            batch: self.reading.batch,
            buckets,
        };
        let mut reader = Reader::new(&subject.model, self.reading.segment, None);
        let bytes = questions.iter().map(|q| q.prompt.len()).sum();
        let bar = given.bar(context, "prompts", bytes)?;
        bar.set_message("(bytes)");
        let grids = answers(&*group, &mut reader, |model, pass| {
            run(
                &questions,
                &asking,
                codec,
                model,
                &mut |_| {},
                &mut |answered| {
                    if pass.reads {
                        bar.inc(answered.question.prompt.len() as u64);
                    }
                    if pass.counts {
                        samples.question(&answered);
                    }
                },
            )
        })?;
        bar.finish_and_clear();
        samples.write()?;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let options = json!({
            "preset": self.preset,
            "prompt": form.prompt,
            "answer": form.answer,
            "choices": form.choices,
            "score": questions[0].scoring.names(),
            "tokens": form.count,
            "questions": questions.len(),
            "batch": self.reading.batch,
            "segment": self.reading.segment,
        });
        let measurement = Measurement::new(
            "prompts",
            &subject.checkpoint,
            Some(name.into_owned()),
            &options,
            &json!({ "grids": grids }),
            context.started.elapsed().as_secs_f64(),
        )?;
        given.finish(context, measurement, tables(&grids))
    }

    /// The preset's form with what was given instead.
    fn form(&self) -> Result<Form, Failure> {
        let mut form = match &self.preset {
            Some(name) => Form::preset(name)?,
            None if self.prompt.is_none() || self.answer.is_none() || self.score.is_none() => {
                let names = PRESETS.map(|(name, _)| name).join(", ");
                return Err(Failure::new(format!(
                    "no --preset given, expected one of {names}, or all of --prompt, --answer and --score"
                )));
            }
            None => Form {
                count: 32,
                ..Form::preset(PRESETS[0].0)?
            },
        };
        if self.preset.is_none() {
            form.question = None;
        }
        if let Some(prompt) = &self.prompt {
            if !prompt.contains('{') {
                return Err(Failure::new(
                    "a --prompt without a field given, which asks every question alike: expected `{field}` in it",
                ));
            }
            form.prompt = prompt.replace("\\n", "\n");
            form.requests = false;
        }
        for (own, given) in [
            (&mut form.choices, &self.choices),
            (&mut form.question, &self.question),
            (&mut form.task, &self.task),
        ] {
            if given.is_some() {
                own.clone_from(given);
            }
        }
        form.answer = self.answer.clone().unwrap_or(form.answer);
        form.scoring = self.score.unwrap_or(form.scoring);
        form.count = self.tokens.unwrap_or(form.count);
        Ok(form)
    }
}
