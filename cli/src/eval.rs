//! `baton eval`: perplexity by position of a checkpoint.

use crate::Context;
use crate::device;
use crate::failure::Failure;
use crate::train::text;
use baton_train::runs;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Evaluate a checkpoint far past its training length
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton eval --checkpoint runs/small/checkpoint.safetensors \
    --text book.txt --length 4096\n\n\
    Reads the held-out part of the text in streaming segments, all states carried, in memory that\n\
    does not grow with the length."
)]
pub struct Eval {
    /// The checkpoint
    #[arg(long)]
    checkpoint: PathBuf,
    /// The text that it was trained on; its last 15 % are evaluated
    #[arg(long)]
    text: Option<PathBuf>,
    /// Tokens of each sequence
    #[arg(long, default_value_t = 4096)]
    length: usize,
    /// Sequences, spread over the held-out text
    #[arg(long, default_value_t = 64)]
    sequences: usize,
    /// Threads; every core when absent
    #[arg(long, value_parser = device::threads())]
    threads: Option<usize>,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Eval {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let folder = self.checkpoint.parent().unwrap_or(Path::new("."));
        let text = text(self.text.as_deref(), folder)?;
        let device = device::device(device::Name::Cpu, self.threads)?;
        let result = runs::evaluate(
            &self.checkpoint,
            &text.held_out,
            self.length,
            self.sequences,
            (!self.quiet).then_some("evaluate"),
            device.as_ref(),
        )?;
        context.output.result(
            || json!(result),
            || {
                let mut shown = format!("{}\n{:>12}{:>12}\n", text.name, "up to", "perplexity");
                for (position, loss) in result.positions.iter().zip(&result.loss) {
                    shown.push_str(&format!("{position:>12}{:>12.3}\n", loss.exp()));
                }
                shown
            },
        );
        Ok(())
    }
}
