//! `baton train`: a language model from fresh weights.

use crate::Context;
use crate::device;
use crate::failure::Failure;
use crate::gpu::Dtype;
use baton_train::checkpoint::write_whole;
use baton_train::corpus;
use baton_train::data::shards::{self, Part};
use baton_train::data::{Corpus, Source, Text, documents};
use baton_train::initial_state::InitialStateConfig;
use baton_train::models::{BlockConfig, LinearAttentionConfig};
use baton_train::runs::{self, Ended, Place};
use baton_train::small::{self, base_config};
use baton_train::tasks::{Material, TaskConfig, TaskSource};
use baton_train::tokenizer::{self, Tokenizer};
use baton_train::trainer::TrainConfig;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The share of a text that training never sees.
pub const HELD_OUT: f64 = 0.15;

/// Train a language model on a text or a task
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton train --text book.txt --folder runs/small\n  \
    baton train --folder runs/gla --block gla --steps 2000\n  \
    baton train --folder runs/copy --task copying:max=20 --length 128\n\n\
    Without --text, novels by Jane Austen are fetched from the distribution's package. Run again\n\
    with the same arguments, it resumes at the last checkpoint, to the bit; a folder of another\n\
    configuration is refused. The folder holds checkpoint.safetensors and metrics.jsonl."
)]
pub struct Train {
    #[command(flatten)]
    place: Run,
    /// A JSON file of the whole configuration, instead of the options below
    #[arg(long, conflicts_with_all = [
        "block", "steps", "length", "batch", "parts", "recompute", "rate", "initial_state", "seed",
    ])]
    config: Option<PathBuf>,
    /// The block of the model
    #[arg(long, value_enum, default_value = "mamba2")]
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
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Block {
    /// Mamba-2, with long memories from the start
    Mamba2,
    /// Mamba, the first
    Mamba1,
    /// Linear attention without decay
    #[value(name = "linear_attention")]
    LinearAttention,
    /// A decay fixed for each head
    Retnet,
    /// A decay for each head and step
    #[value(name = "simple_gla")]
    SimpleGla,
    /// Gated linear attention: a decay for each key and step
    Gla,
    /// HGRN2: as much is written as is forgotten
    Hgrn2,
    /// RWKV-6's recurrence
    Rwkv6,
    /// Gated DeltaNet: the delta rule with a decay for each head
    #[value(name = "gated_delta_net")]
    GatedDeltaNet,
    /// Kimi Delta Attention: the delta rule with a decay for each key
    Kda,
    /// mLSTM, of xLSTM
    Mlstm,
    /// RWKV-7
    Rwkv7,
}

impl Train {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let mut config = match &self.config {
            Some(path) => read(path)?,
            None => self.config(),
        };
        let (device, source) = (self.place.device()?, self.place.source(Tokenizer::Bytes)?);
        if self.config.is_none() {
            config.model.vocab_size = source.vocab_size();
        }
        if let Some(data) = &self.place.data {
            self.place.keep_tokenizer(data)?;
        }
        let place = self.place.place("train");
        let ended = runs::train(&config, source.as_ref(), &place, device.as_ref())?;
        finish(context, &ended);
        Ok(())
    }

    fn config(&self) -> TrainConfig {
        let mut config = base_config(self.seed, self.steps);
        config.train_length = self.length;
        config.batch_size = self.batch;
        config.parts = self.parts;
        config.recompute = self.recompute;
        config.initial_state = self.initial_state.clone();
        config.schedule.peak = self.rate;
        let family: fn(LinearAttentionConfig) -> BlockConfig = match self.block {
            Block::Mamba2 => return config,
            Block::Mamba1 => return small::with(config, "mamba1"),
            Block::GatedDeltaNet => return small::with(config, "gated_delta_net"),
            Block::Kda => return small::with(config, "kda"),
            Block::Mlstm => return small::with(config, "mlstm"),
            Block::Rwkv7 => return small::with(config, "rwkv7"),
            Block::LinearAttention => BlockConfig::LinearAttention,
            Block::Retnet => BlockConfig::Retnet,
            Block::SimpleGla => BlockConfig::SimpleGla,
            Block::Gla => BlockConfig::Gla,
            Block::Hgrn2 => BlockConfig::Hgrn2,
            Block::Rwkv6 => BlockConfig::Rwkv6,
        };
        config.model.block = family(LinearAttentionConfig {
            num_heads: 4,
            key_dim: 32,
            value_dim: 32,
            gate_rank: 16,
            gate_normalizer: 16.0,
        });
        config
    }
}

impl Run {
    /// The text, or the task in the tokens of `tokenizer`.
    pub fn source(&self, tokenizer: Tokenizer) -> Result<Box<dyn Source>, Failure> {
        let Some(task) = &self.task else {
            return self.corpus(&tokenizer);
        };
        let config: TaskConfig = task.parse()?;
        let haystack = match &self.text {
            Some(path) => Some(String::from_utf8_lossy(&corpus::file(path)?.train).into()),
            None => None,
        };
        Ok(Box::new(TaskSource::new(
            config,
            &Material::new(tokenizer, haystack),
        )?))
    }

    /// The part of the data to train on, in the tokens of `tokenizer`.
    fn corpus(&self, tokenizer: &Tokenizer) -> Result<Box<dyn Source>, Failure> {
        let mut corpus = match (&self.data, &self.text) {
            (Some(folder), _) => shards::open(folder, Part::Train)?,
            (None, Some(path))
                if self.reset_documents || path.is_dir() || tokenizer.path().is_some() =>
            {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let corpus = Corpus::new(&name, &documents(path)?, tokenizer, None)?;
                corpus.split(HELD_OUT).0
            }
            (None, None) if self.reset_documents || tokenizer.path().is_some() => {
                return Err(Failure::new(
                    "neither --text nor --data given, expected one of them with a tokenizer or \
                     --reset-documents",
                ));
            }
            (None, _) => return Ok(Box::new(text(self.text.as_deref(), &self.folder)?)),
        };
        corpus.reset = self.reset_documents;
        Ok(Box::new(corpus))
    }

    /// Where it trains.
    pub fn device(&self) -> Result<Box<dyn baton_runtime::Device>, Failure> {
        if self.device == device::Name::Cuda && !cfg!(feature = "train-cuda") {
            return Err(Failure::new(
                "--device cuda given, expected another: this program was built without training on a \
                 GPU. Build it with `cargo build --release -p baton --features train-cuda`",
            ));
        }
        Ok(device::chosen(self.device, self.dtype, self.threads)?)
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
    pub fn place(&self, title: &str) -> Place {
        Place {
            folder: self.folder.clone(),
            checkpoint_every: self.checkpoint_every,
            checkpoint_minutes: self.checkpoint_minutes,
            title: (!self.quiet).then(|| title.to_string()),
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

/// Says what a run ended with.
pub fn finish(context: &Context, ended: &Ended) {
    context.output.result(
        || json!(ended),
        || {
            let progress = &ended.progress;
            let loss = ended
                .loss
                .map_or("no step was left".into(), |loss| format!("loss {loss:.4}"));
            format!(
                "{loss} after {} steps, {} tokens in all, {:.0} s in all\n{}\n",
                progress.step,
                progress.tokens,
                progress.seconds,
                ended.checkpoint.display()
            )
        },
    );
}

fn read(path: &Path) -> Result<TrainConfig, Failure> {
    let wrong = |why: String| Failure::new(format!("{}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    serde_json::from_slice(&text).map_err(|e| wrong(format!("no training configuration: {e}")))
}
