//! Where results go, and where they cannot: one error, no success, nothing left behind; and what is read
//! from the standard input.

use crate::eval::trained;
use crate::program::{Finished, Folder, baton, load, save};
use safetensors::tensor::Dtype;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn finished(output: Output) -> Finished {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Finished {
        code: output.status.code().expect("baton exits by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Runs `baton` in a folder with a standard input.
fn fed(folder: &Folder, arguments: &[&str], input: &[u8]) -> Finished {
    let mut child = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(arguments)
        .current_dir(folder.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("baton starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A program that does not want it may be gone already.
    let _ = stdin.write_all(input);
    drop(stdin);
    finished(child.wait_with_output().expect("waited"))
}

/// Runs `baton` with its standard output on `to`.
fn onto(arguments: &[&str], to: Stdio) -> Finished {
    let child = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(arguments)
        .stdout(to)
        .stderr(Stdio::piped())
        .spawn()
        .expect("baton starts");
    finished(child.wait_with_output().expect("waited"))
}

fn parts(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.to_string_lossy().into_owned();
        match path.is_dir() {
            true => found.extend(parts(&name)),
            false if name.contains(".part") => found.push(name),
            false => {}
        }
    }
    found
}

#[test]
fn every_verb_fails_on_a_full_standard_output() {
    let folder = Folder::new("outputs-full");
    let [text, checkpoint] = trained(&folder);
    let run = folder.path("run");
    let [tokens, model, again] = ["tokens", "model", "again"].map(|name| folder.path(name));
    let page = folder.path("page.html");
    let verbs: &[&[&str]] = &[
        &["--version"],
        &["--help"],
        &["check", "mamba2"],
        &["check", "mamba2", "--json"],
        &["print", "gla"],
        &["derive", "gla"],
        &["schedule", "gla"],
        &["emit", "mamba2", "--level", "tile"],
        &["tokenize", "--text", &text, "--output", &tokens],
        &["convert", "--from", &checkpoint, "--to", &model],
        &["report", &run, "--output", &page],
        &[
            "eval",
            "states",
            "--checkpoint",
            &checkpoint,
            "--text",
            &text,
            "--length",
            "64",
            "--quiet",
        ],
        &[
            "train", "--text", &text, "--folder", &again, "--steps", "1", "--length", "16",
            "--quiet",
        ],
    ];
    for verb in verbs {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("Linux");
        let done = onto(verb, full.into());
        assert_eq!(done.code, 2, "{verb:?}: {}", done.stderr);
        let expected = "error: cannot write the standard output: No space left on device";
        assert!(
            done.stderr.starts_with(expected),
            "{verb:?}: {}",
            done.stderr
        );
        assert_eq!(done.stderr.lines().count(), 1, "{verb:?}: {}", done.stderr);
        // A reader that went away.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        if ["check", "print", "--help"].contains(&verb[0]) {
            let done = onto(verb, writer.into());
            let expected = "error: cannot write the standard output: Broken pipe";
            assert!(
                done.code == 2 && done.stderr.starts_with(expected),
                "{}",
                done.stderr
            );
        }
    }
    assert_eq!(parts(&folder.path("")), [""; 0]);
}

/// A disk that ends: the same as a limit on the size of a file, which needs no disk of its own.
#[test]
fn a_disk_that_is_full_leaves_what_was_there() {
    let folder = Folder::new("outputs-disk");
    let [text, checkpoint] = trained(&folder);
    let run = folder.path("run");
    let [tokens, model, again, logits] =
        ["tokens", "model", "again", "logits.safetensors"].map(|name| folder.path(name));
    let ids = folder.path("ids.safetensors");
    save(
        &ids,
        &[("input_ids".into(), (Dtype::I64, vec![1, 90], vec![7.0; 90]))].into(),
    );
    let states = folder.write("states.json", "the old one");
    let verbs: &[&[&str]] = &[
        &[
            "train", "--text", &text, "--folder", &again, "--steps", "2", "--length", "16",
            "--quiet",
        ],
        &["convert", "--from", &checkpoint, "--to", &model],
        &[
            "tokenize",
            "--text",
            &text,
            "--output",
            &tokens,
            "--shard-tokens",
            "4000",
        ],
        &[
            "eval",
            "logits",
            "--checkpoint",
            &checkpoint,
            "--inputs",
            &ids,
            "--output",
            &logits,
        ],
        &[
            "eval",
            "states",
            "--checkpoint",
            &checkpoint,
            "--text",
            &text,
            "--length",
            "500",
            "--times",
            "300",
            "--output",
            &states,
            "--quiet",
        ],
        &["report", &run],
    ];
    for verb in verbs {
        let mut limited = Command::new("bash");
        limited.args([
            "-c",
            "ulimit -f 7; exec \"$@\"",
            "bash",
            env!("CARGO_BIN_EXE_baton"),
        ]);
        let done = finished(limited.args(*verb).output().expect("bash"));
        assert_eq!(done.code, 2, "{verb:?}: {}", done.stderr);
        assert!(
            done.stderr.contains("File too large"),
            "{verb:?}: {}",
            done.stderr
        );
        assert_eq!(done.stderr.lines().count(), 1, "{verb:?}: {}", done.stderr);
        assert_eq!(parts(&folder.path("")), [""; 0], "{verb:?}");
    }
    assert_eq!(fs::read_to_string(&states).expect("read"), "the old one");
    assert!(!Path::new(&model).exists() && !Path::new(&logits).exists());
    let left = fs::read_dir(&tokens).expect("readable").count();
    assert_eq!(left, 0, "shards of a text that was not written to its end");
}

#[test]
fn an_output_is_looked_at_before_the_work() {
    let folder = Folder::new("outputs-before");
    let [text, checkpoint] = trained(&folder);
    let given = [
        "eval",
        "states",
        "--checkpoint",
        &checkpoint,
        "--text",
        &text,
        "--quiet",
    ];
    let short = ["--length", "64", "--sequences", "2", "--output"];
    // The checkpoint is not even opened.
    let absent = [
        "eval",
        "states",
        "--checkpoint",
        "/no/checkpoint",
        "--output",
    ];
    for (place, why) in [
        ("/proc/p.json", "/proc/p.json: cannot be written"),
        ("/", "it is a folder"),
    ] {
        let done = baton(&[&absent[..], &[place]].concat());
        assert_eq!(done.code, 2);
        assert!(done.stderr.contains(why), "{}", done.stderr);
    }
    // A bare name is in the folder that we are in; a link is written through.
    let bare = [&given[..], &short, &["p.json"]].concat();
    let done = fed(&folder, &bare, b"");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let first = fs::read(folder.path("p.json")).expect("written");
    std::os::unix::fs::symlink("there/q.json", folder.path("link.json")).expect("a link");
    let linked = [&given[..], &short, &["link.json"]].concat();
    let done = fed(&folder, &linked, b"");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert!(fs::read_link(folder.path("link.json")).is_ok());
    let second = fs::read(folder.path("there/q.json")).expect("written");
    assert_eq!(second.len() / 100, first.len() / 100);
    // A bare checkpoint has a folder too.
    let inside = Folder::new("outputs-inside");
    fs::copy(&checkpoint, inside.path("checkpoint.safetensors")).expect("a copy");
    let bare = [
        "eval",
        "states",
        "--checkpoint",
        "checkpoint.safetensors",
        "--text",
        &text,
    ];
    let done = fed(
        &inside,
        &[&bare[..], &["--length", "64", "--quiet"]].concat(),
        b"",
    );
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

/// A name of a file need not be UTF-8: JSON has what can be shown of it.
#[test]
fn a_name_that_is_no_text_is_shown() {
    let folder = Folder::new("outputs-names");
    let text = folder.write("text.txt", &"a state is carried home. ".repeat(50));
    let odd = Path::new(&folder.path("")).join(OsStr::from_bytes(b"odd\xff"));
    let small = "--width 16 --layers 1 --length 8 --batch 1 --steps 2 --quiet";
    let train = format!("train --text {text} {small} --folder");
    for (line, key, name) in [
        (train.as_str(), "checkpoint", "/checkpoint.safetensors"),
        ("report", "page", "/report.html"),
        ("man", "folder", ""),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command.args(line.split(' ')).arg(&odd).arg("--json");
        let done = finished(command.output().expect("baton starts"));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{line}");
        let shown = format!("{}{name}", odd.display());
        assert_eq!(done.json()[key], shown, "{line}");
    }
}

const REC: &str = "recurrence averaged {
    dims   { V }
    inputs { v: [V], a: [] }
    state  { m: [V] }
    m = sigmoid(a) * m + v;
    output o: [V] = m;
}
";

#[test]
fn a_dash_is_the_standard_input() {
    let folder = Folder::new("outputs-dash");
    let file = folder.write("averaged.rec", REC);
    for verb in ["check", "print", "derive", "schedule"] {
        let done = fed(&folder, &[verb, "-"], REC.as_bytes());
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{verb}");
        assert_eq!(done.stdout, baton(&[verb, &file]).stdout);
    }
    let wrong = fed(
        &folder,
        &["check", "-"],
        REC.replace("+ v", "+ w").as_bytes(),
    );
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.stderr.contains("the standard input:5:"),
        "{}",
        wrong.stderr
    );
    let wrong = fed(&folder, &["check", "-"], &[b'r', 0xff]);
    assert!(
        wrong.stderr.contains("no UTF-8 from byte 1 on"),
        "{}",
        wrong.stderr
    );

    let v = (
        Dtype::F32,
        vec![1, 3, 1, 2],
        vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    );
    let a = (Dtype::F32, vec![1, 3, 1], vec![0.5, 0.0, -0.5]);
    let inputs = folder.path("in.safetensors");
    save(&inputs, &[("v".into(), v), ("a".into(), a)].into());
    let bytes = fs::read(&inputs).expect("read");
    let given = [
        "run",
        "--file",
        "averaged.rec",
        "--inputs",
        "-",
        "--output",
        "out.safetensors",
    ];
    let done = fed(&folder, &given, &bytes);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let (_, _, o) = &load(&folder.path("out.safetensors"))["o"];
    assert_eq!(o[..2], [1.0, 2.0]);
    let twice = [
        "run",
        "--file",
        "-",
        "--inputs",
        "-",
        "--output",
        "out.safetensors",
    ];
    let done = fed(&folder, &twice, REC.as_bytes());
    assert_eq!(done.code, 2);
    assert!(
        done.stderr.contains("the standard input given twice"),
        "{}",
        done.stderr
    );
    let done = fed(&folder, &given, b"no archive");
    assert!(
        done.stderr
            .contains("`the standard input` is no safetensors file"),
        "{}",
        done.stderr
    );
}

/// What is read is not replaced by what is written, and no result by another.
#[test]
fn an_output_replaces_nothing_that_is_read() {
    let folder = Folder::new("outputs-read");
    let [text, checkpoint] = trained(&folder);
    let run = folder.path("run");
    let rec = folder.write("averaged.rec", REC);
    let (absent, samples) = (folder.path("in.safetensors"), folder.path("said.jsonl"));
    let read = "it is part of what is read, expected another file";
    let perplexity = ["eval", "perplexity", "--quiet", "--length", "64"];
    let perplexity = [&perplexity[..], &["--sequences", "2", "--text", &text]].concat();
    let passkey = ["eval", "passkey", "--quiet", "--lengths", "200"];
    let passkey = [
        &passkey[..],
        &["--trials", "1", "--checkpoint", &checkpoint],
    ]
    .concat();
    let measure = |checkpoint: &str, output: &str| {
        let given = ["--checkpoint", checkpoint, "--output", output];
        baton(&[&perplexity[..], &given].concat())
    };
    let kept = || [&text, &checkpoint, &rec].map(|file| fs::read(file).expect("read"));
    let before = kept();
    let same = [&passkey[..], &["--samples", &samples, "--output", &samples]].concat();
    let state = ["generate", "--checkpoint", &run, "--prompt", "a"];
    let state = [&state[..], &["--quiet", "--state-out", &checkpoint]].concat();
    let recurrence = ["run", "--inputs", &absent, "--output", &rec];
    for (done, why) in [
        (measure(&checkpoint, &checkpoint), read),
        (measure(&run, &checkpoint), read),
        (measure(&checkpoint, &text), read),
        (
            baton(&[&passkey[..], &["--samples", &checkpoint]].concat()),
            read,
        ),
        (
            baton(&same),
            "given with --samples and with --output, expected two files",
        ),
        (baton(&state), read),
        (baton(&[&recurrence[..], &["--file", &rec]].concat()), read),
        (baton(&[&recurrence[..], &[rec.as_str()]].concat()), read),
    ] {
        assert!(
            done.code == 2 && done.stderr.contains(why),
            "{}",
            done.stderr
        );
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    }
    assert!(kept() == before && !Path::new(&samples).exists());
    // A result beside a run is found again, and better.
    for _ in 0..2 {
        let done = measure(&run, &format!("{run}/perplexity.json"));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    }
}
