//! The life of a model that retrieves: trained, asked, generated from on another day, shown.

use crate::program::{Finished, Folder, baton};

fn done(line: &[&str]) -> Finished {
    let finished = baton(line);
    assert_eq!(finished.code, 0, "{line:?}: {}", finished.stderr);
    finished
}

#[test]
fn a_model_that_retrieves_lives() {
    let folder = Folder::new("retrieval");
    let novel =
        "It is a truth universally acknowledged, that a key in want of a text must be found. ";
    let text = folder.write("text.txt", &novel.repeat(300));
    let run = folder.path("run");
    let sizes = [
        "--width", "16", "--length", "265", "--batch", "1", "--steps", "1", "--quiet",
    ];
    let train = |block: &str, folder: &str| {
        let base = [
            "train", "--block", block, "--text", &text, "--folder", folder,
        ];
        let task = ["--task", "token-passkey:gap=64"];
        done(&[&base[..], &task, &sizes].concat());
    };
    train("drt", &run);

    let few = ["--chunks-memory", "0", "--chunks-bf16"];
    let ask = [
        "eval",
        "passkey",
        "--task",
        "token-passkey:gap=64",
        "--checkpoint",
        &run,
        "--haystack",
        &text,
        "--quiet",
    ];
    let grid = ["--lengths", "1021", "--trials", "2"];
    let asked = done(&[&ask[..], &grid, &few].concat()).stdout;
    assert!(asked.contains("1021"), "{asked}");

    // A text goes on from its chunks with what it would have said.
    let line = |more: &[&str]| {
        let base = [
            "generate",
            "--checkpoint",
            &run,
            "--tokens",
            "20",
            "--quiet",
            "--json",
        ];
        let made = done(&[&base[..], more].concat()).json();
        made["sequences"][0]["tokens"].to_string()
    };
    let states = folder.path("s.safetensors");
    let first = novel.repeat(3);
    line(&["--prompt", &first, "--state-out", &states]);
    assert!(folder.files().iter().any(|name| name.ends_with(".chunks")));
    let next = ["--state-in", &states, "--prompt", " It is"];
    assert_eq!(line(&next), line(&next));

    let show = [
        "demo",
        "--retrieval",
        "--kept",
        &run,
        "--text",
        &text,
        "--length",
        "3000",
        "--quiet",
    ];
    let shown = done(&show).stdout;
    assert!(
        shown.starts_with("2974 tokens read in") && shown.contains("chosen for the answer:"),
        "{shown}"
    );

    let other = folder.path("other");
    train("mamba2", &other);
    let refused = baton(&[
        "generate",
        "--checkpoint",
        &other,
        "--prompt",
        "a",
        "--chunks-bf16",
    ]);
    let said = "--chunks-bf16 given for a model of mamba2, which keeps no chunks; expected one that retrieves";
    assert!(
        refused.code == 2 && refused.stderr.contains(said),
        "{}",
        refused.stderr
    );
    let refused = baton(&["demo", "--retrieval", "--kept", &other, "--text", &text]);
    assert!(
        refused.stderr.contains("a model without chunks given"),
        "{}",
        refused.stderr
    );
}
