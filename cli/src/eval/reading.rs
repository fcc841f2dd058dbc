//! What every verb that asks a model for answers is given.

use super::given::Given;
use super::samples::Samples;
use crate::chunks::Chunks;
use crate::context::Context;
use crate::device;
use crate::failure::Failure;
use crate::numbers;
use baton_data::files;
use std::path::{Path, PathBuf, absolute};

/// The checkpoint, how it reads, and where answers go.
#[derive(clap::Args)]
pub struct Reading {
    /// The checkpoint
    #[arg(long)]
    pub checkpoint: PathBuf,
    /// Trials or questions that are run side by side; ranks take one batch after another
    #[arg(long, default_value = "8", value_parser = numbers::count())]
    pub batch: usize,
    /// Tokens that are read at once
    #[arg(long, default_value = "256", value_parser = numbers::segment())]
    pub segment: usize,
    /// Write a line of JSON for each trial or question to this file: prompt, references, answer, scores
    #[arg(long, value_name = "FILE.jsonl")]
    samples: Option<PathBuf>,
    /// Write the result to this JSON file too
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    chunks: Chunks,
    /// Threads; every core when absent
    #[arg(long, value_parser = device::threads())]
    threads: Option<usize>,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Reading {
    /// The same as a measure has it that reads no text of its own.
    pub fn given(&self) -> Given {
        Given {
            checkpoint: self.checkpoint.clone(),
            text: None,
            field: None,
            data: None,
            whole: false,
            output: self.output.clone(),
            read: Vec::new(),
            chunks: self.chunks.clone(),
            threads: self.threads,
            quiet: self.quiet,
        }
    }

    /// The lines that the first rank writes, into another file than the result.
    pub fn samples(&self, context: &Context, given: &Given) -> Result<Samples, Failure> {
        let target = given.target(context, self.samples.as_deref())?;
        let output = given.target(context, self.output.as_deref())?;
        if let (Some(target), Some(output)) = (&target, &output)
            && is_one(target.path(), output.path())
        {
            return Err(Failure::new(format!(
                "{} given with --samples and with --output, expected two files",
                target.path().display()
            )));
        }
        Ok(Samples::new(target))
    }
}

/// Whether two files that are written are one, of which the second would replace the first; what is written where it
/// is (`/dev/null`) is not replaced.
fn is_one(first: &Path, second: &Path) -> bool {
    let place = |path: &Path| {
        let folder = files::folder(path);
        let folder = folder.canonicalize().or_else(|_| absolute(folder));
        Some(folder.ok()?.join(path.file_name()?))
    };
    (first.is_file() || !first.exists()) && place(first) == place(second)
}
