//! The life of a model whose block is a recurrence that no file of the project knows.

use crate::program::{Finished, Folder, Tensors, baton, load, save};
use crate::train::{checkpoint, losses, start, text};
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

const TEXT: &str = "// Two memories and a count of the steps that are remembered.
recurrence remembered {
    dims   { K, V }
    inputs { q: [K], k: [K] per group, v: [V], forget: [] }
    params { slow: [] }
    state  { near: [K, V], far: [V], count: [] }

    near = sigmoid(forget) * near + outer(l2norm(k), v);
    far = sigmoid(slow) * far + v;
    count = sigmoid(slow) * count + 1;
    output o: [V] = dot(q, near) + far / count;
    output p: [] = log(count);
}
";

/// Runs a line of arguments.
fn run(line: &[&str]) -> Finished {
    baton(line)
}

fn done(line: &[&str]) -> Finished {
    let finished = run(line);
    assert_eq!(finished.code, 0, "{line:?}: {}", finished.stderr);
    finished
}

/// Fails, and says why in these words.
fn refused(line: &[&str], code: i32, part: &str) {
    let finished = run(line);
    assert_eq!(finished.code, code, "{line:?}: {}", finished.stderr);
    assert!(
        finished.stderr.contains(part),
        "{line:?}: {}",
        finished.stderr
    );
}

#[test]
fn a_model_of_a_text_of_ones_own_lives() {
    let folder = Folder::new("own-life");
    let (rec, text) = (folder.write("my.rec", TEXT), text(&folder));
    let block = [
        "--block",
        &rec,
        "--heads",
        "4",
        "--groups",
        "2",
        "--dim",
        "K=3",
        "--dim",
        "V=5",
        "--port",
        "k:conv=4,act=silu",
        "--port",
        "v:bias,conv=2",
        "--port",
        "slow:ramp=1..5",
    ];
    let given = [
        "--text",
        &text,
        "--length",
        "16",
        "--batch",
        "2",
        "--steps",
        "30",
        "--checkpoint-every",
        "3",
        "--threads",
        "1",
        "--quiet",
    ];
    let train = |run: &str| -> Vec<String> {
        let all = [&["train", "--folder", run][..], &block[..], &given[..]].concat();
        all.into_iter().map(String::from).collect()
    };
    let (calm, killed) = (folder.path("base-seed1"), folder.path("killed"));
    let whole = baton(&train(&calm));
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    let mut child = start(&train(&killed));
    let begun = Instant::now();
    while losses(&killed).len() < 10 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().expect("killed");
    child.wait().expect("waited");
    // A comment is no other recurrence; a number is.
    folder.write("my.rec", &TEXT.replace("Two memories", "Memories"));
    let again = baton(&train(&killed));
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(
        (losses(&killed).len(), losses(&killed)),
        (30, losses(&calm))
    );
    assert_eq!(checkpoint(&killed), checkpoint(&calm));
    folder.write("my.rec", &TEXT.replace("count + 1", "count + 2"));
    let other = baton(&train(&killed));
    assert_eq!(other.code, 2);
    let lines = "line 9 of `config.model.block.text` was `count = sigmoid(slow) * count + 1;` there and is \
                 `count = sigmoid(slow) * count + 2;` now";
    assert!(other.stderr.contains(lines), "{}", other.stderr);
    fs::remove_file(&rec).expect("removed");

    // From here on there is no file but the checkpoint.
    let passed = folder.path("passed-seed1");
    for (policy, run) in [
        ("state_passing:p_zero=0.1,conv=carried", "passed-seed1"),
        ("noise:std=0.1", "noise"),
        (
            "0.5*fitted_noise:fit=1 + 0.5*truncated_bptt:conv=carried",
            "mixed",
        ),
    ] {
        let run = folder.path(run);
        done(&[
            "post-train",
            "--from",
            &calm,
            "--folder",
            &run,
            "--text",
            &text,
            "--initial-state",
            policy,
            "--steps",
            "4",
            "--quiet",
        ]);
        assert_eq!(losses(&run).len(), 4, "{policy}");
    }
    let measure = |measure: &str, checkpoint: &str, more: &[&str]| -> Value {
        let line = [
            "eval",
            measure,
            "--checkpoint",
            checkpoint,
            "--text",
            &text,
            "--quiet",
            "--json",
        ];
        done(&[&line[..], more].concat()).json()
    };
    let wide = ["--length", "200", "--sequences", "1"];
    let out = |run: &str, name: &str| format!("{run}/{name}.json");
    for run in [&calm, &passed] {
        let (output, states) = (out(run, "perplexity"), out(run, "states"));
        let far = [
            "--length",
            "1024",
            "--sequences",
            "1",
            "--whole",
            "--output",
            &output,
        ];
        let perplexity = measure("perplexity", run, &far);
        let positions = perplexity["result"]["positions"]
            .as_array()
            .expect("positions");
        assert_eq!(positions.last(), Some(&json!(1024)));
        let losses = perplexity["result"]["loss"].as_array().expect("losses");
        assert!(
            losses
                .iter()
                .all(|loss| loss.as_f64().is_some_and(f64::is_finite))
        );
        let text = &perplexity["checkpoint"]["config"]["model"]["block"]["text"];
        assert!(
            text.as_str()
                .is_some_and(|text| text.starts_with("recurrence remembered {"))
        );
        let over_time = measure("states", run, &[&wide[..], &["--output", &states]].concat());
        let layers = over_time["result"]["layers"].as_array().expect("layers");
        assert_eq!(layers.len(), 2 * 3, "three states of two layers");
    }
    let remembrance = measure(
        "remembrance",
        &passed,
        &[&wide[..], &["--cuts", "5"]].concat(),
    );
    assert_eq!(
        remembrance["result"]["cuts"].as_array().map(Vec::len),
        Some(5)
    );

    // Its states by the names of the text, out and in again.
    let (ids, half) = (
        folder.path("ids.safetensors"),
        folder.path("half.safetensors"),
    );
    let rest = folder.path("rest.safetensors");
    let tokens = |from: usize, to: usize| {
        let ids = (from..to).map(|i| (i * i % 251) as f64).collect();
        let ids = (Dtype::I64, vec![1, to - from], ids);
        save(
            &folder.path("ids.safetensors"),
            &Tensors::from([("input_ids".into(), ids)]),
        );
    };
    let logits = |output: &str, more: &[&str]| {
        let line = [
            "eval",
            "logits",
            "--checkpoint",
            &passed,
            "--inputs",
            &ids,
            "--output",
            output,
        ];
        done(&[&line[..], more].concat());
        load(output)
    };
    tokens(0, 40);
    let all = logits(&rest, &["--states"]);
    tokens(0, 17);
    let first = logits(&half, &["--states"]);
    let shapes: Vec<_> = first
        .iter()
        .map(|(name, (_, shape, _))| (name.as_str(), &shape[..]))
        .collect();
    let channels = 2 * 3 + 4 * 5;
    let (conv, near) = ([1, channels, 4], [1, 4, 3, 5]);
    let want: [(&str, &[usize]); 9] = [
        ("conv.0", &conv),
        ("conv.1", &conv),
        ("count.0", &[1, 4]),
        ("count.1", &[1, 4]),
        ("far.0", &[1, 4, 5]),
        ("far.1", &[1, 4, 5]),
        ("logits", &[1, 17, 256]),
        ("near.0", &near),
        ("near.1", &near),
    ];
    assert_eq!(shapes, want);
    tokens(17, 40);
    let second = logits(&rest, &["--states", "--initial-state", &half]);
    for (name, (_, _, got)) in &second {
        let want = &all[name].2;
        let want = if name == "logits" {
            &want[17 * 256..]
        } else {
            &want[..]
        };
        let scale = want.iter().fold(1.0, |most: f64, x| x.abs().max(most));
        assert_eq!(got.len(), want.len());
        let far = got
            .iter()
            .zip(want)
            .fold(0.0, |far: f64, (a, b)| far.max((a - b).abs()));
        assert!(far < 2e-5 * scale, "{name}: {far}");
    }

    done(&["report", &folder.path("")]);
    let page = fs::read_to_string(folder.path("report.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("passed"));
    let small = folder.path("small");
    done(&[
        "convert", "--from", &passed, "--to", &small, "--dtype", "bf16",
    ]);
    let kept = measure("perplexity", &small, &wide);
    assert_eq!(kept["checkpoint"]["train_length"], 16);
    let to = folder.path("published");
    let line = [
        "convert",
        "--from",
        &passed,
        "--to",
        &to,
        "--layout",
        "hugging-face",
    ];
    refused(
        &line,
        2,
        "a model of remembered given, expected another block",
    );
}

#[test]
fn a_plan_takes_a_text_from_its_folder() {
    let folder = Folder::new("own-plan");
    folder.write("my.rec", TEXT);
    let config = json!({
        "model": {"hidden_size": 12, "block": {"type": "recurrence", "text": "my.rec", "ports": {"k": "conv=2"}}},
        "train_length": 8, "batch_size": 2, "schedule": {"steps": 2, "warmup": 0},
    });
    let plan = |config: &Value| {
        json!({
            "bases": [{"name": "own", "seeds": [1], "config": config}],
            "post_trainings": [{"name": "passing", "steps": [2], "initial_state": {"type": "state_passing"}}],
            "evaluations": {"perplexity": {"measure": "perplexity", "length": "64x", "sequences": 1}},
        })
    };
    let (text, runs) = (text(&folder), folder.path("runs"));
    let path = folder.write("plan.json", &plan(&config).to_string());
    let line = [
        "reproduce",
        &path,
        "--folder",
        &runs,
        "--text",
        &text,
        "--quiet",
    ];
    // Fifteen percent of the text are 256 tokens; 64 times 8 are more.
    let long = fs::read_to_string(&text).expect("a text").repeat(3);
    fs::write(&text, long).expect("written");
    done(&line);
    let stored =
        fs::read_to_string(folder.path("runs/own/passing-2-steps/seed1/run.json")).expect("a run");
    let stored: Value = serde_json::from_str(&stored).expect("JSON");
    let block = &stored["config"]["model"]["block"];
    assert_eq!(block["ports"]["k"], "plain,conv=2");
    assert!(
        block["text"]
            .as_str()
            .is_some_and(|text| text.contains("near = sigmoid(forget)"))
    );
    let mut wrong = config;
    wrong["model"]["block"]["text"] = json!("your.rec");
    folder.write("plan.json", &plan(&wrong).to_string());
    refused(&line, 2, "your.rec: ");
}

#[test]
fn what_makes_no_block_is_said_at_its_place() {
    let folder = Folder::new("own-wrong");
    let (text, run) = (text(&folder), folder.path("run"));
    let bad = folder.write(
        "bad.rec",
        &TEXT.replace("sigmoid(slow) * far", "slow * far"),
    );
    let good = folder.write("good.rec", TEXT);
    let line = |block: &'static [&'static str], file: &str| -> Vec<String> {
        let base = [
            "train", "--text", &text, "--folder", &run, "--steps", "1", "--block", file,
        ];
        [&base[..], block]
            .concat()
            .into_iter()
            .map(String::from)
            .collect()
    };
    let refused = |line: Vec<String>, code: i32, part: &str| {
        refused(
            &line.iter().map(String::as_str).collect::<Vec<_>>(),
            code,
            part,
        );
    };
    refused(line(&[], &bad), 1, "bad.rec:9:");
    refused(
        line(&[], "no.rec"),
        2,
        "`no.rec` is no file and no built-in recurrence",
    );
    refused(
        line(&["--port", "near:conv=4"], &good),
        2,
        "`near` given, which is a state of `remembered`",
    );
    refused(
        line(&["--port", "q:cnv=4"], &good),
        2,
        "`cnv` given for the input `q`",
    );
    refused(line(&["--port", "q"], &good), 2, "expected NAME:SETTINGS");
    refused(
        line(&["--dim", "N=4"], &good),
        2,
        "the dim `N` given, expected one of the recurrence `remembered`",
    );
    refused(
        line(
            &["--dim", "N=4", "--port", "q:cnv=4", "--port", "w:conv=4"],
            &good,
        ),
        2,
        "the dim `N` given, expected one of the recurrence `remembered`, which has K, V; the port `w` given, \
         expected one of the recurrence `remembered`, which has q, k, v, forget, slow, o, p; `cnv` given for the \
         input `q`, expected of plain,",
    );
    refused(
        line(&["--dim", "K=4", "--dim", "K=5"], &good),
        2,
        "--dim given for `K` twice",
    );
    refused(
        line(&["--heads", "2"], "mamba2"),
        2,
        "--heads: `model.block.num_heads` given, expected a key of the block mamba2: its heads are its channels over `model.block.head_dim` (--head-size)",
    );
    let json = [line(&[], &bad), vec!["--json".into()]].concat();
    let finished = baton(&json);
    assert_eq!(finished.json()["diagnostics"][0]["line"], 9);
    assert!(!fs::exists(&run).expect("known"), "nothing is begun");
}
