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
    // Of another model's.
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../checkpoints/mamba2-64/base");
    let measure = ["eval", "perplexity", "--checkpoint", base, "--text", &text];
    let done = baton(&[&measure[..], &["--whole", "--quiet"], &from].concat());
    assert_eq!(done.code, 2);
    let why = "states of a model with weights";
    assert!(done.stderr.contains(why), "{}", done.stderr);
}

#[test]
fn what_cannot_be_gone_on_with_is_refused() {
    let folder = Folder::new("generate-refused");
    let [_, checkpoint] = trained(&folder);
    for (more, why) in [
        (
            &["--tokens", "3"][..],
            "an empty prompt given, expected at least one token to begin with: --prompt or --prompt-file says it",
        ),
        (&["--prompt", "a", "--top-p", "0"], "a top-p of 0 given"),
        (
            &["--prompt", "a", "--temperature", "-1"],
            "a temperature of -1 given",
        ),
        (
            &["--prompt", "a", "--top-k", "-1"],
            "invalid value '-1' for '--top-k <TOP_K>'",
        ),
        (
            &["--prompt", "a", "--stop-token", "99999"],
            "--stop-token 99999 given, expected a token of the model's vocabulary of 256",
        ),
        (&["--prompt", "a", "--stop", ""], "an empty --stop given"),
        (
            &["--prompt", "a", "--sequences", "0"],
            "invalid value '0' for '--sequences <SEQUENCES>': expected at least 1",
        ),
        (
            &["--prompt", "a", "--top-k", "4"],
            "at temperature 0, which takes the likeliest token: expected --temperature too",
        ),
        (
            &["--prompt", "a", "--state-in", checkpoint.as_str()],
            "no states: a file of this program that holds something else; expected a file that `baton generate \
             --state-out` or",
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

/// A copy of the published Mamba-2 in a folder of its own.
fn copied(folder: &Folder) -> String {
    let from = format!(
        "{}/../train/tests/golden/mamba2_hf",
        env!("CARGO_MANIFEST_DIR")
    );
    let to = folder.path("copied");
    std::fs::create_dir_all(&to).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(format!("{from}/{file}"), format!("{to}/{file}")).unwrap();
    }
    to
}

/// What ends a text is what transformers generates by, before what the configuration says.
#[test]
fn tokens_that_a_checkpoint_ends_with_are_those_of_its_generation() {
    let folder = Folder::new("generate-ends");
    let checkpoint = copied(&folder);
    let generation = format!("{checkpoint}/generation_config.json");
    let prompt = ["--prompt", "!\"#$%&'()*+,-", "--tokens", "6"];
    let through = [&prompt[..], &["--ignore-end"]].concat();
    let all = json(&checkpoint, &through)["sequences"][0]["tokens"].clone();
    let all: Vec<u64> = serde_json::from_value(all).unwrap();
    let first = all.iter().position(|&token| token == all[2]).unwrap();
    for ends in [
        format!("{{\"eos_token_id\": {}}}", all[2]),
        format!(
            "{{\"eos_token_id\": [95, {}], \"temperature\": 0.5}}",
            all[2]
        ),
    ] {
        std::fs::write(&generation, ends).unwrap();
        let made = json(&checkpoint, &prompt)["sequences"][0].clone();
        assert_eq!(made["end"], "stop");
        assert_eq!(made["tokens"].as_array().unwrap().len(), first + 1);
    }
    // Converted and trained, it still is.
    let to = folder.path("authors");
    let convert = ["convert", "--from", &checkpoint, "--to", &to];
    let done = baton(&[&convert[..], &["--layout", "authors"]].concat());
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(json(&to, &prompt)["sequences"][0]["end"], "stop");
    for wrong in ["99999", "[1, \"a\"]", "-1", "true"] {
        std::fs::write(&generation, format!("{{\"eos_token_id\": {wrong}}}")).unwrap();
        let done = generate(&checkpoint, &prompt);
        for part in [
            "generation_config.json: `eos_token_id` is ",
            "expected tokens of the model's vocabulary of 96",
            "--ignore-end",
        ] {
            assert!(
                done.code == 2 && done.stderr.contains(part),
                "{wrong}: {}",
                done.stderr
            );
        }
        assert_eq!(generate(&checkpoint, &through).code, 0);
    }
    // Where it says none, the configuration does.
    std::fs::write(&generation, "{\"eos_token_id\": null}").unwrap();
    let config = format!("{checkpoint}/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("\"eos_token_id\": 2", "\"eos_token_id\": 500");
    std::fs::write(&config, text).unwrap();
    let done = generate(&checkpoint, &prompt);
    assert!(
        done.stderr.contains("/config.json: `eos_token_id` is 500"),
        "{}",
        done.stderr
    );
}

/// Special tokens stand around a prompt as the vocabulary's post-processor puts them, and not inside of a text that
/// goes on.
#[test]
fn a_vocabulary_that_begins_texts_begins_prompts() {
    let folder = Folder::new("generate-special");
    let checkpoint = copied(&folder);
    let added = serde_json::json!([{"id": 27, "content": "<s>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true}]);
    let special = crate::data::vocabulary(serde_json::json!({
        "added_tokens": added,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [27], "tokens": ["<s>"]}}},
    }));
    std::fs::write(format!("{checkpoint}/tokenizer.json"), special).unwrap();
    let states = folder.path("states.safetensors");
    let prompt = ["--prompt", "so it goes", "--tokens", "1", "--ignore-end"];
    let begun = json(
        &checkpoint,
        &[&prompt[..], &["--state-out", &states]].concat(),
    );
    assert_eq!(begun["read"]["tokens"], 11);
    let gone_on = json(
        &checkpoint,
        &[&prompt[..], &["--state-in", &states]].concat(),
    );
    assert_eq!(gone_on["read"]["tokens"], 10);
    let alone = json(&checkpoint, &["--tokens", "1", "--ignore-end"]);
    assert_eq!(alone["read"]["tokens"], 1);
    // The same tokens without a post-processor, the first by its text.
    let plain = crate::data::vocabulary(serde_json::json!({"added_tokens": added}));
    std::fs::write(format!("{checkpoint}/tokenizer.json"), plain).unwrap();
    let said = ["--prompt", "<s>so it goes", "--tokens", "1", "--ignore-end"];
    let said = json(&checkpoint, &said);
    assert_eq!(
        (&said["read"]["tokens"], &said["sequences"]),
        (&11.into(), &begun["sequences"])
    );
}

/// A decoder that drops the first space of a text drops the prompt's, whatever ids without a token come between.
#[test]
fn what_is_new_is_what_the_text_has_beyond_the_prompt() {
    let folder = Folder::new("generate-space");
    let checkpoint = copied(&folder);
    let words: serde_json::Map<String, Value> = (0..96)
        .step_by(2)
        .map(|id| (format!("\u{2581}w{id}"), id.into()))
        .collect();
    let space = serde_json::json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always",
        "split": true});
    let vocabulary = crate::data::vocabulary(serde_json::json!({
        "normalizer": null, "pre_tokenizer": space, "decoder": space,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "\u{2581}w0"},
    }));
    std::fs::write(format!("{checkpoint}/tokenizer.json"), vocabulary).unwrap();
    let said = |made: &Value| {
        let text = made["sequences"][0]["text"].as_str();
        text.unwrap().to_string()
    };
    let prompt = [
        "--prompt",
        "w4 w10 w6",
        "--temperature",
        "3",
        "--ignore-end",
    ];
    let whole = json(&checkpoint, &[&prompt[..], &["--tokens", "40"]].concat());
    assert_eq!(whole["read"]["tokens"], 3);
    let tokens = whole["sequences"][0]["tokens"].clone();
    let tokens: Vec<u64> = serde_json::from_value(tokens).unwrap();
    assert!(tokens.iter().any(|id| id % 2 == 1) && tokens.iter().any(|id| id % 2 == 0));
    let known = tokens.iter().filter(|id| *id % 2 == 0);
    let expected: String = known.map(|id| format!(" w{id}")).collect();
    assert_eq!(said(&whole), expected);
    let streamed = generate(&checkpoint, &[&prompt[..], &["--tokens", "40"]].concat());
    assert_eq!(streamed.stdout, expected);

    let states = folder.path("states.safetensors");
    let first = ["--tokens", "15", "--state-out", &states];
    let first = json(&checkpoint, &[&prompt[..], &first].concat());
    let rest = ["--tokens", "25", "--state-in", &states];
    let rest = json(&checkpoint, &[&prompt[2..], &rest].concat());
    assert_eq!([said(&first), said(&rest)].concat(), expected);
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
