//! Checkpoints of every layout, changed at random (`tests/src/fuzz`, with no more than its
//! generator beside it).
//!
//! A small share of it runs with the suite; `make fuzz BYTES=.. SEED=..` runs as much as is wanted,
//! and docs/fuzzing.md has what that found.

#[path = "../../tests/src/fuzz/mod.rs"]
mod fuzz;
#[allow(dead_code)] // the suite's generator, of which mutations need a part
#[path = "../../tests/src/splitmix.rs"]
mod splitmix;

use baton_weights::checkpoint::Checkpoint;
use baton_weights::pretrained;
use fuzz::{HEADER, Reader, Scratch, at, check};
use splitmix::Random;
use std::fs;

#[test]
fn checkpoints() {
    let scratch = Scratch::new("checkpoints");
    let tensor = |shape: &[usize]| baton_runtime::Tensor {
        shape: shape.to_vec(),
        data: (0..shape.iter().product::<usize>())
            .map(|i| i as f32)
            .collect::<Vec<_>>(),
    };
    let checkpoint = Checkpoint {
        config: "{\"config\": {\"train_length\": 4}}".into(),
        progress: Default::default(),
        weights: [("w".to_string(), tensor(&[2, 2]))].into(),
        moments: Default::default(),
        carried: vec![("s".into(), tensor(&[3]))],
        origin: None,
        changes: Vec::new(),
    };
    let path = scratch.0.join("made.safetensors");
    checkpoint.write(&path).expect("it is written");
    let corpus = vec![fs::read(&path).expect("a file")];
    let read = |bytes: &[u8]| Checkpoint::read(&scratch.file("read", bytes)).is_ok();
    check(
        Reader {
            name: "checkpoints",
            corpus,
            words: HEADER,
            read: &read,
        },
        1 << 18,
    );
}

/// Checkpoints as others publish them: `file` of a folder changes, the rest stays.
fn published(name: &str, folder: &str, file: &str, words: &[&str], few: usize) {
    let scratch = Scratch::new(name);
    for entry in fs::read_dir(at(folder)).expect("a folder") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, scratch.0.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let corpus = vec![fs::read(at(folder).join(file)).expect("a file")];
    let read = |bytes: &[u8]| {
        scratch.file(file, bytes);
        pretrained::read(&scratch.0).is_ok()
    };
    check(
        Reader {
            name,
            corpus,
            words,
            read: &read,
        },
        few,
    );
}

const SETTINGS: &[&str] = &[
    "\"model_type\": \"baton\"",
    "\"hidden_size\": 0",
    "\"num_heads\"",
    "\"head_dim\"",
    "\"expand\"",
    "\"vocab_size\"",
    "\"d_model\": 4",
    "\"ssm_cfg\"",
    "\"time_step_limit\": [0, Infinity]",
    "\"n_groups\"",
    "\"conv_kernel\"",
    "\"num_hidden_layers\"",
    "\"expand_v\": 0.5",
    "\"num_v_heads\"",
    "\"intermediate_size\"",
    "\"time_step_rank\": \"auto\"",
    "\"ffn_round_up_to_multiple_of\"",
    "\"value_dim\"",
    "\"fuse_norm\": false",
];

#[test]
fn weights() {
    published(
        "weights-hf",
        "train/tests/golden/mamba2_hf",
        "model.safetensors",
        HEADER,
        1 << 22,
    );
    published(
        "weights-authors",
        "train/tests/golden/mamba2_authors",
        "pytorch_model.bin",
        HEADER,
        1 << 22,
    );
}

#[test]
fn configurations() {
    published(
        "config-hf",
        "train/tests/golden/mamba2_hf",
        "config.json",
        SETTINGS,
        1 << 16,
    );
    published(
        "config-authors",
        "train/tests/golden/mamba2_authors",
        "config.json",
        SETTINGS,
        1 << 16,
    );
    for class in [
        "mamba1_hf",
        "mamba1_authors",
        "falcon_mamba_hf",
        "gla_fla",
        "gated_deltanet_fla",
        "rwkv7_fla",
        "xlstm_hf",
    ] {
        let folder = format!("train/tests/golden/{class}");
        let name = format!("config-{class}");
        published(&name, &folder, "config.json", SETTINGS, 1 << 13);
    }
}
