//! Pages followed to the letter: their files, their commands, what they say is printed.

use crate::program::{Folder, baton, load};
use std::path::Path;
use std::process::Command;

/// The fenced blocks of one language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    let inside = page.split(fence.as_str()).skip(1);
    let closed = inside.map(|rest| rest.split("\n```").next().expect("a block"));
    closed.collect()
}

/// Runs every line in the folder; each with what it printed and what it told beside.
fn follow(folder: &Folder, commands: &str) -> Vec<(String, String, String)> {
    let run = |line: &str| {
        let mut words = line.split_whitespace();
        let program = match words.next() {
            Some("baton") => env!("CARGO_BIN_EXE_baton"),
            Some("python3") => "python3",
            other => panic!("no reader has {other:?}"),
        };
        let mut command = Command::new(program);
        let ran = command.args(words).current_dir(folder.path("")).output();
        let ran = ran.unwrap_or_else(|why| panic!("{program}: {why}"));
        let [printed, told] =
            [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
        assert!(ran.status.success(), "{line}: {told}");
        (line.to_string(), printed, told)
    };
    commands.lines().map(run).collect()
}

/// Runs a line of a shell in the folder, `baton` being ours; what it told beside.
fn shell(folder: &Folder, line: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_baton"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program.parent().expect("a folder").display());
    let mut shell = Command::new("bash");
    let shell = shell.args(["-c", line]).env("PATH", &path);
    let ran = shell.current_dir(folder.path("")).output().expect("bash");
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{line}: {told}");
    told
}

/// README's first steps, fewer and shorter ones.
#[test]
fn the_first_steps_lead_to_a_report_and_a_text() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let folder = Folder::new("first");
    let part = page.split("\n## First steps\n").nth(1).expect("a section");
    let commands = blocks(part, "sh")[0];
    for line in commands.lines().filter(|line| line.starts_with("baton ")) {
        let mut line = line.to_string();
        for (long, short) in [
            ("--steps 300", "--steps 2"),
            ("--steps 100", "--steps 2"),
            ("--length 64x --sequences 16", "--length 2x --sequences 2"),
            ("--tokens 200", "--tokens 5"),
        ] {
            line = line.replace(long, short);
        }
        shell(&folder, &line);
    }
    let report = std::fs::read_to_string(folder.path("runs/report.html")).expect("a report");
    assert!(report.contains("passed") && report.contains("<svg"));
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
    let ran = follow(&folder, commands);
    let (_, printed, _) = ran.last().expect("a command");
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

#[test]
fn a_block_is_made_of_a_text_as_the_page_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/own-block.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let folder = Folder::new("own_block");
    let ([rec], [write]) = (&blocks(&page, "rec")[..], &blocks(&page, "python")[..]) else {
        panic!("one recurrence and one program")
    };
    folder.write("two_memories.rec", &format!("{rec}\n"));
    folder.write("write.py", &format!("{write}\n"));
    let [commands] = blocks(&page, "sh")[..] else {
        panic!("one list of commands")
    };
    let ran = follow(&folder, commands);
    let [said] = blocks(&page, "text")[..] else {
        panic!("one print")
    };
    let trained = ran
        .iter()
        .find(|(line, ..)| line.starts_with("baton train"));
    let (_, _, told) = trained.expect("a training");
    assert!(told.contains(&format!("{said}\n")), "{told}");
    // From random words to what frequent ones look like, and the converted one is the same but for bf16.
    let tables: Vec<Vec<f64>> = (ran.iter())
        .filter(|(line, ..)| line.starts_with("baton eval perplexity"))
        .map(|(_, printed, _)| {
            let rows = printed.lines().filter_map(|row| {
                let mut cells = row.split_whitespace();
                cells.next()?.parse::<usize>().ok()?;
                cells.next()?.parse().ok()
            });
            rows.collect()
        })
        .collect();
    let [passed, converted] = &tables[..] else {
        panic!("two measurements: {tables:?}")
    };
    // Up to 8, 16, .. 1024.
    assert_eq!((passed.len(), converted.len()), (8, 8));
    for (a, b) in passed.iter().zip(converted) {
        assert!(*a < 100.0 && (a / b - 1.0).abs() < 0.05, "{tables:?}");
    }
    let report = std::fs::read_to_string(folder.path("report.html")).expect("a report");
    assert!(report.contains("passed") && report.contains("<svg"));
}

/// Every command of the page, in one folder that has the repository's checkpoints.
#[test]
fn texts_are_made_as_the_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/generation.md")).expect("the page");
    let folder = Folder::new("generated");
    let checkpoints = root.join("checkpoints").canonicalize().expect("ours");
    std::os::unix::fs::symlink(checkpoints, folder.path("checkpoints")).expect("a link");
    let commands = blocks(&page, "sh");
    assert_eq!(commands.len(), 2);
    for line in commands.iter().flat_map(|block| block.lines()) {
        let told = shell(&folder, line);
        assert!(
            !line.starts_with("baton") || told.contains(" tokens/s)"),
            "{told}"
        );
    }
    let whole = std::fs::read(folder.path("whole.txt")).expect("a text");
    assert_eq!(whole.len(), 40);
    let three = std::fs::read(folder.path("three.json")).expect("JSON");
    let three: serde_json::Value = serde_json::from_slice(&three).expect("JSON");
    let texts: Vec<&str> = (three["sequences"].as_array().expect("an array").iter())
        .map(|one| one["text"].as_str().expect("a text"))
        .collect();
    assert!(
        texts.len() == 3 && texts[0] != texts[1] && texts[1] != texts[2],
        "{texts:?}"
    );
    assert_eq!(three["made"]["tokens"], 90);
}

/// Every command of the page on configurations, with the file that it shows.
#[test]
fn a_run_is_configured_as_the_page_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let folder = Folder::new("configured");
    let ([commands], [file]) = (&blocks(&page, "sh")[..], &blocks(&page, "toml")[..]) else {
        panic!("one list of commands and one file")
    };
    folder.write("small.toml", file);
    folder.write(
        "text.txt",
        &"one segment hands its state to the next. ".repeat(60),
    );
    for line in commands.lines() {
        shell(&folder, line);
    }
    let metrics =
        std::fs::read_to_string(folder.path("runs/small/metrics.jsonl")).expect("metrics");
    assert_eq!(metrics.lines().count(), 2);
    let printed = std::fs::read_to_string(folder.path("my.json")).expect("JSON");
    let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(printed["model"]["block"]["state_size"], 64);
    assert_eq!(
        (&printed["schedule"]["shape"], &printed["seed"]),
        (&"wsd".into(), &2.into())
    );
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
    assert!(tuned.contains("damped K=5 V=3 B=1 T=96 H=2, "), "{tuned}");
    assert!(checked.contains("; by own (measured"), "{checked}");
    assert!(listed.contains(tuned.trim_end()), "{listed}");
}

/// The manual has every option of every verb; each is on a page that says what it is for.
#[test]
fn every_option_is_on_a_page() {
    let folder = Folder::new("options");
    let done = baton(&["man", &folder.path("")]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let entries = std::fs::read_dir(format!("{root}/docs")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let pages = paths.chain([format!("{root}/README.md").into()]);
    let pages: String = pages
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let said = |option: &str| {
        let mut after = pages.split(option).skip(1);
        after.any(|after| !after.starts_with(|c: char| c == '-' || c.is_alphanumeric()))
    };
    let mut count = 0;
    for file in folder.files() {
        let page = std::fs::read_to_string(folder.path(&file))
            .unwrap()
            .replace("\\-", "-");
        for line in page.lines().filter(|line| line.starts_with("\\fB-")) {
            let option = line.split("\\f").find_map(|part| part.strip_prefix("B--"));
            if let Some(option) = option.filter(|option| !["help", "version"].contains(option)) {
                assert!(
                    said(&format!("--{option}")),
                    "--{option} of {file} is on no page"
                );
                count += 1;
            }
        }
    }
    assert!(count > 200, "{count} options");
}
