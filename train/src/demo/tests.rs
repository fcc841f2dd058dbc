//! The demonstration on the real CPU device, from text to report, and the models that the repository keeps.

use super::{DemoOptions, KEPT, retrieval, run};
use crate::eval::{Subject, perplexity};
use crate::ranks::Alone;
use baton_runtime::device::cpu::Cpu;
use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("baton-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a writable folder");
    folder
}

/// The demonstration in small: the report has what its contract says.
#[test]
fn the_report_keeps_its_contract() {
    let folder = folder("report");
    let text = folder.join("text.txt");
    let sentence = "It is a truth universally acknowledged that a state must be carried. ";
    fs::write(&text, sentence.repeat(400)).expect("a written text");
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let options = DemoOptions {
        text: Some(text),
        steps: 3,
        post_steps: 2,
        length: 512,
        sequences: 4,
        progress: false,
        ..DemoOptions::new(folder.join("run"))
    };
    run(&options, &cpu).expect("it runs");

    let report = fs::read_to_string(folder.join("run/report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let length = report["train_length"].as_u64().expect("train_length");
    let positions = report["positions"].as_array().expect("positions");
    let edges: Vec<u64> = positions
        .iter()
        .map(|edge| edge.as_u64().expect("an edge"))
        .collect();
    assert!(edges.is_sorted() && edges.contains(&length) && edges.last() == Some(&512));
    for arm in ["base", "control", "state_passing"] {
        let loss = report[arm]["loss"].as_array().expect("loss");
        assert_eq!(loss.len(), edges.len(), "{arm}");
        for nats in loss {
            let nats = nats.as_f64().expect("a number");
            assert!(nats > 0.0 && nats < 10.0, "{arm}: {nats}");
        }
        assert!(report[arm]["seconds"].as_f64().expect("seconds") > 0.0);
        let steps = if arm == "base" { 3 } else { 5 };
        assert_eq!(report[arm]["tokens_seen"], steps * 64 * length, "{arm}");
    }
    assert!(report["seed"].is_u64() && report["text"].is_string());
    fs::remove_dir_all(folder).expect("a folder to remove");
}

/// The models that the repository keeps carry its claim: on a text that none of them saw, the one
/// as trained and the control lose by far what they had at the training length, and the one trained
/// from passed states does not.
#[test]
fn the_kept_models_fail_and_are_repaired() {
    let text = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/moby-dick.txt"));
    let text = text.expect("a text");
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoints/mamba2-64");
    let last = |name: &str| {
        let subject = Subject::open(&kept.join(name), &cpu).expect("it opens");
        assert_eq!(subject.checkpoint.train_length, Some(64));
        let options = perplexity::Options::new(64, 4096, 4);
        let found = perplexity::by_position(
            &subject.model,
            text.as_slice(),
            &options,
            None,
            &Alone,
            &mut |_| (),
        );
        found.expect("it runs").loss.last().expect("buckets").exp()
    };
    let [base, control, passing] = KEPT.map(last);
    assert!(base > 1.25 * passing, "{base} {passing}");
    assert!(control > 1.25 * passing, "{control} {passing}");
}

/// The model that retrieves carries its claim: in a novel that it never saw, read four times as far as the longest of its
/// trainings, it finds where keys stand, says the first token of each, and of eight keys at least seven whole.
#[test]
fn the_kept_model_finds_keys() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let mut whole = 0;
    for seed in 1..=8 {
        let options = retrieval::Options {
            kept: root.join(retrieval::KEPT),
            text: None,
            length: 16 << 10,
            seed,
            keeping: retrieval::Keeping::default(),
            progress: false,
        };
        let found = retrieval::run(&options, &cpu).expect("it runs");
        assert!(found.tokens > 4 * found.train_length.expect("its own"));
        let near = found.chunk..=found.chunk + 1;
        assert!(near.contains(&found.chosen[0].chunk), "{found}");
        let [first, all] = found.right();
        assert!(first, "{found}");
        whole += usize::from(all);
    }
    assert!(whole >= 7, "{whole} of 8");
}
