//! Tuning as a process: killed at any moment it goes on, what it refuses, and what training keeps of it.

use crate::program::{Finished, Folder};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const REC: &str = "recurrence damped {
    dims   { K, V }
    inputs { q: [K], k: [K], v: [V], g: [] }
    state  { S: [K, V] }
    S = sigmoid(g) * S + outer(k, v);
    output o: [V] = dot(q, S);
}
";

/// `baton` in a home of its own.
fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.args(arguments).current_dir(folder.path(""));
    command.env("XDG_DATA_HOME", folder.path("home"));
    command
}

fn finished(folder: &Folder, arguments: &[&str]) -> Finished {
    let output = command(folder, arguments).output().expect("baton starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Finished {
        code: output.status.code().expect("baton exits by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

const TUNE: [&str; 9] = [
    "tune",
    "--file",
    "damped.rec",
    "--shape",
    "T=96,H=2,K=5,V=3",
    "--threads",
    "1",
    "--rounds",
    "4",
];

/// The journal's lines, where there is one.
fn journal(folder: &Folder) -> String {
    let files = fs::read_dir(folder.path("home/baton/choices"))
        .into_iter()
        .flatten()
        .flatten();
    let mut files = files.map(|file| file.path());
    let found = files.find(|path| path.extension().is_some_and(|ending| ending == "journal"));
    let text = found.map(|path| fs::read_to_string(path).expect("UTF-8"));
    let text = text.unwrap_or_default();
    text[..text.rfind('\n').map_or(0, |at| at + 1)].to_string()
}

#[test]
fn a_killed_tuning_goes_on_and_training_keeps_what_it_began_with() {
    let folder = Folder::new("killed-tuning");
    folder.write("damped.rec", REC);
    let mut kept = String::new();
    for milliseconds in [60, 250, 700] {
        let mut child = command(&folder, &TUNE);
        let mut child = child
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("baton starts");
        sleep(Duration::from_millis(milliseconds));
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        child.kill().expect("killed");
        child.wait().expect("a child");
        let lines = journal(&folder);
        if lines.is_empty() && !kept.is_empty() {
            break; // It was done, and killed on its way out: what it came to is asked below.
        }
        assert!(lines.starts_with(&kept), "{kept}\n{lines}");
        kept = lines;
    }
    let done = finished(&folder, &[&TUNE[..], &["--json"]].concat());
    assert_eq!(done.code, 0, "{}", done.stderr);
    let entry = &done.json()["results"][0]["entry"];
    assert!(
        entry["tried"]
            .as_array()
            .is_some_and(|tried| tried.len() > 3),
        "{entry}"
    );
    if let Some(head) = kept.lines().next() {
        let head: Value = serde_json::from_str(head).expect("JSON");
        assert_eq!(
            entry["seed"], head["began"]["seed"],
            "the first sitting's numbers"
        );
    }
    assert_eq!(journal(&folder), "", "nothing is left of it");
    let again = finished(&folder, &[&TUNE[..], &["--json"]].concat());
    assert_eq!(again.json()["results"][0]["before"], true);
    assert_eq!(&again.json()["results"][0]["entry"], entry);

    folder.write("text.txt", &"a baton is handed on. ".repeat(40));
    let train = |run: &str, choices: &[&str]| {
        let small = [
            "--length",
            "16",
            "--batch",
            "1",
            "--threads",
            "1",
            "--quiet",
        ];
        let asked = [
            "train", "--folder", run, "--text", "text.txt", "--steps", "1",
        ];
        let ended = finished(&folder, &[&asked[..], &small, choices].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        fs::read_to_string(folder.path(&format!("{run}/choices.json"))).expect("kept")
    };
    let kept = train("own", &["--choices", "own"]);
    assert!(kept.contains("damped"), "{kept}");
    assert!(!train("plain", &[]).contains("damped"));
    fs::remove_dir_all(folder.path("home")).expect("a home");
    assert_eq!(train("own", &["--choices", "own"]), kept);
}

#[test]
fn a_shape_whose_rules_are_off_does_not_stop_the_others() {
    let folder = Folder::new("tune-off");
    // What is left of the input after a million was added and taken off is noise in f32.
    let file = folder.write(
        "off.rec",
        "recurrence off {\n inputs { x: [] }\n state { n: [] }\n n = n + x;\n \
         output o: [] = (x + 1000000) - 1000000 + n;\n}\n",
    );
    let shapes = folder.write("shapes.txt", "T=20,H=2\nT=90,H=3\n");
    let arguments = [
        "tune",
        "--file",
        &file,
        "--shapes",
        &shapes,
        "--threads",
        "1",
    ];
    let done = finished(&folder, &arguments);
    assert_eq!(done.code, 2, "nothing was tuned: {}", done.stderr);
    for steps in ["steps 17-32", "steps 65-128"] {
        assert!(done.stderr.contains(steps), "{}", done.stderr);
    }
    assert!(done.stderr.contains("nothing was tuned"), "{}", done.stderr);
}

/// What failed fails by the same numbers until it is begun anew.
#[test]
fn a_failed_tuning_begins_anew_only_when_told() {
    let folder = Folder::new("tune-anew");
    folder.write(
        "off.rec",
        "recurrence off {\n inputs { x: [] }\n state { n: [] }\n n = n + x;\n \
         output o: [] = (x + 1000000) - 1000000 + n;\n}\n",
    );
    folder.write(
        "root.rec",
        "recurrence root {\n inputs { x: [] }\n state { n: [] }\n n = n + x;\n output o: [] = sqrt(x) + n;\n}\n",
    );
    for (file, part) in [
        ("off.rec", "step interpreter gives: "),
        ("root.rec", "`root` itself is not finite on drawn"),
    ] {
        let run = |more: &[&str]| {
            let fixed = ["tune", file, "--shape", "T=20,H=2", "--threads", "1"];
            let done = finished(&folder, &[&fixed[..], more].concat());
            assert_eq!(done.code, 2);
            assert!(done.stderr.contains(part), "{}", done.stderr);
            let head = journal(&folder);
            let head: Value =
                serde_json::from_str(head.lines().next().expect("a head")).expect("JSON");
            head["began"]["seed"].clone()
        };
        let first = run(&[]);
        assert_eq!(run(&[]), first);
        assert_ne!(run(&["--again"]), first);
        fs::remove_dir_all(folder.path("home")).expect("a home");
    }
}

/// Begun anew and out of time, it goes on without the word that began it, whatever was found before.
#[test]
fn what_was_begun_anew_goes_on() {
    let folder = Folder::new("tune-goes-on");
    folder.write("damped.rec", REC);
    let run = |more: &[&str]| {
        let done = finished(&folder, &[&TUNE[..], more].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        done.stdout
    };
    run(&[]);
    assert!(run(&[]).contains("tuned before"));
    let late = run(&["--again", "--budget", "0.0000001"]);
    assert!(
        late.contains("the same command without --again goes on"),
        "{late}"
    );
    assert!(!run(&[]).contains("tuned before"));
    assert!(run(&[]).contains("tuned before"));

    let listed =
        |arguments: &[&str]| finished(&folder, &[&["tune", "--list"], arguments].concat()).stdout;
    let all = listed(&[]);
    assert!(
        all.contains("damped K=5 V=3 B=1 T=96 H=2, 1 threads") && all.contains("gla K="),
        "{all}"
    );
    for own in [listed(&["damped"]), listed(&["damped.rec"])] {
        assert!(own.contains("damped") && !own.contains("gla"), "{own}");
    }
    assert_eq!(listed(&["other"]), "nothing was tuned yet of `other`\n");
}

#[test]
fn what_cannot_be_tuned_is_refused_in_words() {
    let folder = Folder::new("tune-refusals");
    folder.write("shapes.txt", "# none\n\n");
    folder.write("odd.txt", "gla T=16,H=1,K=0,V=4\n");
    for (arguments, part) in [
        (&["tune", "gla"][..], "--shape"),
        (&["tune", "--shape", "T=1,H=1"], "no recurrence given"),
        (
            &["tune", "gla", "--shape", "T=16,H=1,K=4"],
            "does not give V",
        ),
        (
            &[
                "tune",
                "gla",
                "--shape",
                "T=16,H=1,K=4,V=4",
                "--device",
                "emulator",
            ],
            "expected cpu",
        ),
        (&["tune", "gla", "--shapes", "shapes.txt"], "holds no shape"),
        (&["tune", "--shapes", "odd.txt"], "`0` for K"),
        (&["tune", "--shapes", "absent.txt"], "absent.txt"),
        (
            &[
                "tune",
                "gla",
                "--shape",
                "T=16,H=1,K=4,V=4",
                "--budget",
                "0",
            ],
            "more than 0",
        ),
        (
            &["tune", "gla", "--budget", "0.5s"],
            "a number without a unit, as 0.5",
        ),
    ] {
        let refused = finished(&folder, arguments);
        assert_eq!(refused.code, 2, "{arguments:?}");
        assert!(
            refused.stderr.contains(part),
            "{arguments:?}: {}",
            refused.stderr
        );
    }
    // No time at all: it says what is left to do, and begins nothing anew later.
    let shape = [
        "tune",
        "gla",
        "--shape",
        "T=16,H=1,K=4,V=4",
        "--budget",
        "0.0000001",
        "--json",
    ];
    let stopped = finished(&folder, &shape).json();
    assert_eq!(stopped["results"][0]["judged"], 0, "{stopped}");
}

/// One recurrence is read once for all shapes, from a standard input too; a shape has spaces where it likes.
#[test]
fn shapes_of_a_file_are_of_one_recurrence() {
    let folder = Folder::new("tune-shapes");
    folder.write(
        "shapes.txt",
        "T=16, H=1,K=4,V=4\nT=40,H=2,K=4, V=4 # more\n",
    );
    for place in [&["-"][..], &["--file", "-"]] {
        let few = ["--shapes", "shapes.txt", "--budget", "0.0000001", "--json"];
        let mut child = command(&folder, &[&["tune"], place, &few].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("baton starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(REC.as_bytes()).expect("read");
        drop(stdin);
        let done = child.wait_with_output().expect("waited");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        let found: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        assert_eq!(found["results"].as_array().map(Vec::len), Some(2));
    }
}

/// A result of a kit, as `--import` takes it.
fn of_a_kit(recurrence: &str) -> String {
    let times = json!({ "median": 1.0, "p10": 1.0, "p90": 1.0, "rounds": 2 });
    let entry = json!({
        "recurrence": recurrence, "text_hash": "0", "sizes": { "K": 4, "V": 4 }, "sequences": 1, "longest": 64,
        "heads": 1, "groups": 1, "target": "bf16 emulator", "tools": "none", "kernel_hash": "0", "choice": null,
        "errors": { "outputs": 0.0, "gradients": 0.0 }, "run": [1, 64, 1, 1], "threads": 1, "machine": "the emulator",
        "clock": "instructions", "default": times, "tuned": times, "ratio": [1.0, 1.0, 1.0],
        "rank_correlation": null, "seed": 1, "seconds": 1.0, "tried": [],
    });
    json!({ "entry": entry, "kernels": [] }).to_string()
}

#[test]
fn what_was_taken_over_is_listed_with_what_was_tuned() {
    let folder = Folder::new("tune-listed");
    folder.write("result.json", &of_a_kit("gla"));
    let import = ["tune", "--import", "result.json", "--device", "emulator"];
    let kept = finished(&folder, &import);
    assert_eq!(kept.code, 0, "{}", kept.stderr);
    let listed = |more: &[&str]| {
        let done = finished(&folder, &[&["tune", "--list"], more].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        done
    };
    let of_kit = "gla K=4 V=4, sequences 1-1, steps 33-64, H=1 on the emulator\n";
    let shipped = " threads of ";
    for (more, kit, plans) in [
        (&[][..], true, true),
        (&["--device", "emulator"], true, false),
        (&["--device", "cpu"], false, true),
    ] {
        let said = listed(more).stdout;
        let found = (said.contains(of_kit), said.contains(shipped));
        assert_eq!(found, (kit, plans), "{more:?}: {said}");
    }
    let json = listed(&["--device", "emulator", "--json"]).json();
    assert_eq!(json["entries"][0]["from"], "own");
    assert_eq!(json["entries"][0]["entry"]["target"], "bf16 emulator");
    assert_eq!(
        listed(&["gla", "--device", "cuda"]).stdout,
        "nothing was tuned yet of `gla` for --device cuda\n"
    );
}

/// A file among one's own results that is none is removed, which is all that helps.
#[test]
fn a_damaged_result_says_what_helps() {
    let folder = Folder::new("tune-damaged");
    fs::create_dir_all(folder.path("home/baton/choices")).expect("a folder");
    let shape = ["--shape", "T=16,H=1,K=4,V=4"];
    let again = ["tune", "gla", "--again", "--budget", "0.0000001"];
    let run = |line: &[&str]| finished(&folder, &[line, &shape].concat());
    for damage in [&b"{\"entries\": ["[..], b"\xff\xfe"] {
        let file = folder.path("home/baton/choices/gla.json");
        fs::write(&file, damage).expect("written");
        for line in [&["check", "gla"][..], &again] {
            let refused = run(line);
            let expected = "; remove it, and `baton tune` finds it anew\n";
            let said = &refused.stderr;
            assert!(
                refused.code == 2 && said.contains("gla.json`") && said.ends_with(expected),
                "{line:?}: {said}"
            );
        }
        fs::remove_file(&file).expect("removed");
        for line in [&["check", "gla"][..], &again] {
            assert_eq!(run(line).code, 0, "{line:?}");
        }
    }
}

/// What others wrote names files in its own folder and no other place.
#[test]
fn names_in_kits_and_results_are_no_paths() {
    let folder = Folder::new("tune-names");
    fs::create_dir_all(folder.path("kit")).expect("a folder");
    for file in ["../out.ptx.gz", "/etc/passwd", "ptx/../../out", "ptx//out"] {
        let kernel = json!({ "name": "k", "mlir_hash": "0", "file": file });
        let schedule = json!({ "chunk": 64, "warps": 4, "stages": 2 });
        let candidate = json!({ "schedule": schedule, "predicted_ms": 1.0, "kernels": [kernel] });
        let kit = json!({
            "version": env!("CARGO_PKG_VERSION"), "text": REC, "sizes": { "K": 4, "V": 4 }, "run": [1, 16, 1, 1],
            "dtype": "bf16", "predicted_for": "H100", "candidates": [candidate], "pruned": [],
        });
        folder.write("kit/kit.json", &kit.to_string());
        let tune = ["tune", "--kit", "kit", "--device", "emulator"];
        let refused = finished(&folder, &tune);
        let expected =
            format!("kernel `k` in the file `{file}`, expected one in the folder of the kit");
        assert!(
            refused.code == 2 && refused.stderr.contains(&expected),
            "{}",
            refused.stderr
        );
    }
    for name in ["../../../out", "a/b", "..", ""] {
        folder.write("result.json", &of_a_kit(name));
        let import = ["tune", "--import", "result.json", "--device", "emulator"];
        let refused = finished(&folder, &import);
        let expected = format!("recurrence `{name}`, expected a name");
        assert!(
            refused.code == 2 && refused.stderr.contains(&expected),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(folder.files(), ["kit", "result.json"]);
}
