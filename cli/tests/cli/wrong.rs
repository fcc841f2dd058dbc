//! What was given wrongly, of any verb: exit code 2, one message that names what was given and the remedy, no panic and
//! no word of Rust.

use crate::program::{Folder, baton};
use std::collections::BTreeSet;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../checkpoints/mamba2-64");

/// Runs a line of arguments, in which DIR is `folder` and KEPT the kept models.
fn run(folder: &Folder, line: &str) -> (i32, String) {
    let here = folder.path("");
    let place = |word: &str| word.replace("DIR/", &here).replace("KEPT", KEPT);
    let arguments: Vec<String> = line.split(' ').map(place).collect();
    let done = baton(&arguments);
    (done.code, done.stderr)
}

fn refused(folder: &Folder, table: &[(&str, &str)]) {
    for (line, why) in table {
        let (code, said) = run(folder, line);
        assert_eq!(code, 2, "{line}: {said}");
        assert!(said.contains(why), "{line}: {said}");
    }
}

#[test]
fn numbers_are_asked_for_in_plain_words() {
    let folder = Folder::new("wrong-numbers");
    let train = "train --folder DIR/run";
    let table = [
        (
            "--steps -1",
            "'-1' for '--steps <STEPS>': expected a whole number from 0 on",
        ),
        ("--steps 99999999999999999999", "expected a smaller number"),
        (
            "--rate fast",
            "'fast' for '--rate <RATE>': expected a number",
        ),
        (
            "--threads 0",
            "'0' for '--threads <THREADS>': expected 1 to 1024",
        ),
        (
            "--eval-every 0",
            "'0' for '--eval-every <N>': expected at least 1",
        ),
        (
            "--checkpoint-minutes nan",
            "expected more than 0, at most 1000000000",
        ),
        ("--checkpoint-minutes -1", "expected more than 0"),
        (
            "--task token-passkey:vocabulary=-1",
            "expected a whole number from 0 on",
        ),
    ];
    for (options, why) in table {
        refused(&folder, &[(&format!("{train} {options}"), why)]);
    }
    let table = [
        (
            "tune gla --shape T=8,H=1,K=4,V=4 --budget 1e300",
            "expected more than 0, at most",
        ),
        (
            "bench gla --shape T=8,H=1,K=4,V=4 --seconds nan",
            "expected more than 0",
        ),
        (
            "bench linear_attention --shape T=4294967295,H=4294967295,K=1,V=1",
            "--shape T=4294967295,H=4294967295,K=1,V=1 given, whose tensors are larger",
        ),
        (
            "eval perplexity --checkpoint KEPT/base --segment 0",
            "expected at least 1",
        ),
        (
            "eval copying --checkpoint KEPT/base --trials 0",
            "expected at least 1",
        ),
        (
            "eval babi --checkpoint KEPT/base --lengths 4k",
            "--haystack",
        ),
        (
            "generate --checkpoint KEPT/base --prompt a --sequences 18446744073709551615",
            "expected a smaller number",
        ),
    ];
    refused(&folder, &table);
}

#[test]
fn what_should_have_been_given_is_named() {
    let folder = Folder::new("wrong-things");
    folder.write("text.txt", "a text that is far too short");
    folder.write("page.html", "<!doctype html><p>a page</p>");
    let questions = folder.write(
        "q.jsonl",
        "{\"input\": \"a\", \"question\": \"b\", \"target\": \"c\"}\n",
    );
    let ask = format!("eval prompts --checkpoint KEPT/base --file {questions}");
    let table = [
        (
            "report DIR/page.html",
            "a file given, expected the folder of a run",
        ),
        (
            "report DIR/",
            "no step in a metrics.jsonl and no measurement in it",
        ),
        (
            "inspect DIR/",
            "expected a folder that `baton emit --output` wrote",
        ),
        (
            "tune --kit DIR/ --device cuda",
            "expected a folder that `baton tune --offline` wrote",
        ),
        (
            "tune --import DIR/no --device cuda",
            "expected a result that `baton tune --kit` wrote",
        ),
        (
            "generate --checkpoint DIR/page.html --prompt a",
            "it does not begin as a safetensors file does",
        ),
        (
            "run gla --inputs DIR/page.html --output DIR/out",
            "it does not begin as a safetensors file does",
        ),
        (
            "run gla --inputs DIR/page.html --output -",
            "a dash stands for nothing that is written",
        ),
        (
            "train --folder DIR/run --text DIR/text.txt --quiet",
            "a longer text, or a shorter --length",
        ),
        (
            "train --folder DIR/run --block mamba2 --groups 3",
            "n_groups 3 given, expected a divisor of the 8 heads",
        ),
        (
            &format!("{ask} --answer target"),
            "no --preset given, expected one of babilong, ruler, longbench, lm-eval, or",
        ),
        (
            &format!("{ask} --preset babilong --prompt why?"),
            "expected `{field}` in it",
        ),
    ];
    refused(&folder, &table);
}

/// What is wrong with the arguments is a line of JSON too where that is asked for.
#[test]
fn arguments_are_refused_in_json_too() {
    for (line, why) in [
        ("check --json gla --sing", "unexpected argument '--sing'"),
        ("--json sing", "unrecognized subcommand 'sing'"),
        (
            "train --folder run --steps -1 --json",
            "expected a whole number from 0 on",
        ),
        ("report --json", "required arguments were not provided"),
    ] {
        let done = baton(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(done.code, 2, "{line}: {}", done.stderr);
        let said = done.json();
        let error = said["error"].as_str().expect("a message");
        assert!(error.contains(why), "{line}: {error}");
        assert_eq!(done.stderr.trim_end(), format!("error: {error}"), "{line}");
    }
    // After two dashes it is no option.
    let done = baton(&["check", "gla", "--", "--json"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (2, ""),
        "{}",
        done.stderr
    );
}

/// How a training takes less memory is no help where nothing is trained.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_runs_out_elsewhere_is_no_matter_of_training() {
    let bench = "bench linear_attention --shape T=100000000,H=64,K=1,V=1 --threads 1";
    let program = env!("CARGO_BIN_EXE_baton");
    let line = format!("ulimit -v 2000000; exec {program} {bench} --choices rules");
    let mut limited = std::process::Command::new("bash");
    let ended = limited.args(["-c", &line]).output().expect("bash");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{told}");
    let ends = told.ends_with("bytes more are needed than the system gives\n");
    assert!(
        ends && told.starts_with("error: memory ran out: "),
        "{told}"
    );
}

/// The one option for groups is each block's own key for them.
#[test]
fn groups_are_a_key_of_every_block_that_has_them() {
    for (block, key) in [("mamba2", "n_groups"), ("gla", "num_groups")] {
        let line = format!("train --block {block} --groups 2 --print-config");
        let done = baton(&line.split(' ').collect::<Vec<_>>());
        assert!(
            done.stdout.contains(&format!("{key} = 2")),
            "{}{}",
            done.stdout,
            done.stderr
        );
    }
}

/// A run of another block is told so, and not of every key.
#[test]
fn another_block_is_one_difference() {
    let folder = Folder::new("wrong-block");
    let text = folder.write("text.txt", &"state after state ".repeat(50));
    let small = "--quiet --width 16 --layers 1 --length 8 --batch 1 --steps 1";
    let (code, said) = run(
        &folder,
        &format!("train --folder DIR/run --text {text} {small}"),
    );
    assert_eq!(code, 0, "{said}");
    let (code, said) = run(&folder, "train --change --folder DIR/run --block gla");
    assert_eq!(code, 2);
    assert!(
        said.contains("`model.block.type` given as \"recurrence\", expected \"mamba2\""),
        "{said}"
    );
    assert!(
        !said.contains("null") && said.lines().count() == 1,
        "{said}"
    );
}

/// What of a plan cannot be done is said before anything is trained, with the name of what says it.
#[test]
fn a_plan_is_looked_at_before_it_is_begun() {
    let folder = Folder::new("wrong-plan");
    let plan = r#"{"bases": [{"name": "small", "seeds": [1], "config": {"model": {"hidden_size": 16, "num_hidden_layers": 1},
        "train_length": 16, "batch_size": 2, "schedule": {"steps": 1}}}], "post_trainings": [],
        "evaluations": {"far": {"measure": "perplexity", "length": "4x", "sequences": 2}}}"#;
    for (was, is, why) in [
        (
            "\"sequences\": 2",
            "\"sequences\": 0",
            "evaluation `far` of small/base/seed1: 0 sequences",
        ),
        (
            "\"4x\"",
            "\"4y\"",
            "evaluation `far` of small/base/seed1: length `4y` given",
        ),
        (
            "\"sequences\": 2",
            "\"sequences\": -2",
            "no plan: invalid value: integer `-2`, expected a whole number",
        ),
        (
            "\"seeds\": [1]",
            "\"seeds\": []",
            "`small` with 0 seeds given",
        ),
        (
            "\"small\"",
            "\"\"",
            "`` with 1 seeds given, expected a name",
        ),
        (
            "\"hidden_size\": 16",
            "\"hidden_size\": 17",
            "the configuration of `small`: head_dim 32 given",
        ),
    ] {
        assert!(plan.contains(was));
        folder.write("plan.json", &plan.replace(was, is));
        refused(
            &folder,
            &[("reproduce DIR/plan.json --folder DIR/runs --quiet", why)],
        );
    }
    folder.write("plan.json", plan);
    let only = "reproduce DIR/plan.json --folder DIR/runs --quiet --only large";
    refused(
        &folder,
        &[(only, "--only large given, which is in no run's name")],
    );
    let file = "reproduce DIR/plan.json --folder DIR/runs --quiet --export DIR/plan.json";
    refused(&folder, &[(file, "which is a file: expected a folder")]);
    assert_eq!(folder.files(), ["plan.json"]);
}

/// Every option of the verbs that train is known to a file: as the key that it is, or as the option.
#[test]
fn an_option_in_a_file_is_told_what_it_is() {
    let folder = Folder::new("wrong-keys");
    let mut options = BTreeSet::new();
    for verb in ["train", "post-train"] {
        let help = baton(&[verb, "--help"]).stdout;
        let lines = help
            .lines()
            .filter_map(|line| line.trim().strip_prefix("--"));
        options.extend(
            lines
                .filter_map(|line| line.split_whitespace().next())
                .map(String::from),
        );
    }
    assert!(options.len() > 50, "{options:?}");
    for option in options.iter().filter(|option| *option != "help") {
        let file = folder.write("my.toml", &format!("{} = []\n", option.replace('-', "_")));
        let done = baton(&["train", "--config", &file, "--print-config"]);
        let known = !done.stderr.contains("expected a key: there are");
        assert!(done.code == 2 && known, "{option}: {}", done.stderr);
    }
}

/// What would do nothing is refused by its name.
#[test]
fn options_without_a_use_are_refused() {
    let folder = Folder::new("wrong-unused");
    let run = "run gla --inputs DIR/in --output DIR/out --device interpreter";
    let kit = "tune gla --shape T=16,H=1,K=4,V=4 --offline --output DIR/kit";
    let table = [
        ("demo --chunks-bf16", "--retrieval"),
        ("demo --chunks-memory 1", "--retrieval"),
        ("demo --chunks-folder DIR/", "--retrieval"),
        (
            "demo --chunks-bf16 --folder DIR/demo",
            "cannot be used with",
        ),
        ("demo --length 4096 --steps 1", "cannot be used with"),
        ("demo --retrieval --folder DIR/demo", "cannot be used with"),
        (
            "emit mamba2 --phase backward --output DIR/kernels",
            "cannot be used with",
        ),
        (
            &format!("{kit} --threads 2"),
            "--threads given with --offline",
        ),
        (
            &format!("{kit} --budget 1"),
            "--budget given with --offline",
        ),
        (
            "tune --kit DIR/ --device emulator --threads 2",
            "--threads given with --kit",
        ),
        (
            "tune --import DIR/no --again",
            "--again given with --import",
        ),
        ("tune --list --rounds 3", "--rounds given with --list"),
        (
            &format!("{run} --chunk 16"),
            "--chunk 16 given with --device interpreter",
        ),
        (
            &format!("{run} --dtype bf16"),
            "--dtype bf16 given with --device interpreter",
        ),
    ];
    refused(&folder, &table);
    assert_eq!(folder.files(), [""; 0]);
}
