//! `baton eval`: the envelope that every measure writes, on a model trained for two steps.

use crate::program::{Folder, baton};
use serde_json::Value;

/// A text and a checkpoint of a run of two steps.
pub fn trained(folder: &Folder) -> [String; 2] {
    let (text, run) = (folder.path("text.txt"), folder.path("run"));
    let sentence = "Vienna waits for a state that somebody else has carried home. ";
    std::fs::write(&text, sentence.repeat(200)).unwrap();
    let done = baton(&[
        "train", "--quiet", "--text", &text, "--folder", &run, "--steps", "2", "--length", "32",
        "--batch", "4",
    ]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    [text, format!("{run}/checkpoint.safetensors")]
}

/// Runs a measure with `--json` and `--output`; both hold the same, and its envelope is whole.
fn measure(arguments: &[&str], checkpoint: &str, text: &str, output: &str) -> Value {
    let given = [
        "--checkpoint",
        checkpoint,
        "--text",
        text,
        "--output",
        output,
        "--quiet",
        "--json",
    ];
    let done = baton(&[&["eval"], arguments, &given].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let value = done.json();
    let file: Value = serde_json::from_slice(&std::fs::read(output).unwrap()).unwrap();
    assert_eq!(file, value);
    assert_eq!(value["measure"], arguments[0]);
    let checkpoint = &value["checkpoint"];
    assert_eq!(checkpoint["run"], "run");
    assert_eq!(checkpoint["train_length"], 32);
    assert_eq!(checkpoint["weights"].as_str().unwrap().len(), 16);
    assert_eq!(checkpoint["config"]["seed"], 1);
    assert_eq!(checkpoint["progress"]["tokens"], 2 * 4 * 32);
    assert!(value["text"].as_str().unwrap().starts_with("text.txt"));
    assert!(value["seconds"].as_f64().unwrap() > 0.0);
    value
}

#[test]
fn perplexity_is_by_position_with_intervals() {
    let folder = Folder::new("eval-perplexity");
    let [text, checkpoint] = trained(&folder);
    let output = folder.path("perplexity.json");
    let options = ["perplexity", "--length", "300", "--sequences", "3"];
    let value = measure(&options, &checkpoint, &text, &output);
    let result = &value["result"];
    assert_eq!(
        result["positions"],
        serde_json::json!([8, 16, 32, 64, 128, 256, 300])
    );
    assert_eq!(result["sequences"], 3);
    for (i, loss) in result["loss"].as_array().unwrap().iter().enumerate() {
        let end = |side: usize| result["interval"][i][side].as_f64().unwrap();
        let loss = loss.as_f64().unwrap();
        assert!(end(0) <= loss && loss <= end(1) && 0.0 < loss && loss < 8.0);
    }
    let long = baton(&[
        "eval",
        "perplexity",
        "--checkpoint",
        &checkpoint,
        "--text",
        &text,
        "--length",
        "100000",
    ]);
    assert_eq!(long.code, 2);
    assert!(
        long.stderr
            .contains("expected at least 100001 for one sequence"),
        "{}",
        long.stderr
    );
}

#[test]
fn states_and_remembrance_keep_their_forms() {
    let folder = Folder::new("eval-states");
    let [text, checkpoint] = trained(&folder);
    let options = [
        "states",
        "--length",
        "128",
        "--sequences",
        "2",
        "--times",
        "5",
    ];
    let output = folder.path("states.json");
    let result = &measure(&options, &checkpoint, &text, &output)["result"];
    assert_eq!(result["times"], serde_json::json!([1, 3, 11, 32, 38, 128]));
    let layers = result["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        for series in ["head_mean", "head_std", "head_max", "head_norm"] {
            assert_eq!(layer[series][5].as_array().unwrap().len(), 8, "{series}");
        }
        assert!(layer["std"][5].as_f64().unwrap() > 0.0);
    }
    let output = folder.path("remembrance.json");
    let options = ["remembrance", "--sequences", "4", "--cuts", "8"];
    let value = measure(&options, &checkpoint, &text, &output);
    assert_eq!(value["options"]["length"], 4 * 32);
    let distances = value["result"]["distance"].as_array().unwrap();
    assert_eq!(
        value["result"]["cuts"].as_array().unwrap().len(),
        distances.len()
    );
    let inside = |d: &Value| (0.0..=1.0).contains(&d.as_f64().unwrap());
    assert!(distances.iter().all(inside));
}
