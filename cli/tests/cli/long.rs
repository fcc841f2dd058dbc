//! Long runs: changed knowingly, looked at on the way, ended early, watched.

use crate::program::{Finished, Folder, baton};
use crate::train::{checkpoint, losses, text};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SMALL: [&str; 14] = [
    "--width",
    "16",
    "--layers",
    "1",
    "--set",
    "model.block.head_dim=8",
    "--length",
    "8",
    "--batch",
    "2",
    "--threads",
    "1",
    "--warmup",
    "2",
];

pub fn done<S: AsRef<str>>(line: &[S]) -> Finished {
    let finished = baton(line);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    finished
}

/// Trains in a folder of this name, in silence.
pub fn train(folder: &Folder, name: &str, more: &[&str]) -> String {
    let (text, run) = (text(folder), folder.path(name));
    let place = ["train", "--text", &text, "--folder", &run, "--quiet"];
    done(&[&place, &SMALL[..], more].concat());
    run
}

/// Every line of the metrics.
pub fn metrics(run: &str) -> Vec<Value> {
    let text = fs::read_to_string(format!("{run}/metrics.jsonl")).expect("metrics");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// What a checkpoint says beside its tensors.
pub fn header(path: &str) -> Value {
    let bytes = fs::read(path).expect("a checkpoint");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("whole");
    serde_json::from_str(&metadata.metadata().as_ref().expect("metadata")["baton"]).expect("JSON")
}

/// A run of a constant rate that is made longer has the bits of one that was as long from the beginning; states
/// that are passed go on too.
#[test]
fn a_run_is_made_longer_and_says_so() {
    let folder = Folder::new("long-extend");
    let constant = [
        "--schedule",
        "constant",
        "--initial-state",
        "state_passing:p_zero=0.5",
    ];
    let of = |steps: &'static str| [&constant[..], &["--steps", steps]].concat();
    let whole = train(&folder, "whole", &of("9"));
    let run = train(&folder, "run", &of("5"));
    let longer = [
        "train",
        "--change",
        "--steps",
        "9",
        "--folder",
        &run,
        "--threads",
        "1",
    ];
    let said = done(&longer).stderr;
    assert!(
        said.contains("\n  changed       from step 5: schedule.steps 5 to 9\n"),
        "{said}"
    );
    assert_eq!(checkpoint(&run), checkpoint(&whole));
    assert_eq!(losses(&run), losses(&whole));
    let changed = json!({"schedule.steps": [5, 9]});
    let lines = metrics(&run);
    for (step, line) in lines.iter().enumerate() {
        let expected = if step == 5 { Some(&changed) } else { None };
        assert_eq!(line.get("changed"), expected, "{step}");
    }
    let path = format!("{run}/checkpoint.safetensors");
    let changes = json!([{"step": 5, "keys": changed}]);
    assert_eq!(header(&path)["changes"], changes);

    // The same once more changes nothing, and neither does what is said as it is; nothing else goes on by itself.
    done(&longer);
    let text = text(&folder);
    let same = [
        "train", "--text", &text, "--folder", &run, "--quiet", "--steps", "9",
    ];
    done(&[&same, &SMALL[..], &constant].concat());
    assert_eq!(
        (header(&path)["changes"].clone(), losses(&run).len()),
        (changes, 9)
    );
    let before = ["train", "--text", &text, "--folder", &run, "--steps", "5"];
    let refused = baton(&[&before, &SMALL[..], &constant].concat());
    assert_eq!(refused.code, 2);
    assert!(
        refused
            .stderr
            .contains("`config.schedule.steps` was 9 there and is 5 now"),
        "{}",
        refused.stderr
    );
}

#[test]
fn other_rates_batches_and_states_are_taken_and_another_model_is_not() {
    let folder = Folder::new("long-change");
    let run = train(
        &folder,
        "run",
        &["--steps", "4", "--initial-state", "state_passing"],
    );
    let change = |more: &[&str]| {
        let line = [
            "train",
            "--change",
            "--folder",
            &run,
            "--quiet",
            "--threads",
            "1",
        ];
        baton(&[&line, more].concat())
    };
    for (more, keys) in [
        (
            &["--steps", "6", "--batch", "3"][..],
            json!({"schedule.steps": [4, 6], "batch_size": [2, 3]}),
        ),
        (
            &[
                "--steps",
                "8",
                "--initial-state",
                "fitted_noise:fit=1",
                "--rate",
                "0.001",
            ],
            json!({"schedule.steps": [6, 8], "schedule.peak": [0.003, 0.001],
                "initial_state.fit": [null, 1], "initial_state.momentum": [null, 0.99],
                "initial_state.conv": ["zero", null], "initial_state.type": ["state_passing", "fitted_noise"]}),
        ),
        (
            &[
                "--steps",
                "10",
                "--length",
                "6",
                "--schedule",
                "wsd",
                "--clip",
                "0.5",
                "--seed",
                "9",
            ],
            json!({"schedule.steps": [8, 10], "train_length": [8, 6], "schedule.shape": ["cosine", "wsd"],
                "optimizer.clip": [1.0, 0.5], "seed": [1, 9]}),
        ),
    ] {
        let finished = change(more);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        let changes = header(&format!("{run}/checkpoint.safetensors"))["changes"].clone();
        let last = changes
            .as_array()
            .and_then(|all| all.last())
            .expect("a change");
        assert_eq!(last["keys"], keys);
    }
    assert_eq!(losses(&run).len(), 10);
    assert_eq!(
        metrics(&run)[9]["tokens"],
        json!(4 * 16 + 2 * 24 + 2 * 24 + 2 * 18)
    );
    let wide = change(&["--width", "32", "--block", "mamba1"]);
    assert_eq!(wide.code, 2);
    for part in [
        "`model.hidden_size` given as 32, expected 16",
        "`model.block.type` given as \"mamba1\"",
    ] {
        assert!(wide.stderr.contains(part), "{}", wide.stderr);
    }
    let other = folder.write("other.txt", &"some other text altogether. ".repeat(60));
    let other = change(&["--steps", "12", "--text", &other]);
    assert_eq!(other.code, 2);
    assert!(
        other.stderr.contains("expected what the run read"),
        "{}",
        other.stderr
    );
    let none = baton(&["train", "--change", "--folder", &folder.path("none")]);
    assert_eq!(none.code, 2);
    assert!(
        none.stderr.contains("no such file or folder"),
        "{}",
        none.stderr
    );
}

/// What a disk or another program left in the metrics is no line, whatever its bytes are; choices that a run began
/// with and that are damaged say what can be done.
#[test]
fn a_run_goes_on_after_damage_beside_its_checkpoint() {
    let folder = Folder::new("long-damage");
    let run = train(&folder, "run", &["--steps", "3"]);
    let path = format!("{run}/metrics.jsonl");
    let mut bytes = fs::read(&path).expect("metrics");
    bytes.extend(b"\0\0\xff\xfe{\"step\":2\n\xc3");
    fs::write(&path, &bytes).expect("written");
    done(&["report", &run]);
    let longer = |steps: &'static str| {
        let line = ["train", "--change", "--folder", &run, "--quiet", "--steps"];
        baton(&[&line[..], &[steps, "--threads", "1"]].concat())
    };
    let finished = longer("5");
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let steps: Vec<Value> = metrics(&run)
        .iter()
        .map(|line| line["step"].clone())
        .collect();
    assert_eq!(json!(steps), json!([0, 1, 2, 3, 4]));

    let shorter = longer("4");
    let expected = "4 steps in all given for a run that has done 5, expected at least as many";
    assert!(
        shorter.code == 2 && shorter.stderr.contains(expected),
        "{}",
        shorter.stderr
    );
    assert_eq!(longer("5").code, 0);

    let choices = format!("{run}/choices.json");
    fs::write(&choices, "{\"entries\": [").expect("written");
    let damaged = longer("6");
    for part in [
        "choices.json",
        "from a copy; without the file it goes by rules",
    ] {
        assert!(
            damaged.code == 2 && damaged.stderr.contains(part),
            "{}",
            damaged.stderr
        );
    }
    fs::remove_file(&choices).expect("removed");
    assert_eq!(longer("6").code, 0);
}

/// A trial that needs more memory than there is ends with one message, in JSON too.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_runs_out_is_one_message() {
    let folder = Folder::new("long-memory");
    let (text, run) = (text(&folder), folder.path("run"));
    let program = env!("CARGO_BIN_EXE_baton");
    let more = "--width 512 --batch 16384 --length 512 --threads 1 --steps 1 --quiet --json";
    let line =
        format!("ulimit -v 2000000; exec {program} train --text {text} --folder {run} {more}");
    let ended = Command::new("bash").args(["-c", &line]).output();
    let ended = ended.expect("bash");
    let [printed, told] = [&ended.stdout, &ended.stderr].map(|said| String::from_utf8_lossy(said));
    assert_eq!(ended.status.code(), Some(2), "{told}");
    assert!(
        told.starts_with("error: memory ran out: ") && told.lines().count() == 1,
        "{told}"
    );
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    let error = printed["error"].as_str().expect("a message");
    assert_eq!(told.trim_end(), format!("error: {error}"));
}

/// What follows from an option is no difference: a run that was made longer is gone on with by the same steps.
#[test]
fn a_warm_up_that_nobody_said_refuses_nothing() {
    let folder = Folder::new("long-derived");
    let (text, run) = (text(&folder), folder.path("run"));
    let of = |steps: &'static str| {
        let place = ["train", "--text", &text, "--folder", &run, "--quiet"];
        baton(&[&place[..], &SMALL[..12], &["--steps", steps]].concat())
    };
    assert_eq!(of("20").code, 0);
    let refused = of("30");
    let expected = "`config.schedule.steps` was 20 there and is 30 now; `baton train --change` goes on by another, \
                    another --folder begins anew";
    assert!(
        refused.code == 2 && refused.stderr.contains(expected),
        "{}",
        refused.stderr
    );
    let longer = [
        "train", "--change", "--steps", "30", "--folder", &run, "--quiet",
    ];
    done(&longer);
    let again = of("30");
    assert_eq!((again.code, again.stderr.as_str()), (0, ""));
    assert!(
        again.stdout.contains("no step was left"),
        "{}",
        again.stdout
    );
}

#[test]
fn held_out_text_is_looked_at_and_nothing_else_changes() {
    let folder = Folder::new("long-look");
    let look = [
        "--steps",
        "9",
        "--rate",
        "0.02",
        "--eval-every",
        "2",
        "--csv",
        "--checkpoint-every",
        "3",
    ];
    let looked = train(&folder, "looked", &look);
    let plain = train(&folder, "plain", &["--steps", "9", "--rate", "0.02"]);
    assert_eq!(checkpoint(&looked), checkpoint(&plain));
    assert_eq!(losses(&looked), losses(&plain));
    let lines = metrics(&looked);
    // After steps 2, 4, 6, 8 and the last.
    let found: Vec<(u64, [f64; 2])> = lines
        .iter()
        .filter(|line| line.get("held_out").is_some())
        .map(|line| {
            let of = |key: &str| line["held_out"][key].as_f64().expect("a loss");
            (
                line["step"].as_u64().expect("a step") + 1,
                [of("within"), of("past")],
            )
        })
        .collect();
    let steps: Vec<u64> = found.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [2, 4, 6, 8, 9]);
    assert!(
        found
            .iter()
            .all(|(_, losses)| losses.iter().all(|loss| (0.5..8.0).contains(loss))),
        "{found:?}"
    );
    let (step, [loss, _]) = found
        .iter()
        .min_by(|a, b| a.1[0].total_cmp(&b.1[0]))
        .expect("looks");
    let best = header(&format!("{looked}/best.safetensors"));
    assert_eq!(
        (&best["progress"]["step"], &best["progress"]["best"]["loss"]),
        (&json!(step), &json!(loss))
    );

    // The measure of the page: the loss of the first length, and of what follows.
    let text = text(&folder);
    let measured = done(&[
        "eval",
        "perplexity",
        "--checkpoint",
        &looked,
        "--text",
        &text,
        "--quiet",
        "--length",
        "32",
        "--sequences",
        "8",
        "--json",
    ])
    .json();
    let (edges, measured) = (
        &measured["result"]["positions"],
        &measured["result"]["loss"],
    );
    assert_eq!(edges, &json!([8, 16, 32]));
    let of = |i: usize| measured[i].as_f64().expect("a loss");
    let [within, past] = found[4].1;
    assert!((of(0) - within).abs() < 1e-6 && ((of(1) + 2.0 * of(2)) / 3.0 - past).abs() < 1e-6);

    // The table has the numbers of the lines, also when a run goes on.
    let table = fs::read_to_string(format!("{looked}/metrics.csv")).expect("a table");
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split(',').collect()).collect();
    assert_eq!(rows.len(), 10);
    for (row, line) in rows[1..].iter().zip(&lines) {
        for (name, cell) in rows[0].iter().zip(row) {
            let place = format!("/{}", name.replace("held_out_", "held_out/"));
            let value = line.pointer(&place).map_or(String::new(), Value::to_string);
            assert_eq!(*cell, value, "{name}");
        }
    }
    let longer = [
        "train", "--change", "--steps", "11", "--folder", &looked, "--quiet", "--csv",
    ];
    done(&longer);
    let longer = fs::read_to_string(format!("{looked}/metrics.csv")).expect("a table");
    assert!(
        longer.starts_with(&table) && longer.lines().count() == 12,
        "{longer}"
    );
    let task = [
        "train",
        "--task",
        "copying",
        "--length",
        "64",
        "--folder",
        &folder.path("task"),
        "--eval-every",
        "1",
    ];
    let refused = baton(&task);
    assert_eq!(refused.code, 2);
    assert!(
        refused
            .stderr
            .contains("the task copying, of which nothing is held out"),
        "{}",
        refused.stderr
    );
}

/// A run that was killed before its first checkpoint goes on from the best one, with the bits of one that was not; a
/// damaged checkpoint says that there is another.
#[test]
fn the_best_checkpoint_is_one_to_go_on_from() {
    let folder = Folder::new("long-best");
    let options = [
        "--steps",
        "9",
        "--rate",
        "1",
        "--schedule",
        "constant",
        "--eval-every",
        "2",
    ];
    let whole = train(&folder, "whole", &options);
    let (run, text) = (train(&folder, "run", &options), text(&folder));
    let [last, best] = ["checkpoint", "best"].map(|name| format!("{run}/{name}.safetensors"));
    let mut bytes = fs::read(&last).expect("a checkpoint");
    let middle = bytes.len() - 5;
    bytes[middle] ^= 1;
    fs::write(&last, bytes).expect("written");
    let again = [
        &["train", "--text", &text, "--folder", &run],
        &SMALL[..],
        &options,
    ]
    .concat();
    let refused = baton(&again);
    assert_eq!(refused.code, 2);
    let left = "; best.safetensors beside it is the best checkpoint on the way: where this one is lost, remove it";
    assert!(refused.stderr.contains(left), "{}", refused.stderr);

    fs::remove_file(&last).expect("removed");
    let step = &header(&best)["progress"]["step"];
    assert!(step.as_u64() < Some(9), "{step}");
    let said = done(&again).stderr;
    assert!(
        said.contains(&format!("tokens, from step {step}\n")),
        "{said}"
    );
    assert!(checkpoint(&run) == checkpoint(&whole));
    assert_eq!(losses(&run), losses(&whole));
}

/// At a rate of zero nothing gets better after the first look.
#[test]
fn a_run_that_gets_no_better_ends_early_and_stays_ended() {
    let folder = Folder::new("long-patience");
    let look = [
        "--steps",
        "50",
        "--rate",
        "0",
        "--eval-every",
        "3",
        "--patience",
        "2",
    ];
    let (text, run) = (text(&folder), folder.path("run"));
    let line = [
        &["train", "--text", &text, "--folder", &run],
        &SMALL[..],
        &look,
    ]
    .concat();
    let first = done(&line);
    assert!(
        first.stderr.contains("step 3/50  held out: loss 5."),
        "{}",
        first.stderr
    );
    for finished in [first, done(&line)] {
        for part in [
            " after 9 steps (held-out text was not better predicted any more), ",
            "after 3 steps, best.safetensors\n",
        ] {
            assert!(finished.stdout.contains(part), "{}", finished.stdout);
        }
        assert_eq!(
            (losses(&run).len(), checkpoint(&run).map(|(step, _)| step)),
            (9, Some(9))
        );
    }
    // With more patience it goes on from there.
    let mut line = line;
    *line.last_mut().expect("patience") = "3";
    done(&line);
    assert_eq!(losses(&run).len(), 12);
}

#[test]
fn a_page_that_is_watched_is_written_again() {
    let folder = Folder::new("long-watch");
    // It may be watched before it begins.
    let run = folder.path("run");
    fs::create_dir(&run).expect("a folder");
    let page = format!("{run}/report.html");
    let mut watch = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["report", &run, "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("baton starts");
    let mut told = String::new();
    let stderr = watch.stderr.take().expect("piped");
    let read = BufReader::new(stderr).read_line(&mut told);
    assert!(
        read.is_ok() && told.ends_with("; looking again\n"),
        "{told}"
    );
    train(&folder, "run", &["--steps", "3"]);
    let begun = Instant::now();
    let until = |what: &dyn Fn(&str) -> bool| loop {
        let now = fs::read_to_string(&page).unwrap_or_default();
        if what(&now) {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", now.len());
        std::thread::sleep(Duration::from_millis(20));
    };
    let again = "<meta http-equiv=\"refresh\" content=\"2\">";
    let first = until(&|page| page.contains(again));
    let lines = fs::read_to_string(format!("{run}/metrics.jsonl")).expect("metrics");
    fs::write(
        format!("{run}/metrics.jsonl"),
        lines + "{\"step\":3,\"loss\":1.5}\n{\"step\":4,",
    )
    .expect("written");
    until(&|page| page.contains(again) && page != first);
    let sent = Command::new("kill")
        .args(["-s", "INT", &watch.id().to_string()])
        .status();
    assert!(sent.expect("kill").success());
    let done = watch.wait_with_output().expect("waited");
    assert!(done.status.success());
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(
        told.starts_with("written ") && told.ends_with(" times\n"),
        "{told}"
    );
    let last = fs::read_to_string(&page).expect("a page");
    assert!(!last.contains(again) && last.contains("</html>"));
}
