//! The page on adding a recurrence, followed to the letter: its files, its commands, what it says they print.

use crate::program::{Folder, load};
use std::path::Path;
use std::process::Command;

/// The fenced blocks of one language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    let inside = page.split(fence.as_str()).skip(1);
    let closed = inside.map(|rest| rest.split("\n```").next().expect("a block"));
    closed.collect()
}

#[test]
fn a_recurrence_is_added_as_the_page_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/add-a-recurrence.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let folder = Folder::new("added");
    let [rec] = blocks(&page, "rec")[..] else {
        panic!("one recurrence")
    };
    let [write, read] = blocks(&page, "python")[..] else {
        panic!("two programs")
    };
    let files = [
        ("gated_retention.rec", rec),
        ("write.py", write),
        ("read.py", read),
    ];
    for (name, text) in files {
        folder.write(name, &format!("{text}\n"));
    }
    let [commands] = blocks(&page, "sh")[..] else {
        panic!("one list of commands")
    };
    let mut printed = String::new();
    for line in commands.lines() {
        let mut words = line.split_whitespace();
        let program = match words.next() {
            Some("baton") => env!("CARGO_BIN_EXE_baton"),
            Some("python3") => "python3",
            other => panic!("no reader has {other:?}"),
        };
        let mut command = Command::new(program);
        let ran = command.args(words).current_dir(folder.path("")).output();
        let ran = ran.unwrap_or_else(|why| panic!("{program}: {why}"));
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{line}: {told}");
        printed = String::from_utf8(ran.stdout).expect("UTF-8");
    }
    let [said] = blocks(&page, "text")[..] else {
        panic!("one print")
    };
    assert_eq!(printed.trim_end(), said);
    let [out, truth] =
        ["out", "truth"].map(|name| load(&folder.path(&format!("{name}.safetensors"))));
    for (name, (_, shape, found)) in &out {
        let (_, same, truth) = &truth[name];
        assert_eq!(shape, same, "{name}");
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * b.abs();
        assert!(
            found.iter().zip(truth).all(near),
            "{name}: {found:?}, {truth:?}"
        );
    }
}

/// The page on tuning: its commands, in a home of their own.
#[test]
fn a_recurrence_is_tuned_as_the_page_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tuning.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let folder = Folder::new("tuned");
    let [rec] = blocks(&page, "rec")[..] else {
        panic!("one recurrence")
    };
    folder.write("damped.rec", &format!("{rec}\n"));
    let [commands] = blocks(&page, "sh")[..] else {
        panic!("one list of commands")
    };
    let mut printed = vec![];
    for line in commands.lines() {
        let words = line.strip_prefix("baton ").expect("a command of ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command.args(words.split_whitespace());
        command.env("XDG_DATA_HOME", folder.path("home"));
        let ran = command.current_dir(folder.path("")).output();
        let ran = ran.unwrap_or_else(|why| panic!("baton: {why}"));
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{line}: {told}");
        printed.push(String::from_utf8(ran.stdout).expect("UTF-8"));
    }
    let [tuned, checked, listed] = &printed[..] else {
        panic!("three commands")
    };
    assert!(tuned.contains("damped K=5 V=3 B=1 T=96 H=2 G=2"), "{tuned}");
    assert!(checked.contains("; by own (measured"), "{checked}");
    assert!(listed.contains(tuned.trim_end()), "{listed}");
}
