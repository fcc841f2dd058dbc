//! The demonstration: a small Mamba-2 fails past its training length, and state passing repairs it.
//!
//! Train on short segments; evaluate far past them on text that training never saw; post-train the
//! same weights for the same few steps twice, from zero states (the control: more training alone)
//! and from passed states; evaluate both. The setting must be one that fails honestly: with the
//! published decays (A from 1 to 16) so small a model forgets before it can meet an unknown state,
//! so A is drawn from 0.02 to 0.3, a long memory. Nothing is chosen by the plotted text.

use crate::Error;
use crate::corpus;
use crate::initial_state::InitialStateConfig;
use crate::models::{BlockConfig, Mamba2Config, ModelConfig};
use crate::optimizer::AdamWConfig;
use crate::report::demo::{Arm, Report};
use crate::runs::{self, Ended, Place, PostTraining};
use crate::schedule::Schedule;
use crate::trainer::TrainConfig;
use baton_runtime::Device;
use std::path::PathBuf;

/// What a person may choose about the demonstration.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where everything is written.
    pub folder: PathBuf,
    /// A text of one's own instead of the one that is fetched.
    pub text: Option<PathBuf>,
    /// Of all random choices.
    pub seed: u64,
    /// Steps of training from fresh weights.
    pub steps: u64,
    /// Steps of each post-training.
    pub post_steps: u64,
    /// Tokens of each evaluated sequence.
    pub length: usize,
    /// Sequences that are evaluated.
    pub sequences: usize,
    /// Whether progress is shown.
    pub progress: bool,
}

impl DemoOptions {
    /// The demonstration as `make demo` runs it.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        DemoOptions {
            folder: folder.into(),
            text: None,
            seed: 1,
            steps: 1000,
            post_steps: 300,
            length: 4096,
            sequences: 64,
            progress: true,
        }
    }
}

impl DemoOptions {
    /// Where one of its runs lives.
    fn place(&self, name: &str) -> Place {
        Place {
            folder: self.folder.join(name),
            checkpoint_every: 500,
            checkpoint_minutes: None,
            title: self.progress.then(|| name.to_string()),
        }
    }
}

/// The run from fresh weights.
pub fn base_config(seed: u64, steps: u64) -> TrainConfig {
    TrainConfig {
        model: ModelConfig {
            vocab_size: 256,
            hidden_size: 128,
            num_hidden_layers: 2,
            layer_norm_epsilon: 1e-5,
            tie_word_embeddings: true,
            block: BlockConfig::Mamba2(Mamba2Config {
                head_dim: 32,
                state_size: 64,
                a_init_range: [0.02, 0.3],
                ..Mamba2Config::default()
            }),
        },
        train_length: 64,
        batch_size: 64,
        parts: 1,
        recompute: false,
        schedule: Schedule {
            peak: 3e-3,
            warmup: 100.min(steps / 10),
            steps,
            floor: 0.1,
        },
        optimizer: AdamWConfig::default(),
        initial_state: InitialStateConfig::Zero,
        seed,
    }
}

/// Runs it; writes report.json, perplexity.svg and perplexity.png into the folder. A killed run
/// resumes at its last checkpoint.
pub fn run(options: &DemoOptions, device: &dyn Device) -> Result<Report, Error> {
    let folder = &options.folder;
    let text = match &options.text {
        Some(path) => corpus::file(path)?,
        None => corpus::austen(&folder.join("text"))?,
    };
    let config = base_config(options.seed, options.steps);
    let base = runs::train(&config, &text, &options.place("base"), device)?;
    let post = |name: &str, initial_state| {
        let seed = options.seed.wrapping_add(1);
        let post = PostTraining::new(initial_state, options.post_steps, seed);
        runs::post_train(&base.checkpoint, &post, &text, &options.place(name), device)
    };
    let control = post("control", InitialStateConfig::Zero)?;
    let passing = post("state_passing", InitialStateConfig::state_passing())?;
    let mut positions = Vec::new();
    let mut arm = |ended: &Ended| -> Result<Arm, Error> {
        let (length, sequences) = (options.length, options.sequences);
        let title = options.progress.then_some("evaluate");
        let text = &text.held_out;
        let result = runs::evaluate(&ended.checkpoint, text, length, sequences, title, device)?;
        positions = result.positions;
        Ok(Arm {
            loss: result.loss,
            tokens_seen: ended.progress.tokens,
            seconds: ended.progress.seconds,
        })
    };
    let (base, control, state_passing) = (arm(&base)?, arm(&control)?, arm(&passing)?);
    let report = Report {
        train_length: config.train_length,
        positions,
        base,
        control,
        state_passing,
        seed: options.seed,
        text: text.name.clone(),
    };
    report.write(&folder.join("report.json"))?;
    report.figure().write(&folder.join("perplexity"))?;
    Ok(report)
}
