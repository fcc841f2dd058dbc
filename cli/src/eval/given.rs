//! What the measures share: a checkpoint, the text that it is read on, where the result goes.

use crate::chunks::Chunks;
use crate::context::Context;
use crate::device;
use crate::failure::Failure;
use crate::ranks;
use baton_data::files::{self, Target};
use baton_data::{Corpus, tokenizer};
use baton_runtime::Device;
use baton_tasks::measures::Measurement;
use baton_train::eval::{Checkpoint, Subject, progress};
use baton_train::trainer::BEST;
use baton_weights::checkpoint::CHECKPOINT;
use baton_weights::origin::Origin;
use indicatif::ProgressBar;
use serde_json::json;
use std::path::{Path, PathBuf};

/// A number for a person.
pub fn number(x: f64, digits: usize) -> String {
    match x.is_finite() {
        true => format!("{x:.digits$}"),
        false => "not finite".into(),
    }
}

/// The files that a checkpoint or tokens are read from. Results are kept beside them, so a folder is not read as a whole.
pub fn parts(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        let vocabulary = files::folder(path).join(tokenizer::FILE);
        return vec![path.to_path_buf(), vocabulary];
    };
    let files = entries.flatten().map(|entry| entry.path());
    let is_part = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let known = [
            CHECKPOINT,
            BEST,
            tokenizer::FILE,
            "config.json",
            "generation_config.json",
        ];
        let begins = ["model", "pytorch_model", "train-", "held-out-"];
        let ends = [".safetensors", ".bin"];
        known.contains(&name.as_ref())
            || name.ends_with(".index.json")
            || begins.iter().any(|begin| name.starts_with(begin))
                && ends.iter().any(|end| name.ends_with(end))
    };
    files.filter(is_part).collect()
}

/// What every measure is given.
#[derive(clap::Args)]
pub struct Given {
    /// The checkpoint
    #[arg(long)]
    pub checkpoint: PathBuf,
    /// The text that it was trained on, where it lies now: what training held out is evaluated; that of
    /// the checkpoint's own run when absent
    #[arg(long)]
    pub text: Option<PathBuf>,
    /// The field that holds the text, of JSONL, JSON and parquet
    #[arg(long, value_name = "NAME", requires = "text")]
    pub field: Option<String>,
    /// The same, of a folder that `baton tokenize` wrote
    #[arg(long, conflicts_with_all = ["text", "whole"])]
    pub data: Option<PathBuf>,
    /// Evaluate the whole text: for a model that never saw any of it
    #[arg(long, requires = "text")]
    pub whole: bool,
    /// Write the result to this JSON file too
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// What else is read
    #[arg(skip)]
    pub read: Vec<PathBuf>,
    #[command(flatten)]
    pub chunks: Chunks,
    /// Threads; every core when absent
    #[arg(long, value_parser = device::threads())]
    pub threads: Option<usize>,
    /// Show no progress
    #[arg(long)]
    pub quiet: bool,
}

impl Given {
    /// The CPU.
    pub fn device(&self) -> Result<Box<dyn Device>, Failure> {
        Ok(device::device(
            device::Name::Cpu,
            ranks::threads(self.threads),
        )?)
    }

    /// The model. Before anything is read it is found out whether the result can be written.
    pub fn subject(&self, context: &Context) -> Result<Subject, Failure> {
        self.target(context, self.output.as_deref())?;
        let subject = Subject::open(&self.checkpoint, self.device()?.as_ref())?;
        context
            .output
            .notes_of(&subject.tokenizer, subject.config.vocab_size);
        self.chunks.put(subject)
    }

    /// What is evaluated, in words and in the subject's tokens.
    pub fn text(&self, subject: &Subject) -> Result<(String, Corpus), Failure> {
        let given = match (&self.text, &self.data) {
            (Some(path), _) => Some(Origin::Text {
                path: path.clone(),
                documents: true,
                reset: false,
                field: self.field.clone(),
            }),
            (None, Some(path)) => Some(Origin::Shards {
                path: path.clone(),
                reset: false,
            }),
            (None, None) => None,
        };
        let text = subject.held_out(given, self.whole)?;
        Ok((text.name.clone(), text))
    }

    /// A file that the first rank writes, which is none of those that are read.
    pub fn target(
        &self,
        context: &Context,
        path: Option<&Path>,
    ) -> Result<Option<Target>, Failure> {
        let first = context.is_first()?;
        let Some(path) = path.filter(|_| first) else {
            return Ok(None);
        };
        let mut read = parts(&self.checkpoint);
        read.extend(self.data.iter().flat_map(|data| parts(data)));
        read.extend(self.text.iter().chain(&self.read).cloned());
        let target = Target::new(path)?.spares(read.iter().map(PathBuf::as_path))?;
        Ok(Some(target))
    }

    /// A bar over `tokens`, unless none is wanted.
    pub fn bar(
        &self,
        context: &Context,
        title: &str,
        tokens: usize,
    ) -> Result<ProgressBar, Failure> {
        let shown = !self.quiet && context.is_first()?;
        Ok(progress(shown.then_some(title), tokens))
    }

    /// Writes a measurement where it was asked for, on the first rank; `shown` is the same for a person.
    pub fn finish(
        &self,
        context: &Context,
        measurement: Measurement<Checkpoint>,
        mut shown: String,
    ) -> Result<(), Failure> {
        if !context.is_first()? {
            return Ok(());
        }
        if let Some(target) = self.target(context, self.output.as_deref())? {
            measurement.write_to(&target)?;
        }
        if let Some(path) = &self.output {
            shown.push_str(&format!("{}\n", path.display()));
        }
        context.output.result(|| json!(measurement), || shown)
    }
}
