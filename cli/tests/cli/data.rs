//! Texts that people have: records, marks, vocabularies with habits, folders of shards.

use crate::program::{Finished, Folder, baton, load};
use serde_json::{Value, json};
use std::fs;

fn train(folder: &Folder, more: &[&str]) -> Finished {
    let run = folder.path("run");
    let _ = fs::remove_dir_all(&run);
    let few = ["--steps", "1", "--length", "8", "--batch", "2", "--quiet"];
    baton(&[&["train", "--folder", &run], more, &few].concat())
}

#[test]
fn records_are_trained_on_by_a_field_and_asked_about_without() {
    let folder = Folder::new("data-records");
    let texts = [
        "one text that is long enough",
        "",
        "another text, long enough too",
    ];
    let lines = texts.map(|text| json!({"id": 1, "meta": {"text": text}, "url": "u"}).to_string());
    let jsonl = folder.write("lines.jsonl", &lines.join("\n"));
    let list = folder.write("list.json", &format!("[{}]", lines.join(",")));
    let plain = folder.path("plain");
    fs::create_dir_all(&plain).unwrap();
    for (i, text) in texts.iter().enumerate() {
        fs::write(format!("{plain}/{i}.txt"), text).unwrap();
    }
    let loss = |more: &[&str]| {
        let done = train(&folder, &[more, &["--json"]].concat());
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        let said = done.json();
        let data = said["data"].as_str().unwrap().to_string();
        assert!(
            data.contains("1 document without tokens left out"),
            "{data}"
        );
        (
            said["loss"].clone(),
            data.split("): ").last().unwrap().to_string(),
        )
    };
    let expected = loss(&["--text", &plain]);
    for file in [&jsonl, &list] {
        assert_eq!(loss(&["--text", file, "--field", "meta.text"]), expected);
    }
    if cfg!(feature = "parquet") {
        let rows = "../data/tests/golden/rows.parquet"; // the same three, written by Arrow
        let rows = format!("{}/{rows}", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(loss(&["--text", &rows, "--field", "meta.text"]), expected);
    }
    // What goes on from the run, and what measures it, reads the same field.
    let run = folder.path("run");
    let perplexity = [
        "eval",
        "perplexity",
        "--checkpoint",
        &run,
        "--length",
        "4",
        "--quiet",
    ];
    let done = baton(&perplexity);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));

    for file in [&jsonl, &list] {
        let done = train(&folder, &["--text", file]);
        assert_eq!(done.code, 2);
        for part in [
            "a file of records given as a text (texts are in `url`)",
            "--field NAME",
            ".txt",
        ] {
            assert!(done.stderr.contains(part), "{}", done.stderr);
        }
        let done = train(&folder, &["--text", file, "--field", "text"]);
        assert!(
            done.stderr
                .contains("record 1: no field `text`, expected one of `id`, `meta`, `url`")
        );
    }
    let broken = folder.write("broken.jsonl", "{\"text\": \"a\"}\n{\"text\": ");
    let done = train(&folder, &["--text", &broken, "--field", "text"]);
    assert!(
        done.stderr.contains("broken.jsonl: line 2: no JSON"),
        "{}",
        done.stderr
    );
    let parquet = folder.write("rows.parquet", "PAR1");
    let done = train(&folder, &["--text", &parquet, "--field", "text"]);
    let expected = match cfg!(feature = "parquet") {
        true => "no parquet file",
        false => "without the feature `parquet`",
    };
    assert!(
        done.code == 2 && done.stderr.contains(expected),
        "{}",
        done.stderr
    );
}

/// What is no text by its first bytes says what it is and what reads it, whatever its name is.
#[test]
fn what_is_no_text_is_refused_by_what_reads_it() {
    let folder = Folder::new("data-binary");
    let texts = folder.path("texts");
    fs::create_dir_all(&texts).unwrap();
    fs::write(format!("{texts}/a.txt"), "a text of so many letters").unwrap();
    let golden = |path: &str| format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    for (from, expected) in [
        (
            "train/tests/golden/mamba2_authors/pytorch_model.bin",
            "a zip archive, as PyTorch's",
        ),
        (
            "train/tests/golden/mamba2_hf/model.safetensors",
            "a safetensors file: --data FOLDER",
        ),
        (
            "data/tests/golden/rows.parquet",
            "a parquet file: --field NAME",
        ),
    ] {
        let file = format!("{texts}/b");
        fs::copy(golden(from), &file).unwrap();
        for path in [&file, &texts] {
            let done = train(&folder, &["--text", path]);
            let expected = format!("{file}: expected a text, given {expected}");
            assert!(
                done.code == 2 && done.stderr.contains(&expected),
                "{}",
                done.stderr
            );
        }
        fs::remove_file(&file).unwrap();
    }
    assert_eq!(train(&folder, &["--text", &texts]).code, 0);
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let folder = Folder::new("data-lines");
    let good = "{\"text\": \"one text that is long enough \\ud83d\\ude00\"}\n";
    let half = format!("{good}{{\"text\": \"a \\ud800 b\"}}\n");
    for (name, text, expected) in [
        (
            "a.jsonl",
            half.clone(),
            "a.jsonl: line 2: `\\ud800` is half of a surrogate pair",
        ),
        (
            "b.json",
            format!("[{}]", half.trim_end().replace('\n', ",\n")),
            "b.json: line 2: `\\ud800` is half",
        ),
    ] {
        let file = folder.write(name, &text);
        let done = train(&folder, &["--text", &file, "--field", "text"]);
        assert!(
            done.code == 2 && done.stderr.contains(expected),
            "{}",
            done.stderr
        );
    }
    let file = folder.path("c.jsonl");
    fs::write(&file, [good.as_bytes(), b"{\"text\": \"\xff\"}"].concat()).unwrap();
    let done = train(&folder, &["--text", &file, "--field", "text"]);
    assert!(
        done.code == 2
            && done
                .stderr
                .contains("c.jsonl: no UTF-8 from byte 64 on, in line 2"),
        "{}",
        done.stderr
    );
    let good = folder.write("d.jsonl", good);
    let done = train(&folder, &["--text", &good, "--field", "text"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let done = baton(&[
        "train", "--text", &good, "--field", "text", "--folder", &good,
    ]);
    assert!(
        done.code == 2
            && done
                .stderr
                .contains("d.jsonl given, which is a file: expected a folder"),
        "{}",
        done.stderr
    );
}

/// The repository's novels are packed: they are read as what they hold, one by one and as a folder.
#[test]
fn a_packed_text_is_what_it_holds() {
    let folder = Folder::new("data-packed");
    let novels = format!("{}/../data/novels", env!("CARGO_MANIFEST_DIR"));
    let data = |text: &str| {
        let done = train(&folder, &["--text", text, "--json"]);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        done.json()["data"].as_str().unwrap().to_string()
    };
    // 85 % of 883,028 bytes.
    let emma = data(&format!("{novels}/emma.txt.gz"));
    assert!(emma.contains("emma.txt.gz): 750573 bytes, "), "{emma}");
    let all = data(&novels);
    assert!(all.contains(" tokens in 7 documents"), "{all}");
    let broken = folder.path("broken.txt");
    fs::write(&broken, b"\x1f\x8b and no more").unwrap();
    let done = train(&folder, &["--text", &broken]);
    assert!(
        done.code == 2 && done.stderr.contains("broken.txt: no whole gzip file"),
        "{}",
        done.stderr
    );
}

/// A separator is an id, or the text of a token.
#[test]
fn a_separator_is_said_by_its_text() {
    let folder = Folder::new("data-separator");
    let texts = folder.path("texts");
    fs::create_dir_all(&texts).unwrap();
    for (name, text) in [("a", "ab"), ("b", "cd")] {
        fs::write(format!("{texts}/{name}"), text).unwrap();
    }
    let added = json!({"added_tokens": [{"id": 27, "content": "<|end|>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true}]});
    let file = folder.write("tokenizer.json", &vocabulary(added));
    let tokenize = |name: &str, more: &[&str]| {
        let to = folder.path(name);
        let given = [
            "tokenize",
            "--text",
            &texts,
            "--output",
            &to,
            "--held-out",
            "0",
        ];
        (baton(&[&given[..], more].concat()), to)
    };
    let shard = |name: &str, more: &[&str]| {
        let (done, to) = tokenize(name, more);
        assert_eq!(done.code, 0, "{}", done.stderr);
        fs::read(format!("{to}/train-00000.safetensors")).unwrap()
    };
    let learned = ["--tokenizer", &file, "--separator"];
    let by_text = shard("text", &[&learned[..], &["<|end|>"]].concat());
    assert_eq!(by_text, shard("id", &[&learned[..], &["27"]].concat()));
    assert_eq!(
        shard("bytes", &["--separator", "|"]),
        shard("byte", &["--separator", "124"])
    );
    for (more, expected) in [
        (
            [&learned[..], &["<|e|>"]].concat(),
            "--separator <|e|> given, expected the id of a token or the text of a token of",
        ),
        (
            [&learned[..], &["28"]].concat(),
            "the separator 28 given, expected a token of the vocabulary of 28",
        ),
        (
            vec!["--separator", "<s>"],
            "or a text of one byte: a token is a byte without --tokenizer",
        ),
    ] {
        let (done, _) = tokenize("refused", &more);
        assert!(
            done.code == 2 && done.stderr.contains(expected),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn a_mark_is_no_text_and_another_encoding_is_named() {
    let folder = Folder::new("data-marks");
    let text = "a text of so many letters, and of no mark";
    let plain = folder.write("plain.txt", text);
    let marked = folder.write("marked.txt", &format!("\u{feff}{text}"));
    let of = |path: &str| {
        let done = train(&folder, &["--text", path, "--json"]);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        done.json()["loss"].clone()
    };
    assert_eq!(of(&plain), of(&marked));
    let wide = folder.path("wide.txt");
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    fs::write(&wide, [&[0xfe, 0xff], &bytes[..]].concat()).unwrap();
    let done = train(&folder, &["--text", &wide]);
    assert!(
        done.code == 2 && done.stderr.contains("a text in UTF-16 given"),
        "{}",
        done.stderr
    );
    let recurrence = baton(&["print", "gla"]).stdout;
    let marked = folder.write("marked.rec", &format!("\u{feff}{recurrence}"));
    assert_eq!(baton(&["print", &marked]).stdout, recurrence);
}

/// A vocabulary of the letters below, of a token each.
pub fn vocabulary(more: Value) -> String {
    let letters = "abcdefghijklmnopqrstuvwxyz ".chars().enumerate();
    let vocab: serde_json::Map<String, Value> = letters
        .map(|(i, letter)| (letter.to_string(), json!(i)))
        .collect();
    let mut all = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Strip", "strip_left": true, "strip_right": true},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    });
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    all.to_string()
}

#[test]
fn a_vocabulary_cuts_and_pads_no_text_and_says_so() {
    let folder = Folder::new("data-vocabulary");
    let text = folder.write("text.txt", "a text of some words ");
    let empty = folder.path("texts");
    fs::create_dir_all(&empty).unwrap();
    for (name, text) in [("a", "ab"), ("b", "   "), ("c", "cd")] {
        fs::write(format!("{empty}/{name}"), text).unwrap();
    }
    let habits = json!({
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "a"},
    });
    let tokenize = |more: Value, name: &str, text: &str| {
        let file = folder.write("tokenizer.json", &vocabulary(more));
        let to = folder.path(name);
        let given = [
            "tokenize",
            "--text",
            text,
            "--output",
            &to,
            "--tokenizer",
            &file,
            "--held-out",
            "0",
        ];
        let done = baton(&[&given[..], &["--json"]].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        (done.json(), done.stderr)
    };
    let (plain, said) = tokenize(json!({}), "plain", &text);
    assert_eq!((&plain["tokens"], said.as_str()), (&json!(20), ""));
    let (whole, said) = tokenize(habits, "whole", &text);
    assert_eq!(whole["tokens"], plain["tokens"]);
    assert!(
        said.contains("its truncation to 4 tokens and padding is switched off"),
        "{said}"
    );
    let (some, _) = tokenize(json!({}), "some", &empty);
    assert_eq!(
        [&some["documents"], &some["empty"], &some["tokens"]],
        [&json!(2), &json!(1), &json!(4)]
    );
}

#[test]
fn a_folder_of_shards_is_whole_or_refused() {
    let folder = Folder::new("data-shards");
    let write = |name: &str, text: &str| {
        let text = folder.write("text.txt", text);
        let to = folder.path(name);
        let given = [
            "tokenize",
            "--text",
            &text,
            "--output",
            &to,
            "--shard-tokens",
            "40",
            "--held-out",
            "0",
        ];
        assert_eq!(baton(&given).code, 0);
        to
    };
    let own = write(
        "own",
        &"one segment hands its state to the next. ".repeat(4),
    );
    let other = write(
        "other",
        &"another text is cut to files of as many. ".repeat(4),
    );
    let file = |folder: &str, number: usize| format!("{folder}/train-{number:05}.safetensors");
    let count = fs::read_dir(&own).unwrap().count();
    assert_eq!(count, 5);
    assert_eq!(train(&folder, &["--data", &own]).code, 0);
    let kept: Vec<Vec<u8>> = (0..count)
        .map(|i| fs::read(file(&own, i)).unwrap())
        .collect();
    let refused = |expected: &str| {
        let done = train(&folder, &["--data", &own]);
        assert_eq!(done.code, 2, "{expected}");
        assert!(
            done.stderr.contains(expected),
            "{expected}: {}",
            done.stderr
        );
        for (i, bytes) in kept.iter().enumerate() {
            fs::write(file(&own, i), bytes).unwrap();
        }
    };
    for missing in [count - 1, 2] {
        fs::remove_file(file(&own, missing)).unwrap();
        refused(&format!(
            "train-{missing:05}.safetensors: no such file, expected all 5"
        ));
    }
    fs::copy(file(&own, 1), file(&own, 3)).unwrap();
    refused("train-00003.safetensors: it is file 1 of the text, expected file 3");
    fs::copy(file(&own, 1), file(&own, 5)).unwrap();
    refused("train-00005.safetensors: it is file 1 of the text, expected file 5");
    fs::remove_file(file(&own, 5)).unwrap();
    for number in [9, 123_456] {
        fs::copy(file(&other, 1), file(&own, number)).unwrap();
        refused(&format!(
            "train-{number:05}.safetensors: it is no file of the text, which has 5: expected those alone"
        ));
        fs::remove_file(file(&own, number)).unwrap();
    }
    fs::copy(file(&other, 2), file(&own, 2)).unwrap();
    refused("train-00002.safetensors: it is of another text");
    let mut spoiled = kept[4].clone();
    *spoiled.last_mut().unwrap() ^= 1;
    fs::write(file(&own, 4), spoiled).unwrap();
    refused("train-00004.safetensors: no tokenised text: its tokens are not as they were written");
    assert_eq!(train(&folder, &["--data", &own]).code, 0);
    assert!(!load(&folder.path("run/checkpoint.safetensors")).is_empty());
}

/// A data set that is there keeps its vocabulary: what is refused writes nothing.
#[test]
fn tokens_that_are_there_stay_as_they_are() {
    let folder = Folder::new("data-there");
    let text = folder.write("text.txt", "a text of some words ");
    let to = folder.path("tokens");
    let tokenize = |more: Value, held: &str| {
        let file = folder.write("tokenizer.json", &vocabulary(more));
        let given = ["tokenize", "--text", &text, "--output", &to, "--tokenizer"];
        baton(&[&given[..], &[file.as_str(), "--held-out", held]].concat())
    };
    assert_eq!(tokenize(json!({}), "0").code, 0);
    let held = || {
        let names = ["tokenizer.json", "train-00000.safetensors"];
        names.map(|name| fs::read(format!("{to}/{name}")).unwrap())
    };
    let before = held();
    for share in ["0", "0.5"] {
        let done = tokenize(json!({"normalizer": null}), share);
        let expected = "train-00000.safetensors: is there already";
        assert!(
            done.code == 2 && done.stderr.contains(expected),
            "{}",
            done.stderr
        );
        assert!(held() == before, "--held-out {share}");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
    }
}

/// A command that is refused leaves a run's folder as it was, and a vocabulary belongs to the checkpoint beside it.
#[test]
fn what_is_refused_leaves_a_run_as_it_was() {
    let folder = Folder::new("data-refused");
    let text = folder.write("text.txt", &"a state that is carried home ".repeat(20));
    let tokens = |name: &str, more: Value| {
        let file = folder.write("tokenizer.json", &vocabulary(more));
        let to = folder.path(name);
        let given = ["tokenize", "--text", &text, "--output", &to, "--tokenizer"];
        assert_eq!(baton(&[&given[..], &[file.as_str()]].concat()).code, 0);
        to
    };
    let one = tokens("one", json!({}));
    let two = tokens("two", json!({"normalizer": null}));
    let run = folder.path("run");
    let train = |more: &[&str]| {
        let few = ["--steps", "1", "--length", "8", "--batch", "2", "--quiet"];
        baton(&[&["train", "--folder", &run], more, &few].concat())
    };
    let refused = |done: &Finished, expected: &str| {
        assert!(
            done.code == 2 && done.stderr.contains(expected),
            "{expected}: {}",
            done.stderr
        );
    };
    let held = || {
        let entries = fs::read_dir(&run).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = paths
            .filter(|path| !path.ends_with("lock"))
            .map(|path| (path.clone(), fs::read(path).unwrap_or_default()))
            .collect();
        all.sort();
        all
    };
    assert_eq!(train(&["--text", &text]).code, 0);
    let before = held();
    refused(&train(&["--data", &one]), "made by another configuration");
    assert!(held() == before, "a vocabulary");
    let published = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../train/tests/golden/mamba2_hf"
    );
    let task = ["--task", "recall:vocabulary=96,pairs=2", "--rate", "1e-3"];
    let few = ["--steps", "1", "--length", "16", "--batch", "2", "--quiet"];
    let from = ["post-train", "--from", published, "--folder", &run];
    let post = baton(&[&from[..], &task, &few].concat());
    refused(&post, "made by another configuration");
    assert!(held() == before, "what came with a published checkpoint");

    // Nothing is begun in a new folder.
    let fresh = folder.path("fresh");
    let task = ["--task", "copying:max=20", "--length", "128", "--quiet"];
    let looked = ["train", "--folder", &fresh, "--eval-every", "1"];
    let looked = baton(&[&looked[..], &task].concat());
    refused(&looked, "of which nothing is held out");
    assert!(!fs::exists(&fresh).unwrap());

    // What a run left that died before its first checkpoint.
    fs::remove_dir_all(&run).unwrap();
    fs::create_dir_all(&run).unwrap();
    let file = |folder: &str| format!("{folder}/tokenizer.json");
    fs::copy(file(&one), file(&run)).unwrap();
    let bytes = train(&["--text", &text]);
    refused(&bytes, "tokenizer.json: it belongs to no checkpoint");
    let own = fs::read(file(&two)).unwrap();
    for _ in 0..2 {
        let done = train(&["--data", &two]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(fs::read(file(&run)).unwrap() == own);
    }
    fs::copy(file(&one), file(&two)).unwrap();
    let other = train(&["--data", &two]);
    refused(&other, "tokenizer.json: it belongs to the checkpoint");
    assert!(fs::read(file(&run)).unwrap() == own);
}
