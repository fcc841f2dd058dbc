//! Shards that ranks read together, and experiments that they do.

use super::{done, mpirun, ranks, tensors};
use crate::program::Folder;
use std::fs;
use std::process::Command;

/// A folder of shards, of 200 tokens each.
fn shards(folder: &Folder) -> String {
    let words: String = (0..200)
        .map(|i| format!("{} hands it to {}. ", i * 37 % 100, i))
        .collect();
    folder.write("book.txt", &words);
    let data = folder.path("data");
    let output = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args([
            "tokenize",
            "--text",
            &folder.path("book.txt"),
            "--output",
            &data,
        ])
        .args(["--shard-tokens", "500"])
        .output()
        .expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    data
}

#[test]
fn ranks_read_shards_together_and_find_whatever_is_damaged() {
    let folder = Folder::new("ranks-shards");
    let data = shards(&folder);
    let more = [
        "--data",
        &data,
        "--steps",
        "3",
        "--parts",
        "6",
        "--initial-state",
        "truncated_bptt",
    ];
    for count in [1, 2, 3] {
        let run = count.to_string();
        done(ranks(count, &folder, &run, &more));
        assert!(
            tensors(&folder, &run) == tensors(&folder, "1"),
            "{count} ranks"
        );
    }
    // One of two ranks reads a file through, whichever it is.
    for number in [1, 2] {
        let path = format!("{data}/train-0000{number}.safetensors");
        let whole = fs::read(&path).expect("a shard");
        let mut damaged = whole.clone();
        *damaged.last_mut().expect("tokens") ^= 1;
        fs::write(&path, damaged).expect("a shard");
        let output = ranks(2, &folder, "damaged", &more)
            .output()
            .expect("mpirun starts");
        let said = String::from_utf8_lossy(&output.stderr);
        let named = format!(
            "train-0000{number}.safetensors: no tokenised text: its tokens are not as they were written"
        );
        assert!(!output.status.success() && said.contains(&named), "{said}");
        fs::write(&path, whole).expect("a shard");
    }
}

/// Every file of an experiment but what differs in times.
fn experiment(folder: &Folder, run: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for job in ["micro/base/seed1", "micro/zero-2-steps/seed1"] {
        for name in ["run", "perplexity", "states", "remembrance", "copying"] {
            let path = folder.path(&format!("{run}/{job}/{name}.json"));
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            for place in [
                "/seconds",
                "/progress/seconds",
                "/checkpoint/progress/seconds",
            ] {
                if let Some(seconds) = value.pointer_mut(place) {
                    *seconds = serde_json::Value::Null;
                }
            }
            all.push((format!("{job}/{name}"), value.to_string()));
        }
    }
    all
}

#[test]
fn an_experiment_is_done_together() {
    let folder = Folder::new("ranks-experiment");
    let plan = |parts: usize| {
        format!(
            r#"{{"bases": [{{"name": "micro", "seeds": [1], "config": {{
                "model": {{"hidden_size": 16, "num_hidden_layers": 1}}, "train_length": 8, "batch_size": 2,
                "parts": {parts}, "schedule": {{"steps": 3, "warmup": 1}}}}}}],
            "post_trainings": [{{"name": "zero", "initial_state": {{"type": "zero"}}, "steps": [2]}}],
            "evaluations": {{
                "perplexity": {{"measure": "perplexity", "length": "4x", "sequences": 20}},
                "states": {{"measure": "states", "length": 32, "sequences": 3, "times": 4}},
                "remembrance": {{"measure": "remembrance", "length": "4x", "sequences": 3, "cuts": 4}},
                "copying": {{"measure": "task", "task": "copying", "lengths": [8, 16], "trials": 10}}}}}}"#
        )
    };
    let run = |count: usize, name: &str| {
        let mut command = mpirun(count);
        command
            .args([
                "reproduce",
                &folder.path("plan.json"),
                "--threads",
                "1",
                "--json",
            ])
            .args(["--folder", &folder.path(name)]);
        command.output().expect("mpirun starts")
    };
    folder.write("plan.json", &plan(2));
    for count in [1, 2] {
        let output = run(count, &count.to_string());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let done: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line");
        assert_eq!(done["done"]["trained"], 2);
        assert_eq!(done["done"]["measured"], 8);
    }
    let one = experiment(&folder, "1");
    assert_eq!(one.len(), 10);
    assert_eq!(experiment(&folder, "2"), one);
    for job in ["micro/base/seed1", "micro/zero-2-steps/seed1"] {
        let [one, two] = ["1", "2"].map(|run| tensors(&folder, &format!("{run}/{job}")));
        assert!(one == two, "{job}");
    }
    // What is there is not done again, whoever did it.
    let output = run(2, "1");
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line");
    assert_eq!(done["done"]["trained"], 0);
    assert_eq!(done["done"]["kept"], 8);
    folder.write("plan.json", &plan(1));
    let output = run(2, "3");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("parts 1 of 1 segments given with 2 ranks"),
        "{said}"
    );
}
