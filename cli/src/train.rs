//! `baton train`: a language model from fresh weights.

use crate::block::Block;
use crate::choices::{self, Choices};
use crate::context::Context;
use crate::device;
use crate::failure::Failure;
use crate::gpu::Dtype;
use crate::stop::{self, Stop};
use baton_train::corpus;
use baton_train::data::Text;
use baton_train::files::write_whole;
use baton_train::initial_state::InitialStateConfig;
use baton_train::models::{BlockConfig, said};
use baton_train::origin::Origin;
use baton_train::runs::{self, Ended, Place};
use baton_train::small::base_config;
use baton_train::tokenizer::{self, Tokenizer};
use baton_train::trainer::TrainConfig;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Train a language model on a text or a task
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton train --text book.txt --folder runs/small\n  \
    baton train --folder runs/gla --block gla --steps 2000\n  \
    baton train --folder runs/my --block my.rec --dim K=16 --port k:conv=4,act=silu,norm=l2\n  \
    baton train --folder runs/copy --task copying:max=20 --length 128\n\n\
    Without --text, novels by Jane Austen are fetched from the distribution's package. Run again\n\
    with the same arguments, it resumes at the last checkpoint, to the bit; a folder of another\n\
    configuration is refused. The folder holds checkpoint.safetensors and metrics.jsonl. Stopped by\n\
    Ctrl-C or SIGTERM it ends after its step with a checkpoint; a second one ends it at once."
)]
pub struct Train {
    #[command(flatten)]
    place: Run,
    /// A JSON file of the whole configuration, instead of the options below
    #[arg(long, conflicts_with_all = [
        "block", "heads", "groups", "dim", "port", "steps", "length", "batch", "parts", "recompute", "rate",
        "initial_state", "seed",
    ])]
    config: Option<PathBuf>,
    #[command(flatten)]
    block: Block,
    /// Optimiser steps
    #[arg(long, default_value_t = 1000)]
    steps: u64,
    /// Tokens in a training sequence
    #[arg(long, default_value_t = 64)]
    length: usize,
    /// Sequences in a batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Batches whose gradients are summed for one step
    #[arg(long, default_value_t = 1)]
    parts: usize,
    /// Run layers again in the backward instead of keeping them: less memory, the same bits
    #[arg(long)]
    recompute: bool,
    /// The highest learning rate
    #[arg(long, default_value_t = 3e-3)]
    rate: f64,
    /// Where sequences begin: zero, noise:std=0.1, fitted_noise, state_passing:p_zero=0.1,
    /// truncated_bptt, a mixture as 0.5*state_passing + 0.5*zero, or a JSON file (docs/training.md)
    #[arg(long, value_parser = initial_state, default_value = "zero")]
    initial_state: InitialStateConfig,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What every run is given.
#[derive(clap::Args)]
pub struct Run {
    /// Where the run is kept
    #[arg(long)]
    folder: PathBuf,
    /// A text to train on, or a folder of them; the last 15 % are held out
    #[arg(long)]
    text: Option<PathBuf>,
    /// A folder that `baton tokenize` wrote, to train on instead
    #[arg(long, conflicts_with_all = ["text", "task"])]
    data: Option<PathBuf>,
    /// Begin every document at a zero state, also inside of a sequence
    #[arg(long, conflicts_with = "task")]
    reset_documents: bool,
    /// A task to train on instead, `name` or `name:key=value,..` (docs/tasks.md); --text is what it
    /// hides answers in
    #[arg(long)]
    task: Option<String>,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 500)]
    checkpoint_every: u64,
    /// Minutes after which a checkpoint is due however many steps were done
    #[arg(long)]
    checkpoint_minutes: Option<f64>,
    /// Threads; every core when absent
    #[arg(long, value_parser = device::threads())]
    threads: Option<usize>,
    /// Where it trains; cuda needs a build with --features train-cuda
    #[arg(long, value_enum, default_value = "cpu")]
    device: device::Name,
    /// The dtype of the recurrence's matrices on a GPU; everything else is f32 in any case
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// Whose choices the CPU's plans are made by; a run keeps those that it began with (docs/tuning.md)
    #[arg(long, value_enum, default_value = "shipped")]
    choices: Choices,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Train {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let mut config = match &self.config {
            Some(path) => read(path)?,
            None => self.config()?,
        };
        let device = self.place.device()?;
        let origin = match self.place.given(false)? {
            Some(origin) => origin,
            None if self.place.reset_documents => {
                return Err(Failure::new(
                    "--reset-documents given without --text or --data, expected one of them",
                ));
            }
            None => Origin::Novels {
                folder: self.place.folder.join("text"),
            },
        };
        let source = origin.open(&Tokenizer::Bytes)?.train;
        if self.config.is_none() {
            config.model.vocab_size = source.vocab_size();
        }
        if let Some(data) = &self.place.data {
            self.place.keep_tokenizer(data)?;
        }
        if let BlockConfig::Recurrence(block) = &config.model.block
            && !self.place.quiet
        {
            context.output.note(&block.to_string());
        }
        let stop = Stop::listen()?;
        let place = self.place.place("train", &stop, origin);
        let ended = runs::train(&config, source.as_ref(), &place, device.as_ref())?;
        finish(context, &ended, &stop)
    }

    fn config(&self) -> Result<TrainConfig, Failure> {
        let mut config = base_config(self.seed, self.steps);
        config.train_length = self.length;
        config.batch_size = self.batch;
        config.parts = self.parts;
        config.recompute = self.recompute;
        config.initial_state = self.initial_state.clone();
        config.schedule.peak = self.rate;
        self.block.put(&mut config)?;
        Ok(config)
    }
}

impl Run {
    /// The data that was given, if any was; `documents` reads a text as those of tokens.
    pub fn given(&self, documents: bool) -> Result<Option<Origin>, Failure> {
        let whole = |path: &Path| {
            let found = path.canonicalize();
            found.map_err(|why| Failure::new(format!("{}: {why}", path.display())))
        };
        let reset = self.reset_documents;
        Ok(match (&self.task, &self.data, &self.text) {
            (Some(task), _, haystack) => Some(Origin::Task {
                task: task.clone(),
                haystack: haystack.as_deref().map(whole).transpose()?,
            }),
            (None, Some(path), _) => Some(Origin::Shards {
                path: whole(path)?,
                reset,
            }),
            (None, None, Some(path)) => Some(Origin::Text {
                path: whole(path)?,
                documents: documents || reset || path.is_dir(),
                reset,
            }),
            (None, None, None) => None,
        })
    }

    /// Where it trains.
    pub fn device(&self) -> Result<Box<dyn baton_runtime::Device>, Failure> {
        if self.device == device::Name::Cuda && !cfg!(feature = "train-cuda") {
            return Err(Failure::new(
                "--device cuda given, expected another: this program was built without training on a \
                 GPU. Build it with `cargo build --release -p baton --features train-cuda`",
            ));
        }
        match (self.device, self.dtype) {
            (device::Name::Cpu, None | Some(Dtype::F32)) => {
                let store = choices::of_run(&self.folder, self.choices)?;
                Ok(choices::cpu(Arc::new(store), self.threads)?)
            }
            (name, dtype) => Ok(device::chosen(name, dtype, self.threads)?),
        }
    }

    /// Copies the vocabulary in `from`, if it has one, beside the run: its text is in these tokens.
    pub fn keep_tokenizer(&self, from: &Path) -> Result<(), Failure> {
        let (own, kept) = (
            from.join(tokenizer::FILE),
            self.folder.join(tokenizer::FILE),
        );
        if own.is_file() && !kept.exists() {
            let text = std::fs::read(&own);
            let text = text.map_err(|e| Failure::new(format!("{}: {e}", own.display())))?;
            write_whole(&kept, &text)?;
        }
        Ok(())
    }

    /// Where the run is kept, as the library asks for it.
    pub fn place(&self, title: &str, stop: &Stop, origin: Origin) -> Place {
        Place {
            folder: self.folder.clone(),
            checkpoint_every: self.checkpoint_every,
            checkpoint_minutes: self.checkpoint_minutes,
            title: (!self.quiet).then(|| title.to_string()),
            device: device::words(self.device, self.threads),
            origin: Some(origin),
            stop: Some(stop.asked.clone()),
        }
    }
}

/// A text of one's own, or the one that is fetched into `folder`.
pub fn text(own: Option<&Path>, folder: &Path) -> Result<Text, Failure> {
    Ok(match own {
        Some(path) => corpus::file(path)?,
        None => corpus::austen(&folder.join("text"))?,
    })
}

/// Parses where sequences begin: in short, or the JSON of a file.
pub fn initial_state(text: &str) -> Result<InitialStateConfig, String> {
    let parsed = match text.ends_with(".json") {
        true => std::fs::read_to_string(text)
            .map_err(|e| format!("{text}: {e}"))?
            .parse(),
        false => text.parse::<InitialStateConfig>(),
    };
    parsed.map_err(|e| e.to_string())
}

/// Says what a run ended with; one that was stopped ends the program as the signal would have.
pub fn finish(context: &Context, ended: &Ended, stop: &Stop) -> Result<(), Failure> {
    let progress = &ended.progress;
    if ended.stopped() {
        let (signal, step) = (stop.signal(), progress.step);
        context.output.result(
            || json!(ended),
            || {
                let (name, steps) = (stop::name(signal), ended.steps);
                let place = match ended.checkpoint.exists() {
                    true => format!(", which {} holds", ended.checkpoint.display()),
                    false => String::new(),
                };
                format!(
                    "stopped by {name} after step {step} of {steps}{place}: the same command goes on from \
                     there\n"
                )
            },
        )?;
        return Err(Failure::Stopped(signal));
    }
    context.output.result(
        || json!(ended),
        || {
            let loss = ended
                .loss
                .map_or("no step was left".into(), |loss| format!("loss {loss:.4}"));
            let skipped = match progress.skipped {
                0 => String::new(),
                n => format!(" ({n} not finite and not taken)"),
            };
            format!(
                "{}\n{loss} after {} steps{skipped}, {} tokens in all, {:.0} s in all\n{}\n",
                ended.data,
                progress.step,
                progress.tokens,
                progress.seconds,
                ended.checkpoint.display()
            )
        },
    )
}

fn read(path: &Path) -> Result<TrainConfig, Failure> {
    let wrong = |why: String| Failure::new(format!("{}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let none = |e: serde_json::Error| wrong(format!("no training configuration: {e}"));
    let mut config = serde_json::from_slice(&text).map_err(none)?;
    said(&mut config, path.parent().unwrap_or(Path::new(".")))?;
    serde_json::from_value(config).map_err(none)
}
