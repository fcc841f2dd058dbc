//! Checkpoints of the time when the linear-attention family was a block of its own (tests/golden/README.md):
//! fresh weights are drawn as they were, runs go on where they stopped.

use baton_data::tokenizer::Tokenizer;
use baton_runtime::Tensor;
use baton_runtime::device::interpreter::Interpreter;
use baton_tasks::{Material, TaskSource};
use baton_train::trainer::Trainer;
use baton_weights::checkpoint::Checkpoint;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FAMILY: [&str; 6] = [
    "linear_attention",
    "retnet",
    "simple_gla",
    "gla",
    "hgrn2",
    "rwkv6",
];

fn golden(name: &str, at: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/older");
    folder.join(format!("{name}-{at}.safetensors"))
}

/// Weights agree to what products on another machine may differ in.
fn same(name: &str, got: &BTreeMap<String, Tensor>, want: &BTreeMap<String, Tensor>) {
    let names = |all: &BTreeMap<String, Tensor>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(got), names(want), "{name}");
    for (weight, want) in want {
        let got = &got[weight];
        assert_eq!(got.shape, want.shape, "{name}: {weight}");
        let far = got.data.iter().zip(&want.data).map(|(a, b)| (a - b).abs());
        let far = far.fold(0.0, f32::max);
        assert!(far < 2e-6, "{name}: {weight} is {far} off");
    }
}

#[test]
fn runs_of_the_older_form_go_on() {
    let task = "recall:vocabulary=10,pairs=2".parse().unwrap();
    let source = TaskSource::new(task, &Material::new(Tokenizer::Bytes, None)).unwrap();
    for name in FAMILY {
        let half = Checkpoint::read(&golden(name, "half")).unwrap();
        let end = Checkpoint::read(&golden(name, "end")).unwrap();
        let stored: Value = serde_json::from_str(&half.config).unwrap();
        assert_eq!(stored["config"]["model"]["block"]["type"], name);
        let (config, _) = half.made_by(&golden(name, "half")).unwrap();
        let today = json!(config);
        assert_eq!(today["model"]["block"]["type"], "recurrence");
        assert_eq!(config.model.block.name(), name);

        let mut fresh = Trainer::new(config.clone(), &Interpreter, &source).unwrap();
        (0..3).for_each(|_| {
            fresh.step().unwrap();
        });
        same(name, &fresh.weights(), &half.weights);
        let path = golden(name, "half");
        let mut run = Trainer::resume(config.clone(), &Interpreter, &source, &path).unwrap();
        (0..3).for_each(|_| {
            run.step().unwrap();
        });
        same(name, &run.weights(), &end.weights);

        let mut other = config;
        let mut block = today["model"]["block"].clone();
        block["dims"]["V"] = json!(4);
        let mut model = today["model"].clone();
        model["block"] = block;
        other.model = serde_json::from_value(model).unwrap();
        let refused = Trainer::resume(other, &Interpreter, &source, &path);
        let error = refused.err().expect("refused").to_string();
        assert!(
            error.contains("`config.model.block.dims.V` was 5 there and is 4 now"),
            "{error}"
        );
    }
}
