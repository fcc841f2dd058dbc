//! `baton eval`: the envelope that every measure writes, on a model trained for two steps.

use crate::program::{Folder, baton};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::Value;
use std::fs;

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
    assert!(value["text"].as_str().unwrap().starts_with("text.txt,"));
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
    assert_eq!(value["options"].get("initial_state"), None);

    let ids = folder.path("ids.safetensors");
    let bytes = [7i64, 8, 9].map(i64::to_le_bytes).concat();
    let view = TensorView::new(Dtype::I64, vec![1, 3], &bytes).unwrap();
    std::fs::write(&ids, serialize([("input_ids", view)], None).unwrap()).unwrap();
    let states = folder.path("states.safetensors");
    let done = baton(&[
        "eval",
        "logits",
        "--checkpoint",
        &checkpoint,
        "--inputs",
        &ids,
        "--output",
        &states,
        "--states",
    ]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let from = [&options[..], &["--initial-state", &states, "--whole"]].concat();
    let other = measure(&from, &checkpoint, &text, &folder.path("other.json"));
    assert_eq!(other["options"]["initial_state"], "states.safetensors");
    assert_eq!(other["text"], "text.txt, all of it");
    assert_ne!(other["result"]["loss"][0], result["loss"][0]);

    // Lengths as tasks and plans say them.
    let times = ["perplexity", "--length", "4x", "--sequences", "3"];
    let times = measure(&times, &checkpoint, &text, &folder.path("times.json"));
    assert_eq!(times["options"]["length"], 4 * 32);
    let wrong = [
        "eval",
        "states",
        "--checkpoint",
        &checkpoint,
        "--length",
        "4y",
    ];
    let wrong = baton(&wrong).stderr;
    assert!(
        wrong.contains("length `4y` given, expected tokens as 500, 64k"),
        "{wrong}"
    );

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
    let short =
        "text.txt, the last 15 %, 1860 tokens given, expected at least 100001 for one sequence";
    assert!(long.stderr.contains(short), "{}", long.stderr);
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
    let ends = value["result"]["interval"].as_array().unwrap().iter();
    assert!(ends.flat_map(|ends| ends.as_array().unwrap()).all(inside));
}

/// Windows of attention carry what was read: the states of a hybrid are those of its recurrences.
#[test]
fn states_of_a_hybrid_are_those_of_its_recurrences() {
    let folder = Folder::new("eval-hybrid");
    let text = folder.write("text.txt", &"a state goes home. ".repeat(100));
    let window =
        r#"{"type": "attention", "heads": 2, "kv_heads": 1, "window": 8, "positions": "alibi"}"#;
    let recurrent =
        r#"{"type": "recurrent", "block": {"type": "mamba2", "head_dim": 8, "state_size": 8}}"#;
    let states = |name: &str, layers: [&str; 3]| {
        let config = format!(
            r#"{{"model": {{"hidden_size": 16, "block": {{"type": "hybrid", "chunk": 8, "landmark": "encoder",
                "layers": [{}]}}}}, "train_length": 16, "batch_size": 2, "schedule": {{"steps": 1}}}}"#,
            layers.join(", ")
        );
        let (config, run) = (folder.write("config.json", &config), folder.path(name));
        let train = [
            "train", "--config", &config, "--text", &text, "--folder", &run,
        ];
        let done = baton(&[&train[..], &["--quiet"]].concat());
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        let measure = ["eval", "states", "--checkpoint", &run, "--length", "32"];
        baton(&[&measure[..], &["--sequences", "2", "--quiet", "--json"]].concat())
    };
    let mixed = states("mixed", [window, recurrent, window]);
    assert_eq!((mixed.code, mixed.stderr.as_str()), (0, ""));
    let result = &mixed.json()["result"];
    let layers = result["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(
        (&layers[0]["layer"], &layers[0]["state"]),
        (&1.into(), &0.into())
    );
    assert_eq!(layers[0]["std"], result["std"]);
    let none = states("none", [window; 3]);
    assert_eq!(none.code, 2);
    let why = "a model without a recurrence given, expected one with a recurrent layer";
    assert!(none.stderr.contains(why), "{}", none.stderr);
}

#[test]
fn a_plan_is_run_kept_and_shown() {
    let folder = Folder::new("reproduce");
    let [text, _] = trained(&folder);
    let plan = folder.write(
        "plan.json",
        r#"{
        "bases": [{"name": "micro", "seeds": [1, 2], "config": {
            "model": {"hidden_size": 16, "num_hidden_layers": 1,
                      "block": {"type": "mamba2", "head_dim": 8, "state_size": 8}},
            "train_length": 8, "batch_size": 2, "schedule": {"steps": 2, "warmup": 1}}}],
        "post_trainings": [{"name": "zero", "initial_state": "zero", "steps": [1]}],
        "evaluations": {
            "perplexity": {"measure": "perplexity", "length": "8x", "sequences": 2},
            "states": {"measure": "states", "length": "8x", "sequences": 2}}
    }"#,
    );
    let (runs, kept) = (folder.path("runs"), folder.path("kept"));
    let mut go = vec![
        "reproduce",
        &plan,
        "--folder",
        &runs,
        "--text",
        &text,
        "--export",
        &kept,
        "--quiet",
        "--json",
    ];
    let first = baton(&go);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    let first = first.json();
    assert_eq!(
        first["done"],
        serde_json::json!({"runs": 4, "trained": 4, "measured": 8, "kept": 0})
    );
    assert_eq!(first["exported"], 4 * 4);
    assert_eq!(baton(&go).json()["done"]["kept"], 8);
    go.push("--list");
    assert_eq!(baton(&go).json()["runs"][1], "micro/zero-1-steps/seed1");

    // A base that was trained anew by another plan has no post-trainings of the weights before.
    let longer = fs::read_to_string(&plan).expect("a plan");
    let longer = folder.write(
        "longer.json",
        &longer.replace("\"steps\": 2", "\"steps\": 3"),
    );
    fs::remove_dir_all(folder.path("runs/micro/base/seed1")).expect("a base");
    let given = ["reproduce", &longer, "--folder", &runs, "--text", &text];
    let anew = baton(&[&given[..], &["--only", "seed1", "--quiet"]].concat());
    assert_eq!(anew.code, 2);
    let why = "a run from other weights than its base has now";
    assert!(anew.stderr.contains(why), "{}", anew.stderr);

    let (page, figures) = (folder.path("page.html"), folder.path("figures"));
    let report = [
        "report",
        &kept,
        "--output",
        &page,
        "--figures",
        &figures,
        "--json",
    ];
    let done = baton(&report);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert_eq!(done.json()["figures"][0], "micro-perplexity");
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.contains("zero, 1 steps") && html.contains("<svg"));
    let png = std::fs::read(format!("{figures}/micro-perplexity.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    let tables = std::fs::read_to_string(format!("{figures}/tables.md")).unwrap();
    assert!(tables.contains("| base |") && tables.contains("\u{b1}"));
    let missing = baton(&["report", &folder.path("nowhere")]);
    assert_eq!(missing.code, 2);
}
