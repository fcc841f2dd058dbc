//! Runs of several ranks, as MPI starts them: the bits of one process, other numbers of ranks after a kill, refusals.
//!
//! Compiled with the feature `mpi` only; `scripts/mpi.sh` says where it is left out.

use crate::program::Folder;
use safetensors::SafeTensors;
use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// `baton` on so many ranks.
fn mpirun(count: usize) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe", "-n"])
        .arg(count.to_string())
        .arg(env!("CARGO_BIN_EXE_baton"));
    command
}

/// `baton train` on so many ranks.
fn ranks(count: usize, folder: &Folder, run: &str, more: &[&str]) -> Command {
    let text = folder.path("text.txt");
    if !fs::exists(&text).expect("a folder") {
        folder.write(
            "text.txt",
            &"one segment hands its state to the next. ".repeat(60),
        );
    }
    let mut command = mpirun(count);
    command
        .args(["train", "--text", &text, "--folder", &folder.path(run)])
        .args([
            "--length",
            "24",
            "--batch",
            "1",
            "--threads",
            "1",
            "--quiet",
        ])
        .args(["--width", "32", "--layers", "2"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn done(mut command: Command) -> Output {
    let output = command.output().expect("mpirun starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output
}

/// Every tensor of a run's checkpoint: weights, moments and what the policy carries.
fn tensors(folder: &Folder, run: &str) -> Vec<(String, Vec<u8>)> {
    let file =
        fs::read(folder.path(&format!("{run}/checkpoint.safetensors"))).expect("a checkpoint");
    let file = SafeTensors::deserialize(&file).expect("safetensors");
    let mut all: Vec<_> = (file.tensors().into_iter())
        .map(|(name, tensor)| (name, tensor.data().to_vec()))
        .collect();
    all.sort();
    all
}

#[test]
fn every_class_has_the_bits_of_one_process() {
    let folder = Folder::new("ranks-classes");
    let policies = ["state_passing:p_zero=0.3", "fitted_noise", "truncated_bptt"];
    let blocks = [
        "mamba2",
        "gla",
        "gated_delta_net",
        "rwkv7",
        "mamba1",
        "mlstm",
    ];
    for (i, block) in blocks.into_iter().enumerate() {
        let more = [
            "--block",
            block,
            "--steps",
            "3",
            "--parts",
            "2",
            "--segments",
            "6",
            "--initial-state",
            policies[i % policies.len()],
        ];
        let run = |count: usize| format!("{block}-{count}");
        for count in [1, 2, 4, 12] {
            if count != 12 || i == 0 {
                done(ranks(count, &folder, &run(count), &more));
                assert!(
                    tensors(&folder, &run(count)) == tensors(&folder, &run(1)),
                    "{block}, {count} ranks"
                );
            }
        }
    }
}

#[test]
fn parts_go_to_any_number_of_ranks_that_divides_them() {
    let folder = Folder::new("ranks-parts");
    let more = [
        "--steps",
        "4",
        "--parts",
        "12",
        "--initial-state",
        "state_passing",
    ];
    for count in 1..=4 {
        let output = done(ranks(count, &folder, &count.to_string(), &more));
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(
            said.matches(" after 4 steps").count(),
            1,
            "the first rank alone speaks: {said}"
        );
        assert!(
            tensors(&folder, &count.to_string()) == tensors(&folder, "1"),
            "{count} ranks"
        );
    }
}

/// The result of `baton eval` on so many ranks, without what times differ in, and the file of samples.
fn measured(count: usize, folder: &Folder, arguments: &[&str]) -> (serde_json::Value, String) {
    let samples = folder.path("samples.jsonl");
    let _ = fs::remove_file(&samples);
    let asks = !["perplexity", "states", "remembrance"].contains(&arguments[0]);
    let mut command = mpirun(count);
    command
        .arg("eval")
        .args(arguments)
        .args(["--threads", "1", "--quiet", "--json"])
        .args(["--checkpoint", &folder.path("run/checkpoint.safetensors")]);
    if asks {
        command.args(["--samples", &samples]);
    }
    let said = done(command).stdout;
    // One line: the first rank alone speaks.
    let mut value: serde_json::Value = serde_json::from_slice(&said).expect("one line of JSON");
    value["seconds"] = serde_json::Value::Null;
    let samples = match asks {
        true => fs::read_to_string(&samples).expect("samples"),
        false => String::new(),
    };
    (value, samples)
}

#[test]
fn evaluation_has_the_bits_of_one_process() {
    let folder = Folder::new("ranks-eval");
    done(ranks(1, &folder, "run", &["--steps", "3"]));
    let question = |i: usize| {
        let input = "word ".repeat(1 + 7 * i);
        format!("{{\"input\": \"{input}\", \"outputs\": [\"a\"]}}\n")
    };
    folder.write("q.jsonl", &(0..9).map(question).collect::<String>());
    let file = folder.path("q.jsonl");
    let verbs: [&[&str]; 5] = [
        &[
            "perplexity",
            "--length",
            "50",
            "--sequences",
            "5",
            "--batch",
            "2",
        ],
        &["states", "--length", "20", "--sequences", "17"],
        &[
            "remembrance",
            "--length",
            "40",
            "--sequences",
            "8",
            "--cuts",
            "39",
        ],
        &[
            "passkey",
            "--lengths",
            "1,600,900",
            "--depths",
            "0.5",
            "--trials",
            "5",
            "--batch",
            "2",
        ],
        &[
            "prompts", "--file", &file, "--preset", "ruler", "--tokens", "2", "--batch", "2",
        ],
    ];
    for arguments in verbs {
        let whole = measured(1, &folder, arguments);
        for count in [2, 3] {
            let found = measured(count, &folder, arguments);
            assert!(
                found == whole,
                "{arguments:?}, {count} ranks: {found:?}, one: {whole:?}"
            );
        }
    }
}

/// The processes of a job below `mpirun`.
fn children(of: &Child) -> Vec<String> {
    let found = Command::new("pgrep")
        .args(["-P", &of.id().to_string(), "baton"])
        .output();
    let found = String::from_utf8(found.expect("pgrep").stdout).expect("UTF-8");
    found.lines().map(String::from).collect()
}

#[test]
fn a_rank_that_dies_ends_the_job_which_goes_on_with_another_number() {
    let folder = Folder::new("ranks-killed");
    let steps = (60 * kills()).to_string();
    let more = [
        ["--steps", &steps],
        ["--parts", "4"],
        ["--checkpoint-every", "1"],
        ["--initial-state", "state_passing"],
    ];
    let more = more.concat();
    done(ranks(1, &folder, "whole", &more));
    let (mut killed, mut tried) = (0, 0);
    while killed < kills() && tried < 4 * kills() {
        let mut job = ranks(2 + 2 * (tried % 2), &folder, "killed", &more)
            .spawn()
            .expect("mpirun starts");
        let begun = Instant::now();
        while children(&job).is_empty() && begun.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(10));
        }
        sleep(Duration::from_millis(200 + 170 * tried as u64 % 900));
        let running = children(&job);
        if let Some(one) = running.get(tried % running.len().max(1)) {
            let _ = Command::new("kill").args(["-s", "KILL", one]).status();
        }
        let begun = Instant::now();
        let status = job.wait().expect("it ends");
        assert!(
            begun.elapsed() < Duration::from_secs(20) || status.success(),
            "a job outlives its rank"
        );
        killed += usize::from(!status.success());
        tried += 1;
    }
    println!("{killed} kills");
    assert!(killed > 0, "no rank was killed before the job was done");
    done(ranks(4, &folder, "killed", &more));
    assert!(tensors(&folder, "killed") == tensors(&folder, "whole"));
}

/// How many kills; BATON_KILLS says another number.
fn kills() -> usize {
    let said = std::env::var("BATON_KILLS").ok();
    said.and_then(|kills| kills.parse().ok()).unwrap_or(3)
}

#[test]
fn what_cannot_be_shared_out_is_refused() {
    let folder = Folder::new("ranks-refused");
    let output = ranks(3, &folder, "run", &["--parts", "4"])
        .output()
        .expect("mpirun starts");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("parts 4 of 1 segments given with 3 ranks, expected a multiple of 3 parts"),
        "{said}"
    );
    assert!(!fs::exists(folder.path("run/checkpoint.safetensors")).expect("a folder"));
    let output = mpirun(2)
        .args(["check", "gla"])
        .output()
        .expect("mpirun starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("2 ranks were started, expected one"),
        "{said}"
    );
}
