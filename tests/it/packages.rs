//! What a registry would be given: every crate that is published is whole, small and said to be what it is.
//!
//! Cargo itself says what it would pack (`cargo package --list`); nothing is built. `make package` packs it.

use baton_ir::builtin;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// What a registry takes, packed; before it is packed a file is larger, so that this is on the safe side.
const LIMIT: u64 = 10_000_000;

/// What cargo prints, in the root.
fn cargo(arguments: &[&str]) -> String {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(program);
    let ran = command.args(arguments).current_dir(root).output();
    let ran = ran.expect("cargo");
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "cargo {arguments:?}: {told}");
    String::from_utf8(ran.stdout).expect("UTF-8")
}

/// The crates of the workspace that are published.
fn published() -> Vec<Value> {
    let arguments = [
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ];
    let metadata: Value = serde_json::from_str(&cargo(&arguments)).expect("JSON");
    let all = metadata["packages"].as_array().expect("packages").clone();
    let kept = all
        .into_iter()
        .filter(|package| package["publish"].is_null());
    kept.collect()
}

fn word<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

#[test]
fn every_crate_says_what_it_is() {
    let all = published();
    let names: BTreeSet<&str> = all.iter().map(|package| word(package, "name")).collect();
    for package in &all {
        let name = word(package, "name");
        for key in ["description", "license", "readme", "rust_version"] {
            assert!(!word(package, key).is_empty(), "{name} has no {key}");
        }
        for dependency in package["dependencies"].as_array().expect("a list") {
            let of = word(dependency, "name");
            if of == "baton" || of.starts_with("baton-") {
                assert!(
                    names.contains(of),
                    "{name} depends on {of}, which is not published"
                );
                assert_ne!(word(dependency, "req"), "*", "{name} takes any {of}");
            }
        }
    }
    assert!(
        names.contains("baton") && names.contains("baton-cli"),
        "{names:?}"
    );
    let not = ["baton-tests", "baton-benches", "own-crate"];
    assert!(not.iter().all(|name| !names.contains(name)), "{names:?}");
}

#[test]
fn every_package_is_whole_and_small() {
    for package in published() {
        let name = word(&package, "name");
        let folder = Path::new(word(&package, "manifest_path"))
            .parent()
            .expect("a folder");
        let list = cargo(&[
            "package",
            "--list",
            "--allow-dirty",
            "--offline",
            "--package",
            name,
        ]);
        let list: BTreeSet<&str> = list.lines().collect();
        for file in ["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(list.contains(file), "{name} lacks {file}");
        }
        if name == "baton-ir" {
            let texts = builtin::NAMES
                .iter()
                .map(|of| format!("recurrences/{of}.rec"));
            let lost: Vec<String> = texts.filter(|text| !list.contains(text.as_str())).collect();
            assert!(lost.is_empty(), "{lost:?}");
        }
        let size = |file: &&str| fs::metadata(folder.join(file)).map_or(0, |found| found.len());
        let bytes: u64 = list.iter().map(size).sum();
        assert!(bytes < LIMIT, "{name} has {bytes} bytes");
        let sources = list
            .iter()
            .filter(|file| file.starts_with("src/") && file.ends_with(".rs"));
        for source in sources.filter(|file| !file.ends_with("tests.rs")) {
            let text = fs::read_to_string(folder.join(source)).expect("a source");
            for given in included(&text) {
                let beside = Path::new(source).parent().expect("a folder").join(given);
                let inside = normal(&beside);
                let there = inside.as_deref().is_some_and(|path| list.contains(path));
                assert!(
                    there,
                    "{name}: {source} includes {given}, which is not packed"
                );
            }
        }
    }
}

/// The files that a source includes by a literal, where it is compiled for others than tests.
fn included(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text
        .split("#[cfg(test)]\nmod")
        .next()
        .unwrap_or_default()
        .lines()
        .collect();
    let ours = lines.iter().enumerate().filter(|(i, line)| {
        let above = i.checked_sub(1).map_or("", |i| lines[i]);
        !above.contains("doctest") && !line.trim_start().starts_with("//")
    });
    let calls = ours.flat_map(|(_, line)| {
        ["include_str!(\"", "include_bytes!(\""].map(|call| line.split_once(call))
    });
    calls
        .flatten()
        .filter_map(|(_, rest)| Some(rest.split_once('"')?.0))
        .collect()
}

/// The path without `..`; none where it leads out.
fn normal(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = vec![];
    for part in path.to_str()?.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The library brings what a run on the CPU needs, and with training a tensor library; neither plots, vocabularies,
/// archives nor a command line.
#[test]
fn the_library_brings_little() {
    let brings = |features: &str| -> BTreeSet<String> {
        let tree = cargo(&[
            "tree",
            "--offline",
            "--package",
            "baton",
            "--features",
            features,
            "--edges",
            "normal",
            "--prefix",
            "none",
        ]);
        let first = |line: &str| line.split(' ').next().unwrap_or_default().to_string();
        tree.lines().map(first).collect()
    };
    let (plain, train) = (brings(""), brings("train"));
    assert!(plain.contains("baton-runtime") && train.contains("burn-core"));
    for not in [
        "tokenizers",
        "zip",
        "pytorch-reader",
        "parquet",
        "clap",
        "mpi",
        "plotters",
    ] {
        assert!(!plain.contains(not) && !train.contains(not), "{not}");
    }
    for not in ["baton-train", "burn-core", "indicatif", "serde_json"] {
        assert!(!plain.contains(not), "{not}");
    }
    assert!(brings("tokenizers").contains("tokenizers"));
}

/// The Python package is a workspace of its own, whose lock file no build here brings up to date; its wheel takes it as it is.
#[test]
fn the_python_packages_lock_file_has_what_our_crates_ask_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../python/Cargo.lock");
    let lock = fs::read_to_string(path).expect("python/Cargo.lock");
    let mut crates = 0;
    for package in published() {
        let name = format!("\nname = \"{}\"\n", word(&package, "name"));
        let Some(entry) = lock
            .split("[[package]]")
            .find(|entry| entry.contains(&name))
        else {
            continue;
        };
        crates += 1;
        for dependency in package["dependencies"].as_array().expect("a list") {
            let of = word(dependency, "name");
            let always = dependency["optional"] == false
                && dependency["kind"].is_null()
                && dependency["target"].is_null();
            let listed = [format!(" \"{of}\""), format!(" \"{of} ")];
            assert!(
                !always || listed.iter().any(|line| entry.contains(line)),
                "python/Cargo.lock has no {of} for {}: cargo metadata --manifest-path python/Cargo.toml",
                word(&package, "name")
            );
        }
    }
    assert!(crates >= 3, "{crates} of our crates in python/Cargo.lock");
}
