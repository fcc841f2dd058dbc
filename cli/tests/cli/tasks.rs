//! Tasks: tiny models learn them through `baton train --task`, and every verb that asks says what
//! it found in the one envelope.

use crate::program::{Folder, baton};
use serde_json::{Value, json};

fn train(folder: &Folder, name: &str, task: &str, more: &[&str]) -> String {
    let run = folder.path(name);
    let given = ["train", "--quiet", "--folder", &run, "--task", task];
    let done = baton(&[&given, more].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    format!("{run}/checkpoint.safetensors")
}

fn eval(checkpoint: &str, verb: &str, more: &[&str]) -> Value {
    let given = [
        "eval",
        verb,
        "--quiet",
        "--json",
        "--checkpoint",
        checkpoint,
    ];
    let done = baton(&[&given, more].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let value = done.json();
    assert_eq!(value["measure"], verb);
    value["result"]["grids"].clone()
}

fn mean(cell: &Value, score: usize) -> f64 {
    cell["scores"][score]["mean"].as_f64().unwrap()
}

#[test]
fn copying_is_learned_and_fails_past_its_length() {
    let folder = Folder::new("task-copying");
    let options = "--length 32 --batch 32 --steps 150 --rate 5e-3";
    let options: Vec<&str> = options.split(' ').collect();
    let checkpoint = train(&folder, "copy", "copying:min=1,max=6", &options);
    let grids = eval(
        &checkpoint,
        "copying",
        &["--lengths", "4,24", "--trials", "50"],
    );
    let cells = &grids[0]["cells"];
    assert_eq!(cells[0]["scores"][0]["name"], "character");
    assert!(mean(&cells[0], 0) > 0.9, "{cells}");
    assert!(
        mean(&cells[1], 0) < 0.5 && mean(&cells[1], 1) == 0.0,
        "{cells}"
    );
    let error = baton(&[
        "eval",
        "copying",
        "--checkpoint",
        &checkpoint,
        "--lengths",
        "4y",
    ]);
    assert_eq!(error.code, 2);
    assert!(
        error.stderr.contains("length `4y` given"),
        "{}",
        error.stderr
    );
}

#[test]
fn the_token_passkey_is_learned_and_found_past_the_training_length() {
    let folder = Folder::new("task-passkey");
    let task = "token-passkey:markers=ids,vocabulary=24,key=1";
    let options = "--length 24 --batch 32 --steps 150 --rate 5e-3";
    let options: Vec<&str> = options.split(' ').collect();
    let checkpoint = train(&folder, "key", task, &options);
    let asked = [
        "--task",
        task,
        "--lengths",
        "1x,4x",
        "--depths",
        "0,1",
        "--trials",
        "50",
    ];
    let grids = eval(&checkpoint, "passkey", &asked);
    let cells = grids[0]["cells"].as_array().unwrap();
    let places = cells.iter().map(|cell| (&cell["length"], &cell["depth"]));
    assert!(places.eq([
        (&json!(24), &json!(0.0)),
        (&json!(24), &json!(1.0)),
        (&json!(96), &json!(0.0)),
        (&json!(96), &json!(1.0)),
    ]));
    // Guessing scores one in 21.
    assert!(cells.iter().all(|cell| mean(cell, 0) > 0.8), "{cells:?}");
    // Without a task it is the run's own, and what is asked is said first.
    assert_eq!(eval(&checkpoint, "passkey", &asked[2..]), grids);
    let few = ["--lengths", "1x", "--trials", "1", "--quiet"];
    let own = ["eval", "passkey", "--checkpoint", &checkpoint];
    let shown = baton(&[&own[..], &few].concat()).stdout;
    let first = "asked: token-passkey:gap=0,key=1,markers=ids,vocabulary=24\n";
    assert!(shown.starts_with(first), "{shown}");
}

#[test]
fn every_verb_asks_a_model_of_bytes_and_says_the_same_again() {
    let folder = Folder::new("task-verbs");
    let haystack = folder.write(
        "hay.txt",
        &"Nothing of any use is said in here.\n".repeat(40),
    );
    let task = "passkey:loss=all";
    let few = ["--steps", "1", "--length", "300", "--batch", "1"];
    let base = train(&folder, "base", task, &few);
    let run = folder.path("post");
    let given = [
        "post-train",
        "--quiet",
        "--from",
        &base,
        "--folder",
        &run,
        "--steps",
        "1",
    ];
    let task = [
        "--task",
        "babi:shots=0",
        "--text",
        &haystack,
        "--length",
        "1500",
    ];
    let done = baton(&[&given[..], &task].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let checkpoint = format!("{run}/checkpoint.safetensors");
    for (verb, more, names) in [
        (
            "passkey",
            "--lengths 300 --depths 0.5",
            "passkey, Landmark format",
        ),
        ("babi", "--lengths 0,2000 --qa 1,4 --shots 1", "qa1 qa4"),
        (
            "ruler",
            "--lengths 1800 --tasks niah_single_1,vt",
            "niah_single_1 vt",
        ),
        (
            "ruler",
            "--lengths 80 --tasks token-ruler:task=vt",
            "vt, tokens",
        ),
        ("recall", "--lengths 64 --pairs 4", "recall of 4 pairs"),
        ("copying", "--lengths 9", "copying"),
    ] {
        let mut more: Vec<&str> = more.split(' ').collect();
        more.extend(["--trials", "2", "--haystack", &haystack, "--seed", "5"]);
        let grids = eval(&checkpoint, verb, &more);
        let found = grids.as_array().unwrap().iter();
        let found: Vec<&str> = found.map(|grid| grid["task"].as_str().unwrap()).collect();
        assert_eq!(found.join(" "), names);
        for cell in grids
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|g| g["cells"].as_array().unwrap())
        {
            assert_eq!(cell["trials"], 2);
            let score = &cell["scores"][0];
            let [low, mean, high] =
                ["low", "mean", "high"].map(|name| score[name].as_f64().unwrap());
            assert!(
                0.0 <= low && low <= mean && mean <= high && high <= 1.0,
                "{cell}"
            );
        }
        assert_eq!(grids, eval(&checkpoint, verb, &more));
    }
}

#[test]
fn what_cannot_be_asked_is_said() {
    let folder = Folder::new("task-errors");
    let few = ["--steps", "1", "--length", "16", "--batch", "1"];
    let checkpoint = train(&folder, "copy", "copying:max=6", &few);
    for (more, expected) in [
        (
            "passkey --task copying",
            "task `copying` given, expected passkey or token-passkey",
        ),
        (
            "passkey --task passkey --lengths 1x",
            "length 16 given, expected at least",
        ),
        (
            "passkey --depths 2 --lengths 64",
            "depth 2 given, expected one from 0 to 1",
        ),
        ("ruler --tasks vt2", "unknown variant `vt2`"),
        ("babi --lengths 4k", "no haystack given"),
    ] {
        let mut arguments = vec!["eval"];
        arguments.extend(more.split(' '));
        arguments.extend(["--checkpoint", &checkpoint, "--quiet"]);
        let done = baton(&arguments);
        assert_eq!(done.code, 2, "{more}");
        assert!(done.stderr.contains(expected), "{more}: {}", done.stderr);
    }
    let run = folder.path("more");
    let done = baton(&["train", "--quiet", "--folder", &run, "--task", "sorting"]);
    assert_eq!(done.code, 2);
    assert!(
        done.stderr
            .contains("task `sorting` given, expected one of copying")
    );
}

#[test]
fn sizes_beyond_any_memory_are_refused_in_words() {
    let folder = Folder::new("task-sizes");
    let options = ["--length", "16", "--batch", "2", "--steps", "1"];
    let checkpoint = train(&folder, "one", "copying:min=1,max=6", &options);
    for huge in ["4294967296", "4611686018427387904", "18446744073709551615"] {
        let asked = |verb: &str, more: &[&str]| {
            let more = more.iter().map(|part| part.replace("HUGE", huge));
            let more: Vec<String> = more.collect();
            let given = ["eval", verb, "--quiet", "--checkpoint", &checkpoint];
            let given = given.into_iter().chain(more.iter().map(String::as_str));
            let done = baton(&given.collect::<Vec<_>>());
            assert_eq!(done.code, 2, "{verb} {more:?}: {}", done.stderr);
            assert!(
                done.stderr.contains("given"),
                "{verb} {more:?}: {}",
                done.stderr
            );
        };
        let ids = "token-passkey:markers=ids,vocabulary=24,key=";
        asked("copying", &["--lengths", "HUGE"]);
        asked("passkey", &["--lengths", "HUGE"]);
        asked("passkey", &["--task", "passkey", "--lengths", "HUGE"]);
        asked(
            "passkey",
            &["--lengths", "64", "--task", &format!("{ids}HUGE")],
        );
        asked(
            "passkey",
            &["--lengths", "64", "--task", &format!("{ids}1,gap=HUGE")],
        );
        asked("recall", &["--lengths", "HUGE"]);
        asked("recall", &["--lengths", "64", "--pairs", "HUGE"]);
        asked("ruler", &["--lengths", "HUGE", "--tasks", "vt"]);
        asked(
            "ruler",
            &[
                "--lengths",
                "64",
                "--tasks",
                "token-ruler:vocabulary=24,value=HUGE",
            ],
        );
        asked("babi", &["--lengths", "HUGE"]);
        asked("babi", &["--lengths", "64", "--shots", "HUGE"]);
        let text = folder.path("text");
        std::fs::write(&text, "what is read is known. ".repeat(20)).unwrap();
        for verb in ["perplexity", "states", "remembrance"] {
            asked(verb, &["--text", &text, "--whole", "--length", "HUGE"]);
        }
        asked(
            "remembrance",
            &[
                "--text", &text, "--whole", "--length", "64", "--cuts", "HUGE",
            ],
        );
        let given = [
            "train",
            "--quiet",
            "--steps",
            "1",
            "--task",
            "copying:min=1,max=6",
        ];
        let run = folder.path("never");
        for size in ["--length", "--batch", "--parts"] {
            let done = baton(&[&given[..], &["--folder", &run, size, huge]].concat());
            assert_eq!(done.code, 2, "{size}: {}", done.stderr);
        }
    }
    // Nothing is too large for what is cut to the length anyway.
    let segment = [
        "--lengths",
        "8",
        "--trials",
        "2",
        "--segment",
        "18446744073709551615",
    ];
    eval(&checkpoint, "copying", &segment);
}
