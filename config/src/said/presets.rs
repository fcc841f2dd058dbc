//! Configurations by name: the published sizes, the demonstration's, the reproduction's.
//!
//! Sizes are those of the published checkpoints, training is as their papers say it. What a paper does not say is
//! what the one that it follows says (the warm-up, of GPT-3) or this program's default, and the page
//! (docs/configuration.md) says which. Batches are cut in parts of eight sequences.

use crate::Error;
use baton_ir::text::nearest;
use serde_json::{Value, json};

/// A configuration by name.
pub struct Preset {
    /// What it is called.
    pub name: &'static str,
    /// Where its values are from.
    pub source: &'static str,
    make: fn() -> Value,
}

const MAMBA: &str = "arXiv 2312.00752, sizes of the checkpoints state-spaces/mamba-*";
const MAMBA2: &str = "arXiv 2405.21060, sizes of the checkpoints state-spaces/mamba2-*";
const GLA: &str = "arXiv 2312.06635";
const REPRODUCTION: &str = "benches/reproduction/plan.json";

/// All of them.
pub const PRESETS: &[Preset] = &[
    preset("mamba-130m", MAMBA, || mamba(768, 24, 3e-3)),
    preset("mamba-370m", MAMBA, || mamba(1024, 48, 1.5e-3)),
    preset("mamba-790m", MAMBA, || mamba(1536, 48, 1.25e-3)),
    preset("mamba-1.4b", MAMBA, || mamba(2048, 48, 1e-3)),
    preset("mamba-2.8b", MAMBA, || mamba(2560, 64, 8e-4)),
    preset("mamba2-130m", MAMBA2, || mamba2(768, 24, 3e-3)),
    preset("mamba2-370m", MAMBA2, || mamba2(1024, 48, 1.5e-3)),
    preset("mamba2-780m", MAMBA2, || mamba2(1536, 48, 1.25e-3)),
    preset("mamba2-1.3b", MAMBA2, || mamba2(2048, 48, 1e-3)),
    preset("mamba2-2.7b", MAMBA2, || mamba2(2560, 64, 8e-4)),
    preset("gla-340m", GLA, || gla(1024, 2816, 256, 15e9, 0.5e9)),
    preset("gla-1.3b", GLA, || gla(2048, 5632, 1024, 100e9, 1e9)),
    preset("demo", "baton demo", || json!({})),
    preset("reproduction-mamba2-64", REPRODUCTION, || {
        reproduction(64, 32)
    }),
    preset("reproduction-mamba2-64-1.4m", REPRODUCTION, || {
        let model = json!({"hidden_size": 256, "num_hidden_layers": 3});
        with(reproduction(64, 32), "model", model)
    }),
    preset("reproduction-mamba2-256", REPRODUCTION, || {
        reproduction(256, 8)
    }),
    preset("reproduction-mamba2-1024", REPRODUCTION, || {
        reproduction(1024, 2)
    }),
    preset("reproduction-retnet-64", REPRODUCTION, || {
        with(reproduction(64, 32), "model", json!({"block": "retnet"}))
    }),
    preset("reproduction-gla-64", REPRODUCTION, || {
        with(reproduction(64, 32), "model", json!({"block": "gla"}))
    }),
    preset("reproduction-mamba1-64", REPRODUCTION, || {
        with(reproduction(64, 32), "model", json!({"block": "mamba1"}))
    }),
    preset("reproduction-gated-delta-net-64", REPRODUCTION, || {
        let block =
            json!({"type": "gated_delta_net", "num_heads": 4, "head_dim": 32, "value_dim": 32});
        with(reproduction(64, 32), "model", json!({"block": block}))
    }),
    preset("reproduction-passkey", REPRODUCTION, || {
        let schedule = json!({"peak": 5e-3, "warmup": 50, "steps": 300});
        with(reproduction(24, 32), "schedule", schedule)
    }),
    preset("reproduction-copying", REPRODUCTION, || {
        let schedule = json!({"peak": 5e-3, "warmup": 50, "steps": 3000});
        with(reproduction(64, 32), "schedule", schedule)
    }),
];

const fn preset(name: &'static str, source: &'static str, make: fn() -> Value) -> Preset {
    Preset { name, source, make }
}

/// What the preset of this name says.
pub(super) fn said(name: &str) -> Result<Value, Error> {
    let names = PRESETS.iter().map(|preset| preset.name);
    match PRESETS.iter().find(|preset| preset.name == name) {
        Some(preset) => Ok((preset.make)()),
        None => Err(Error::Config(format!(
            "the preset `{name}` given, expected {}",
            match nearest(name, names.clone()) {
                Some(near) => format!("one that there is: did you mean `{near}`?"),
                None => format!("one of {}", names.collect::<Vec<_>>().join(", ")),
            }
        ))),
    }
}

fn with(mut all: Value, key: &str, value: Value) -> Value {
    all[key] = value;
    all
}

/// 300 billion tokens in steps of half a million, with a warm-up of 375 million tokens.
fn pile(peak: f64) -> Value {
    json!({
        "train_length": 2048, "batch_size": 8, "parts": 32,
        "schedule": {"shape": "cosine", "peak": peak, "warmup": 715, "steps": 572_204, "floor": 1e-5 / peak},
        "optimizer": {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1, "clip": 1.0},
    })
}

fn mamba(width: usize, layers: usize, peak: f64) -> Value {
    let model = json!({
        "vocab_size": 50280, "hidden_size": width, "num_hidden_layers": layers, "layer_norm_epsilon": 1e-5,
        "block": {"type": "mamba1", "expand": 2, "state_size": 16, "conv_kernel": 4},
    });
    with(pile(peak), "model", model)
}

fn mamba2(width: usize, layers: usize, peak: f64) -> Value {
    let model = json!({
        "vocab_size": 50288, "hidden_size": width, "num_hidden_layers": layers, "layer_norm_epsilon": 1e-5,
        "block": {
            "type": "mamba2", "expand": 2, "head_dim": 64, "state_size": 128, "n_groups": 1, "conv_kernel": 4,
            "a_init_range": [1.0, 16.0],
        },
    });
    with(pile(peak), "model", model)
}

/// Keys of half the width, values of all of it, over four heads.
fn gla(width: usize, feed_forward: usize, batch: usize, tokens: f64, warmup: f64) -> Value {
    let step = (batch * 2048) as f64;
    json!({
        "model": {
            "vocab_size": 32000, "hidden_size": width, "num_hidden_layers": 24, "layer_norm_epsilon": 1e-6,
            "tie_word_embeddings": false, "intermediate_size": feed_forward,
            "block": {
                "type": "recurrence", "text": "gla", "num_heads": 4, "dims": {"K": width / 8, "V": width / 4},
                "ports": {"g": "rank=16,scale=0.0625"},
            },
        },
        "train_length": 2048, "batch_size": 8, "parts": batch / 8,
        "schedule": {
            "shape": "cosine", "peak": 3e-4, "warmup": (warmup / step).round() as u64,
            "steps": (tokens / step).round() as u64, "floor": 0.1,
        },
        "optimizer": {"weight_decay": 0.01, "clip": 1.0},
    })
}

/// The demonstration's model, longer and in smaller batches.
fn reproduction(length: usize, batch: usize) -> Value {
    json!({
        "train_length": length, "batch_size": batch,
        "schedule": {"peak": 3e-3, "warmup": 100, "steps": 2000},
    })
}
