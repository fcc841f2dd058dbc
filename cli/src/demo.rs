//! `baton demo`: failure past the training length, and its repair, from text to plot.

use crate::context::Context;
use crate::device;
use crate::failure::Failure;
use baton_train::demo::{self, DemoOptions};
use serde_json::json;
use std::path::PathBuf;

/// Show that a recurrent model fails past its training length, and that state passing repairs it
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  baton demo --folder target/demo\n  \
    baton demo --kept checkpoints/mamba2-64\n\n\
    Fetches novels by Jane Austen (or takes --text), trains a small Mamba-2 on segments of 64\n\
    bytes, post-trains it twice, and writes report.json, perplexity.svg and perplexity.png. With\n\
    --kept it evaluates models that were trained before: base, zero-500-steps and\n\
    state-passing-500-steps in that folder.")]
pub struct Demo {
    /// Where everything is written
    #[arg(long, default_value = "target/demo")]
    folder: PathBuf,
    /// A text of one's own; its last 15 % are held out
    #[arg(long)]
    text: Option<PathBuf>,
    /// Evaluate the models in this folder instead of training
    #[arg(long, conflicts_with_all = ["seed", "steps"])]
    kept: Option<PathBuf>,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps of the first training
    #[arg(long)]
    steps: Option<u64>,
    /// Threads; every core when absent
    #[arg(long, value_parser = device::threads())]
    threads: Option<usize>,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Demo {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let mut options = DemoOptions::new(self.folder);
        options.text = self.text;
        options.kept = self.kept;
        options.seed = self.seed;
        options.steps = self.steps.unwrap_or(options.steps);
        options.progress = !self.quiet;
        let device = device::device(device::Name::Cpu, self.threads)?;
        let report = demo::run(&options, device.as_ref())?;
        let folder = options.folder.display();
        let files =
            format!("{folder}/report.json, {folder}/perplexity.svg, {folder}/perplexity.png");
        context
            .output
            .result(|| json!(report), || format!("{report}\n{files}\n"))
    }
}
