//! The demonstration from its options to its files.

use crate::program::{Folder, baton};

/// With kept models nothing is trained; what was measured is printed, written and drawn.
#[test]
fn the_demonstration_draws_what_it_measured() {
    let folder = Folder::new("demo");
    let sentence = "It is a truth universally acknowledged that a state must be carried. ";
    let text = folder.write("text.txt", &sentence.repeat(450));
    let to = folder.path("demo");
    let kept = "../checkpoints/mamba2-64";
    let ran = baton(&[
        "demo", "--kept", kept, "--text", &text, "--folder", &to, "--quiet",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("perplexity by position, text.txt")
            && ran.stdout.contains("state passing"),
        "{}",
        ran.stdout
    );
    let file = |name: &str| std::fs::read(format!("{to}/{name}")).expect(name);
    let report: serde_json::Value = serde_json::from_slice(&file("report.json")).expect("JSON");
    assert_eq!(
        (
            &report["train_length"],
            report["positions"].as_array().map(Vec::len)
        ),
        (&64.into(), Some(10))
    );
    let svg = String::from_utf8(file("perplexity.svg")).expect("UTF-8");
    for said in [
        "<svg",
        "Perplexity by position",
        "zero-state control",
        "training length, 64",
    ] {
        assert!(svg.contains(said), "{said}");
    }
    assert!(file("perplexity.png").starts_with(b"\x89PNG"));
}

#[test]
fn a_demonstration_says_where_its_model_is() {
    let ran = baton(&["demo", "--retrieval", "--quiet"]); // in this package's folder
    let said = "checkpoints/drt: no such folder: run it in the repository, which has it, or give --kept RUN";
    assert!(ran.code == 2 && ran.stderr.contains(said), "{}", ran.stderr);
}

/// A text that is too short to measure on is refused before anything is trained on it.
#[test]
fn a_demonstration_asks_for_enough_text_first() {
    let folder = Folder::new("demo-short");
    let text = folder.write("text.txt", &"too short ".repeat(60));
    let to = folder.path("demo");
    let given = ["demo", "--text", &text, "--folder", &to, "--steps", "1"];
    let ran = baton(&[&given[..], &["--quiet"]].concat());
    let said = "expected at least 4097: a text of 27307 bytes or more";
    assert!(ran.code == 2 && ran.stderr.contains(said), "{}", ran.stderr);
    assert!(!std::fs::exists(&to).expect("seen"));
}
