//! The options that decide what a run computes: each is a key of the configuration, laid over a file's.

use crate::failure::Failure;
use baton_config::{InitialStateConfig, Said, Shape};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What decides a run, but for its model.
#[derive(clap::Args)]
pub struct Options {
    /// A file of the configuration or of any part of it, TOML or JSON; options are laid over it
    /// (docs/configuration.md)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any key of the configuration: --set schedule.floor=0.01 --set model.block.state_size=64
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print the whole configuration, as TOML or with --json as JSON, and do nothing else
    #[arg(long)]
    pub print_config: bool,
    /// Print what a step on so many ranks would send, and how long it would take on as many H100 by an estimate, and do
    /// nothing else (docs/scale.md)
    #[arg(long, value_name = "RANKS", conflicts_with = "print_config")]
    pub print_cost: Option<usize>,
    /// Optimiser steps; 1000, in a post-training 300 when absent
    #[arg(long)]
    steps: Option<u64>,
    /// Tokens in a training sequence; when absent 64, in a post-training as in the first training
    #[arg(long)]
    length: Option<usize>,
    /// Sequences in a batch; when absent 64, in a post-training as in the first
    #[arg(long)]
    batch: Option<usize>,
    /// Batches whose gradients are summed for one step; when absent 1, in a post-training as in the first
    #[arg(long)]
    parts: Option<usize>,
    /// Segments in time that a sequence is cut into, for less memory and the same gradient; when absent 1,
    /// in a post-training as in the first
    #[arg(long)]
    segments: Option<usize>,
    /// Run layers again in the backward instead of keeping them: less memory, the same bits
    #[arg(long)]
    recompute: bool,
    /// The highest learning rate; when absent 0.003, in a post-training a share of the first one's (--rate-share)
    #[arg(long)]
    rate: Option<f64>,
    /// Steps of linear warm-up; a tenth of the steps, in a first training at most 100, when absent
    #[arg(long)]
    warmup: Option<u64>,
    /// How the rate goes on after the warm-up: cosine, constant, linear, or wsd (constant, then a line over the
    /// last steps); when absent cosine, in a post-training as in the first
    #[arg(long, value_parser = shape)]
    schedule: Option<&'static str>,
    /// The last rate over the highest; when absent 0.1, in a post-training as in the first
    #[arg(long)]
    floor: Option<f64>,
    /// Steps of the last part of a wsd schedule; a tenth of all when absent
    #[arg(long)]
    decay: Option<u64>,
    /// AdamW's decay of the first moment; when absent 0.9, in a post-training as in the first
    #[arg(long)]
    beta1: Option<f64>,
    /// AdamW's decay of the second moment; when absent 0.95, in a post-training as in the first
    #[arg(long)]
    beta2: Option<f64>,
    /// AdamW's epsilon; when absent 1e-8, in a post-training as in the first
    #[arg(long)]
    epsilon: Option<f64>,
    /// Decay of matrices, times the rate; when absent 0.1, in a post-training as in the first
    #[arg(long)]
    weight_decay: Option<f64>,
    /// The largest global norm of the gradients; when absent 1, in a post-training as in the first
    #[arg(long)]
    clip: Option<f64>,
    /// Where sequences begin: zero, noise:std=0.1, fitted_noise, state_passing:p_zero=0.1,
    /// truncated_bptt, a mixture as 0.5*state_passing + 0.5*zero, or a JSON file (docs/training.md); when absent zero,
    /// in a post-training state_passing
    #[arg(long, value_parser = initial_state)]
    initial_state: Option<InitialStateConfig>,
    /// Seed of all random choices; 1, in a post-training 2 when absent
    #[arg(long)]
    seed: Option<u64>,
}

fn shape(text: &str) -> Result<&'static str, String> {
    let names = Shape::ALL.map(Shape::name);
    let found = names.into_iter().find(|name| *name == text);
    found.ok_or_else(|| format!("expected {}", names.join(", ")))
}

impl Options {
    /// Whether something is printed and nothing else done.
    pub fn prints(&self) -> bool {
        self.print_config || self.print_cost.is_some()
    }

    /// What is said: the file, then `model`, then the options, the general ones last.
    pub fn said(&self, model: Vec<Said>) -> Result<Vec<Said>, Failure> {
        let mut all = match &self.config {
            Some(path) => Said::file(path)?,
            None => Vec::new(),
        };
        all.extend(model);
        for (option, key, value) in [
            ("--steps", "schedule.steps", self.steps.map(Value::from)),
            ("--length", "train_length", self.length.map(Value::from)),
            ("--batch", "batch_size", self.batch.map(Value::from)),
            ("--parts", "parts", self.parts.map(Value::from)),
            ("--segments", "segments", self.segments.map(Value::from)),
            (
                "--recompute",
                "recompute",
                self.recompute.then(|| true.into()),
            ),
            ("--rate", "schedule.peak", self.rate.map(number)),
            ("--warmup", "schedule.warmup", self.warmup.map(Value::from)),
            (
                "--schedule",
                "schedule.shape",
                self.schedule.map(Value::from),
            ),
            ("--floor", "schedule.floor", self.floor.map(number)),
            ("--decay", "schedule.decay", self.decay.map(Value::from)),
            ("--beta1", "optimizer.beta1", self.beta1.map(number)),
            ("--beta2", "optimizer.beta2", self.beta2.map(number)),
            ("--epsilon", "optimizer.epsilon", self.epsilon.map(number)),
            (
                "--weight-decay",
                "optimizer.weight_decay",
                self.weight_decay.map(number),
            ),
            ("--clip", "optimizer.clip", self.clip.map(number)),
            (
                "--initial-state",
                "initial_state",
                self.initial_state.as_ref().map(|state| json!(state)),
            ),
            ("--seed", "seed", self.seed.map(Value::from)),
        ] {
            all.extend(value.map(|value| Said::key(option, key, value)));
        }
        for text in &self.set {
            all.push(Said::setting("--set", text)?);
        }
        Ok(all)
    }
}

/// A number as a value; JSON has no word for one that is not finite, which is then refused as what it is.
fn number(number: f64) -> Value {
    match number.is_finite() {
        true => number.into(),
        false => number.to_string().into(),
    }
}

/// Parses where sequences begin: in short, or the JSON of a file.
fn initial_state(text: &str) -> Result<InitialStateConfig, String> {
    let parsed = match text.ends_with(".json") {
        true => std::fs::read_to_string(text)
            .map_err(|e| format!("{text}: {e}"))?
            .parse(),
        false => text.parse::<InitialStateConfig>(),
    };
    parsed.map_err(|e| e.to_string())
}
