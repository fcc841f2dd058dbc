//! What the measures share: a checkpoint, the text that it is read on, where the result goes.

use crate::chunks::Chunks;
use crate::context::Context;
use crate::device;
use crate::failure::Failure;
use crate::ranks;
use baton_data::Corpus;
use baton_data::files::Target;
use baton_runtime::Device;
use baton_tasks::measures::Measurement;
use baton_train::eval::{Checkpoint, Subject, progress};
use baton_weights::origin::Origin;
use indicatif::ProgressBar;
use serde_json::json;
use std::path::PathBuf;

/// A number for a person.
pub fn number(x: f64, digits: usize) -> String {
    match x.is_finite() {
        true => format!("{x:.digits$}"),
        false => "not finite".into(),
    }
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
        self.target(context)?;
        let subject = Subject::open(&self.checkpoint, self.device()?.as_ref())?;
        context.output.notes(&subject.tokenizer);
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

    /// The file of the result, which the first rank writes.
    fn target(&self, context: &Context) -> Result<Option<Target>, Failure> {
        let first = context.is_first()?;
        let output = self.output.as_deref().filter(|_| first);
        Ok(output.map(Target::new).transpose()?)
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
        if let Some(target) = self.target(context)? {
            measurement.write_to(&target)?;
        }
        if let Some(path) = &self.output {
            shown.push_str(&format!("{}\n", path.display()));
        }
        context.output.result(|| json!(measurement), || shown)
    }
}
