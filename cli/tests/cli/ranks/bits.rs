//! Any number of ranks has the bits of one process.

use super::{done, mpirun, ranks, tensors};
use crate::program::Folder;
use std::fs;

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
        let (parts, segments, counts): (_, _, &[usize]) = match i % 2 {
            0 => ("2", "6", &[1, 2, 4, 12]),
            _ => ("1", "12", &[1, 2, 3, 4]),
        };
        let policy = policies[i % policies.len()];
        let more = format!(
            "--block {block} --steps 3 --parts {parts} --segments {segments} --initial-state {policy} --reset-documents"
        );
        let more: Vec<&str> = more.split(' ').collect();
        let run = |count: usize| format!("{block}-{count}");
        for &count in counts {
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
