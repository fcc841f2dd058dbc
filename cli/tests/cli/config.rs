//! Configurations as files and options: laid over each other, printed whole, read again, refused at once; and the
//! page that says every key.

use crate::program::{Finished, Folder, baton};
use crate::train::{checkpoint, losses, text};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn done<S: AsRef<str>>(line: &[S]) -> Finished {
    let finished = baton(line);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    finished
}

/// The whole configuration that options give.
fn printed(more: &[&str]) -> Value {
    done(&[&["train", "--print-config", "--json"], more].concat()).json()
}

/// Small, and different from every default.
const OPTIONS: [&str; 38] = [
    "--width",
    "24",
    "--layers",
    "1",
    "--feed-forward",
    "20",
    "--heads",
    "3",
    "--vocabulary",
    "300",
    "--steps",
    "5",
    "--length",
    "8",
    "--batch",
    "2",
    "--parts",
    "2",
    "--rate",
    "0.01",
    "--warmup",
    "2",
    "--schedule",
    "wsd",
    "--floor",
    "0.5",
    "--decay",
    "2",
    "--beta1",
    "0.8",
    "--beta2",
    "0.9",
    "--epsilon",
    "1e-7",
    "--weight-decay",
    "0.2",
    "--clip",
    "0.5",
];

#[test]
fn a_printed_configuration_is_the_same_run() {
    let folder = Folder::new("config-run");
    let text = text(&folder);
    let more = [
        "--block",
        "gated_delta_net",
        "--seed",
        "7",
        "--initial-state",
        "state_passing",
        "--set",
    ];
    let more = [&OPTIONS[..], &more, &["model.output_logit_soft_cap=20"]].concat();
    let run = |name: &str, more: &[&str]| {
        let run = folder.path(name);
        let place = [
            "train",
            "--text",
            &text,
            "--quiet",
            "--threads",
            "1",
            "--folder",
            &run,
        ];
        done(&[&place, more].concat());
        (losses(&run), checkpoint(&run))
    };
    let said = run("said", &more);
    assert_eq!(said.0.len(), 5);
    let toml = done(&[&["train", "--print-config"], &more[..]].concat()).stdout;
    let json = printed(&more);
    for (key, value) in [
        ("/model/vocab_size", json!(300)),
        ("/model/output_logit_soft_cap", json!(20.0)),
        ("/model/block/num_heads", json!(3)),
        ("/model/block/num_v_heads", json!("none")),
        ("/schedule/shape", json!("wsd")),
        ("/initial_state/p_zero", json!(0.1)),
    ] {
        assert_eq!(json.pointer(key), Some(&value), "{key}");
    }
    for (name, text) in [("a.toml", toml), ("b.json", json.to_string())] {
        let file = folder.write(name, &text);
        assert_eq!(printed(&["--config", &file]), json);
        assert!(
            said == run(&format!("{name}-run"), &["--config", &file]),
            "{name}"
        );
    }
    // A rate of the schedule that was asked for: a line from the peak to half of it over the last two steps.
    let metrics = fs::read_to_string(folder.path("said/metrics.jsonl")).expect("metrics");
    let rates: Vec<f64> = metrics
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["rate"]
                .as_f64()
                .expect("a rate")
        })
        .collect();
    assert_eq!(rates, [0.005, 0.01, 0.01, 0.01, 0.0075]);
}

#[test]
fn options_are_laid_over_a_file_and_a_file_over_defaults() {
    let folder = Folder::new("config-laid");
    folder.write(
        "my.rec",
        "recurrence mine { dims { K, V } inputs { q: [K], k: [K], v: [V] } \
        state { S: [K, V] } S = S + outer(k, v); output o: [V] = dot(q, S); }",
    );
    let file = folder.write(
        "my.toml",
        "preset = \"mamba2-130m\"\nseed = 5\n[model]\nhidden_size = 64\n\
        block = \"my.rec\"\n[schedule]\nsteps = 40\n",
    );
    let of_file = printed(&["--config", &file]);
    let at = |of: &Value, key: &str| of.pointer(key).cloned().unwrap_or(Value::Null);
    assert!(
        at(&of_file, "/model/block/text")
            .as_str()
            .is_some_and(|text| text.starts_with("recurrence mine"))
    );
    assert_eq!(at(&of_file, "/model/block/dims"), json!({"K": 16, "V": 16}));
    let over = printed(&[
        "--config", &file, "--steps", "50", "--block", "mamba1", "--set", "seed=6",
    ]);
    for (key, default, in_file, given) in [
        ("/seed", json!(1), json!(5), json!(6)),
        ("/schedule/steps", json!(1000), json!(40), json!(50)),
        ("/schedule/warmup", json!(100), json!(715), json!(715)),
        ("/train_length", json!(64), json!(2048), json!(2048)),
        ("/model/hidden_size", json!(128), json!(64), json!(64)),
        ("/model/vocab_size", json!(256), json!(50288), json!(50288)),
        (
            "/model/block/type",
            json!("mamba2"),
            json!("recurrence"),
            json!("mamba1"),
        ),
    ] {
        let found = [printed(&[]), of_file.clone(), over.clone()].map(|of| at(&of, key));
        assert_eq!(found, [default, in_file, given], "{key}");
    }
    let gla = done(&["train", "--print-config", "--preset", "gla-1.3b"]).stdout;
    assert!(gla.starts_with("# gla-1.3b: arXiv 2312.06635\n"), "{gla}");
    // Warm-up follows from the steps where nobody says it.
    assert_eq!(
        at(&printed(&["--steps", "50"]), "/schedule/warmup"),
        json!(5)
    );
}

#[test]
fn all_that_is_wrong_with_a_file_is_said_at_once() {
    let folder = Folder::new("config-wrong");
    let file = folder.write(
        "my.toml",
        "batchsize = 4\n[model]\nhidden_size = \"wide\"\n[model.block]\ntype = \"gated_deltanet\"\n\
         [schedule]\nwarm_up = 3\n[optimizer]\nbeta1 = 1.0\n",
    );
    let wrong = baton(&["train", "--print-config", "--config", &file, "--heads", "4"]);
    assert_eq!(wrong.code, 2);
    for part in [
        "error: 6 things are wrong with the configuration:\n",
        "my.toml: `batchsize` given, expected a key: did you mean `batch_size`?\n",
        "my.toml: `model.hidden_size` given as \"wide\", expected a whole number from 1 on\n",
        "my.toml: `model.block.type` given as \"gated_deltanet\", expected a block or the file of a text (.rec): did you mean \
         \"gated_delta_net\"?\n",
        "my.toml: `schedule.warm_up` given, expected a key of `schedule`: did you mean `schedule.warmup`?\n",
        "my.toml: `optimizer.beta1` given as 1.0, expected a number from 0 to below 1\n",
        "--heads: `model.block.num_heads` given, expected a key of the block mamba2: its heads are its channels over \
         `model.block.head_dim` (--head-size)",
    ] {
        assert!(wrong.stderr.contains(part), "{part}\n{}", wrong.stderr);
    }
    for (line, part) in [
        (["--preset", "mamba2-130"], "did you mean `mamba2-130m`?"),
        (["--set", "seed"], "expected KEY=VALUE"),
        (["--config", "none.toml"], "none.toml: "),
        (
            ["--schedule", "cosin"],
            "expected cosine, constant, linear, wsd",
        ),
        (
            ["--block", "mamba3x"],
            "--block mamba3x given, expected a block or the file of a text (.rec): did you mean \"mamba3\"?",
        ),
        (
            ["--block", "attention"],
            "(.rec): there are mamba2, mamba1, gated_delta_net, kda, mlstm, rwkv7, drt, ramba, window, linear_attention, ",
        ),
    ] {
        let wrong = baton(&[&["train", "--print-config"][..], &line].concat());
        assert_eq!(wrong.code, 2);
        assert!(wrong.stderr.contains(part), "{}", wrong.stderr);
    }
    // A hyphen is an underscore in names of blocks, as presets have it.
    for line in [
        ["--block", "gated-delta-net"],
        ["--set", "model.block=gated-delta-net"],
    ] {
        assert_eq!(printed(&line), printed(&["--block", "gated_delta_net"]));
    }
    let broken = folder.write("broken.json", "seed = 3");
    let wrong = baton(&["train", "--print-config", "--config", &broken]);
    assert!(
        wrong
            .stderr
            .contains("no JSON (a file of TOML ends in .toml)"),
        "{}",
        wrong.stderr
    );
}

/// Whoever writes an option's name into a file is told its key, or that it is none: of every option that there is.
#[test]
fn a_file_that_says_an_option_is_told_its_key() {
    let folder = Folder::new("config-options");
    let file = folder.path("run.json");
    let help = done(&["train", "--help"]).stdout;
    let mut names: Vec<String> = (help.lines())
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .map(|rest| {
            rest.split([' ', '='])
                .next()
                .expect("a first part")
                .replace('-', "_")
        })
        .collect();
    let none = ["help", "json", "print_config", "print_cost", "preset"];
    names.retain(|name| !none.contains(&name.as_str()));
    assert!(names.len() > 40, "{names:?}");
    let said: Value = names
        .iter()
        .map(|name| (name.clone(), json!("?")))
        .collect();
    fs::write(&file, said.to_string()).expect("the file is written");
    let error = baton(&["train", "--print-config", "--config", &file]).stderr;
    for name in &names {
        assert!(
            error.contains(&format!("`{name}` given")),
            "{name}: {error}"
        );
    }
    assert!(!error.contains("there are"), "{error}");
}

#[test]
fn a_post_training_is_configured_as_a_training_is() {
    let folder = Folder::new("config-post");
    let (text, first) = (text(&folder), folder.path("first"));
    let small = [
        "--width",
        "16",
        "--layers",
        "1",
        "--set",
        "model.block.head_dim=8",
        "--length",
        "8",
    ];
    let place = [
        "--batch", "2", "--steps", "2", "--text", &text, "--folder", &first, "--quiet",
    ];
    done(&[&["train"], &small[..], &place].concat());
    let post = |more: &[&str]| {
        let line = ["post-train", "--from", &first, "--print-config", "--json"];
        done(&[&line, more].concat()).json()
    };
    let plain = post(&[]);
    for (key, value) in [
        ("/schedule/steps", json!(300)),
        ("/schedule/warmup", json!(30)),
        ("/schedule/peak", json!(3e-3 * 0.1)),
        ("/seed", json!(2)),
        ("/initial_state/type", json!("state_passing")),
        ("/train_length", json!(8)),
        ("/model/hidden_size", json!(16)),
    ] {
        assert_eq!(plain.pointer(key), Some(&value), "{key}");
    }
    let file = folder.write("post.json", &plain.to_string());
    assert_eq!(post(&["--config", &file]), plain);
    let other = post(&[
        "--config",
        &file,
        "--rate-share",
        "0.5",
        "--schedule",
        "constant",
        "--clip",
        "3",
    ]);
    assert_eq!(other["schedule"]["peak"], json!(1.5e-3));
    assert_eq!(
        (&other["schedule"]["shape"], &other["optimizer"]["clip"]),
        (&json!("constant"), &json!(3.0))
    );
    let wrong = baton(&[
        "post-train",
        "--from",
        &first,
        "--print-config",
        "--set",
        "model.hidden_size=32",
    ]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong
            .stderr
            .contains("`model.hidden_size` given as 32, expected 16"),
        "{}",
        wrong.stderr
    );
}

/// The reproduction's presets are what its plan says.
#[test]
fn presets_of_the_reproduction_are_those_of_its_plan() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let plan = fs::read_to_string(root.join("benches/reproduction/plan.json")).expect("the plan");
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let folder = Folder::new("config-plan");
    for base in plan["bases"].as_array().expect("bases") {
        let name = base["name"].as_str().expect("a name").to_lowercase();
        let name = name.strip_suffix("-zero").unwrap_or(&name);
        if name == "copying-passing" {
            continue;
        }
        let file = folder.write("base.json", &base["config"].to_string());
        let preset = format!("reproduction-{name}");
        assert_eq!(
            printed(&["--preset", &preset]),
            printed(&["--config", &file]),
            "{name}"
        );
    }
    assert_eq!(printed(&["--preset", "demo"]), printed(&[]));
}

/// Rows of a table whose first cell is a word in backticks, below each heading: the cells without backticks.
fn tables(page: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut all = BTreeMap::<String, Vec<Vec<String>>>::new();
    let mut heading = String::new();
    for line in page.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().replace('`', "");
        } else if line.starts_with("| `") {
            let cells = line.trim_matches('|').split(" | ");
            let cells = cells.map(|cell| cell.trim().trim_matches('`').to_string());
            all.entry(heading.clone())
                .or_default()
                .push(cells.collect());
        }
    }
    all
}

/// Every value by its key; of blocks without the type, the text and what a text has by its own names.
fn flat(path: &str, value: &Value, all: &mut BTreeMap<String, String>) {
    match value.as_object() {
        Some(table) if !["initial_state", "model.block"].contains(&path) => {
            for (key, value) in table {
                flat(format!("{path}.{key}").trim_start_matches('.'), value, all);
            }
        }
        _ if path == "model.block" => {}
        _ if path == "initial_state" => drop(all.insert(path.into(), "\"zero\"".into())),
        _ => drop(all.insert(path.into(), value.to_string())),
    }
}

#[test]
fn the_page_names_every_key_with_its_default() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let tables = tables(&fs::read_to_string(page).expect("the page"));
    let help = done(&["train", "--help"]).stdout;
    let (mut said, mut keys) = (BTreeMap::new(), BTreeMap::new());
    for heading in ["The run", "The model", "The schedule", "The optimiser"] {
        for row in &tables[heading] {
            let (key, option, default) = (&row[0], &row[1], &row[2]);
            assert!(
                option.is_empty() || help.contains(&format!("{option} <")) || help.contains(option),
                "{option}"
            );
            said.insert(key.clone(), default.clone());
        }
    }
    said.remove("model.block");
    flat("", &printed(&[]), &mut keys);
    assert_eq!(said, keys);
    for block in [
        "mamba2",
        "mamba1",
        "gated_delta_net",
        "kda",
        "mlstm",
        "rwkv7",
    ] {
        let found = printed(&["--block", block]);
        let mut keys = BTreeMap::new();
        for (key, value) in found["model"]["block"].as_object().expect("a block") {
            if key != "type" {
                keys.insert(key.clone(), value.to_string());
            }
        }
        let heading = match block {
            "gated_delta_net" | "kda" => "gated_delta_net and kda",
            block => block,
        };
        let rows = tables[heading]
            .iter()
            .map(|row| (row[0].clone(), row[1].clone()));
        let mut rows: BTreeMap<String, String> = rows.collect();
        if block == "kda" {
            rows.insert("sigmoid_gate".into(), "true".into());
        }
        assert_eq!(rows, keys, "{block}");
        for row in &tables["Around a block"] {
            let (key, of) = (
                &row[0],
                [
                    "mamba2",
                    "mamba1",
                    "gated_delta_net",
                    "kda",
                    "mlstm",
                    "rwkv7",
                ],
            );
            let column = 1 + of.iter().position(|name| *name == block).expect("a column");
            assert_eq!(
                row[column],
                found["model"][key].to_string(),
                "{block} {key}"
            );
        }
    }
    let rows: BTreeSet<&str> = tables["recurrence"].iter().map(|row| &row[0][..]).collect();
    let found = printed(&["--block", "gla"]);
    let block = found["model"]["block"].as_object().expect("a block");
    let keys: BTreeSet<&str> = block
        .keys()
        .map(String::as_str)
        .filter(|key| *key != "type")
        .collect();
    assert_eq!(rows, keys);
    // Presets by their numbers.
    for row in &tables["Presets"] {
        let found = printed(&["--preset", &row[0]]);
        let at = |key: &str| found.pointer(key).map(Value::to_string).expect("a value");
        let numbers = [
            "/model/hidden_size",
            "/model/num_hidden_layers",
            "/model/vocab_size",
            "/schedule/peak",
            "/schedule/warmup",
            "/schedule/steps",
        ]
        .map(at);
        assert_eq!(row[1..7], numbers, "{}", row[0]);
        let tokens =
            ["train_length", "batch_size", "parts"].map(|key| found[key].as_u64().expect("a size"));
        assert_eq!(
            row[7],
            tokens.iter().product::<u64>().to_string(),
            "{}",
            row[0]
        );
    }
    assert_eq!(tables["Presets"].len(), 23);
}
