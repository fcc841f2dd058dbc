//! `baton demo`: failure past the training length, and its repair, from text to plot.

use crate::chunks::Chunks;
use crate::context::Context;
use crate::device;
use crate::failure::Failure;
use baton_report::plot::{Axis, Figure, Lines, Series};
use baton_train::demo::retrieval;
use baton_train::demo::{self, DemoOptions, Report};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Show that a recurrent model fails past its training length, and that state passing repairs it
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  baton demo --folder target/demo\n  \
    baton demo --kept checkpoints/mamba2-64\n  \
    baton demo --retrieval\n  baton demo --retrieval --kept runs/drt --length 65536\n\n\
    Reads novels by Jane Austen (or takes --text), trains a small Mamba-2 on segments of 64\n\
    bytes, post-trains it twice, and writes report.json, perplexity.svg and perplexity.png. With\n\
    --kept it evaluates models that were trained before: base, zero-500-steps and\n\
    state-passing-500-steps in that folder.\n\n\
    With --retrieval a model that retrieves (checkpoints/drt, or the folder --kept) reads --length tokens\n\
    of novels with a key hidden in them, and what it retrieved for the answer is printed.")]
#[command(mut_args(of_retrieval))]
pub struct Demo {
    /// Where everything is written
    #[arg(long, default_value = "target/demo")]
    folder: PathBuf,
    /// A text of one's own; its last 15 % are held out
    #[arg(long)]
    text: Option<PathBuf>,
    /// Evaluate the models in this folder instead of training
    #[arg(long, conflicts_with = "steps")]
    kept: Option<PathBuf>,
    /// Seed of all random choices; 1 when absent
    #[arg(long)]
    seed: Option<u64>,
    /// Steps of the first training
    #[arg(long)]
    steps: Option<u64>,
    /// Threads; every core when absent
    #[arg(long, value_parser = device::threads())]
    threads: Option<usize>,
    /// Find a key in a long text with a model that retrieves
    #[arg(long, conflicts_with_all = ["steps", "folder"])]
    retrieval: bool,
    /// Tokens of that text, about
    #[arg(long, default_value_t = 1 << 20)]
    length: usize,
    #[command(flatten)]
    chunks: Chunks,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

/// The options of the second demonstration alone ask for it. What a present option excludes is not required, so both are said.
fn of_retrieval(option: clap::Arg) -> clap::Arg {
    let own = ["length", "chunks_memory", "chunks_folder", "chunks_bf16"];
    match own.contains(&option.get_id().as_str()) {
        true => option
            .requires("retrieval")
            .conflicts_with_all(["steps", "folder"]),
        false => option,
    }
}

impl Demo {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        if self.retrieval {
            return self.find(context);
        }
        if self.kept.is_some() && self.seed.is_some() {
            return Err(Failure::new(
                "--seed given with --kept, whose models were trained with theirs; expected one of them",
            ));
        }
        let mut options = DemoOptions::new(self.folder);
        options.text = self.text;
        options.kept = self.kept;
        options.seed = self.seed.unwrap_or(options.seed);
        options.steps = self.steps.unwrap_or(options.steps);
        options.progress = !self.quiet;
        let device = device::device(device::Name::Cpu, self.threads)?;
        let report = demo::run(&options, device.as_ref())?;
        figure(&report).write(&options.folder.join("perplexity"))?;
        let folder = options.folder.display();
        let files =
            format!("{folder}/report.json, {folder}/perplexity.svg, {folder}/perplexity.png");
        context
            .output
            .result(|| json!(report), || format!("{report}\n{files}\n"))
    }

    /// The second demonstration.
    fn find(self, context: &Context) -> Result<(), Failure> {
        if self.kept.is_none() && !Path::new(retrieval::KEPT).exists() {
            return Err(Failure::new(format!(
                "{}: no such folder: run it in the repository, which has it, or give --kept RUN",
                retrieval::KEPT
            )));
        }
        let options = retrieval::Options {
            kept: self.kept.unwrap_or_else(|| retrieval::KEPT.into()),
            text: self.text,
            length: self.length,
            seed: self.seed.unwrap_or(1),
            keeping: self.chunks.keeping(),
            progress: !self.quiet,
        };
        let device = device::device(device::Name::Cpu, self.threads)?;
        let found = retrieval::run(&options, device.as_ref())?;
        context
            .output
            .result(|| json!(found), || format!("{found}\n"))
    }
}

/// Perplexity by position.
fn figure(report: &Report) -> Figure {
    let series = report.arms().into_iter().enumerate();
    let series = series.map(|(colour, (name, arm))| Series {
        name: name.into(),
        colour,
        points: (report.positions.iter().zip(&arm.loss))
            .map(|(&position, loss)| [position as f64, loss.exp()])
            .collect(),
        band: None,
    });
    Figure::Lines(Lines {
        title: "Perplexity by position".into(),
        x: Axis::log2("tokens read before the one predicted"),
        y: Axis::linear("perplexity"),
        series: series.collect(),
        marks: vec![(
            report.train_length as f64,
            format!("training length, {}", report.train_length),
        )],
    })
}
