//! What every verb that asks a model for answers is given.

use super::given::Given;
use super::samples::Samples;
use crate::chunks::Chunks;
use crate::context::Context;
use crate::device;
use crate::failure::Failure;
use crate::numbers;
use std::path::PathBuf;

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
            chunks: self.chunks.clone(),
            threads: self.threads,
            quiet: self.quiet,
        }
    }

    /// The lines that the first rank writes.
    pub fn samples(&self, context: &Context) -> Result<Samples, Failure> {
        let first = context.is_first()?;
        Samples::new(self.samples.as_deref().filter(|_| first))
    }
}
