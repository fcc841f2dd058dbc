//! `baton generate`: what it prints, what it holds back, where it goes on.

use crate::eval::trained;
use crate::program::{Finished, Folder, baton};
use serde_json::Value;

fn generate(checkpoint: &str, more: &[&str]) -> Finished {
    baton(&[&["generate", "--checkpoint", checkpoint, "--quiet"], more].concat())
}

fn json(checkpoint: &str, more: &[&str]) -> Value {
    let done = generate(checkpoint, &[more, &["--json"]].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    done.json()
}

#[test]
fn a_run_goes_on_with_a_text() {
    let folder = Folder::new("generate-run");
    let [text, checkpoint] = trained(&folder);
    // The file, and the folder that it is in.
    let run = folder.path("run");
    let prompt = ["--prompt", "Vienna waits", "--tokens", "12"];
    let whole = json(&checkpoint, &prompt);
    assert_eq!(whole, {
        let mut same = json(&run, &prompt);
        for part in ["read", "made"] {
            same[part] = whole[part].clone();
        }
        same
    });
    let one = &whole["sequences"][0];
    assert_eq!(one["end"], "length");
    let tokens: Vec<u64> = (one["tokens"].as_array().unwrap().iter())
        .map(|token| token.as_u64().unwrap())
        .collect();
    assert_eq!(
        (tokens.len(), whole["read"]["tokens"].as_u64()),
        (12, Some(12))
    );

    // A token that ends the text is none of it, and what was made can be gone on with.
    let end = tokens[3].to_string();
    let first = tokens.iter().position(|&t| t == tokens[3]).unwrap();
    let cut = json(
        &checkpoint,
        &[&prompt[..], &["--stop-token", &end]].concat(),
    );
    assert_eq!(cut["sequences"][0]["end"], "stop");
    assert_eq!(
        cut["sequences"][0]["tokens"].as_array().unwrap().len(),
        first + 1
    );

    let sampled = [
        "--temperature",
        "1.5",
        "--top-k",
        "100",
        "--repetition-penalty",
        "1.1",
    ];
    let sampled = [&sampled[..], &["--prompt", "Vienna", "--sequences", "2"]].concat();
    let whole = json(&run, &[&sampled[..], &["--tokens", "9"]].concat());
    let states = folder.path("states.safetensors");
    let part = json(
        &run,
        &[&sampled[..], &["--tokens", "4", "--state-out", &states]].concat(),
    );
    let rest = [
        "--temperature",
        "1.5",
        "--top-k",
        "100",
        "--repetition-penalty",
        "1.1",
        "--state-in",
        &states,
        "--tokens",
        "5",
    ];
    let rest = json(&run, &rest);
    for i in 0..2 {
        let of = |value: &Value| value["sequences"][i]["tokens"].as_array().unwrap().clone();
        assert_eq!([of(&part), of(&rest)].concat(), of(&whole));
    }
    // Another measure takes the states.
    let measure = [
        "eval",
        "perplexity",
        "--checkpoint",
        &checkpoint,
        "--text",
        &text,
        "--quiet",
    ];
    let from = [
        "--length",
        "64",
        "--sequences",
        "2",
        "--initial-state",
        &states,
    ];
    let done = baton(&[&measure[..], &from].concat());
    assert_eq!(done.code, 2, "two sequences are more than one");
    let one = [
        "--prompt",
        "Vienna",
        "--tokens",
        "4",
        "--state-out",
        &states,
    ];
    generate(&run, &one);
    let done = baton(&[&measure[..], &from].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

#[test]
fn what_cannot_be_gone_on_with_is_refused() {
    let folder = Folder::new("generate-refused");
    let [_, checkpoint] = trained(&folder);
    for (more, why) in [
        (
            &["--tokens", "3"][..],
            "an empty prompt given, expected at least one token",
        ),
        (&["--prompt", "a", "--top-p", "0"], "a top-p of 0 given"),
        (
            &["--prompt", "a", "--temperature=-1"],
            "a temperature of -1 given",
        ),
        (&["--prompt", "a", "--stop", ""], "an empty --stop given"),
        (
            &["--prompt", "a", "--sequences", "0"],
            "--sequences 0 given",
        ),
        (&["--prompt-file", "/no/file"], "cannot read `/no/file`"),
        (&["--prompt", "a", "--state-in", "/no/file"], "/no/file: "),
        (
            &["--prompt", "a", "--state-out", "/proc/x"],
            "/proc/x: cannot be written",
        ),
    ] {
        let done = generate(&checkpoint, more);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{more:?}");
        assert!(done.stderr.contains(why), "{more:?}: {}", done.stderr);
    }
}

/// A published checkpoint, whose vocabulary has no tokenizer beside it: bytes are its tokens.
#[test]
fn a_published_checkpoint_goes_on_too() {
    let golden = |name: &str| {
        format!(
            "{}/../train/tests/golden/{name}",
            env!("CARGO_MANIFEST_DIR")
        )
    };
    let prompt = [
        "--prompt",
        "!\"#$%&'()*+,-",
        "--tokens",
        "6",
        "--ignore-end",
    ];
    let both = ["mamba2_hf", "mamba2_authors"].map(|name| json(&golden(name), &prompt));
    assert_eq!(both[0]["sequences"], both[1]["sequences"]);
    let outside = generate(&golden("mamba2_hf"), &["--prompt", "~~~"]);
    assert!(
        outside
            .stderr
            .contains("token 126 given, expected less than"),
        "{}",
        outside.stderr
    );
}
