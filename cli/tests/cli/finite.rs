//! What is not finite is not trained into a model, not written, and not shown as a number.

use crate::program::{Folder, baton, load, save};
use serde_json::Value;
use std::fs;

fn text(folder: &Folder) -> String {
    folder.write(
        "text.txt",
        &"a state that is carried home, again and again. ".repeat(120),
    )
}

fn train(folder: &Folder, rate: &str, steps: &str) -> (i32, String, String) {
    let (text, run) = (folder.path("text.txt"), folder.path("run"));
    let given = [
        "train",
        "--quiet",
        "--text",
        &text,
        "--folder",
        &run,
        "--length",
        "16",
        "--batch",
        "2",
        "--checkpoint-every",
        "1",
        "--rate",
        rate,
        "--steps",
        steps,
    ];
    let done = baton(&given);
    (
        done.code,
        done.stderr,
        format!("{run}/checkpoint.safetensors"),
    )
}

#[test]
fn a_rate_that_no_step_can_be_made_with_leaves_no_weights() {
    let folder = Folder::new("finite-rate");
    text(&folder);
    let (code, stderr, checkpoint) = train(&folder, "1e39", "30");
    assert_eq!(code, 2);
    assert!(stderr.contains("peak rate of 1e39"), "{stderr}");
    // The rate is one, and every step made with it is none.
    for steps in ["3", "30"] {
        let (code, stderr, _) = train(&folder, "3e38", steps);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("in a row were not finite"), "{stderr}");
        assert!(!fs::exists(&checkpoint).unwrap());
        fs::remove_dir_all(folder.path("run")).unwrap();
    }
}

#[test]
fn a_run_that_diverges_ends_with_an_error_and_its_last_good_checkpoint() {
    let folder = Folder::new("finite-diverged");
    text(&folder);
    let (code, stderr, checkpoint) = train(&folder, "3e36", "200");
    assert_eq!(code, 2);
    assert!(
        stderr.contains("10 steps in a row were not finite") && stderr.contains("a lower rate"),
        "{stderr}"
    );
    let kept = fs::read(&checkpoint).expect("a checkpoint");
    for (name, (_, _, data)) in load(&checkpoint) {
        assert!(data.iter().all(|x| x.is_finite()), "{name}");
    }
    let metrics = fs::read_to_string(folder.path("run/metrics.jsonl")).unwrap();
    let skipped = |line: &&str| serde_json::from_str::<Value>(line).unwrap()["skipped"] == true;
    assert_eq!(metrics.lines().rev().take_while(skipped).count(), 10);
    // It can be gone on with, from where it was good, and comes to the same.
    let (code, again, _) = train(&folder, "3e36", "200");
    assert_eq!((code, again), (2, stderr));
    assert_eq!(fs::read(&checkpoint).unwrap(), kept);
}

/// A model of finite weights whose states overflow from the first token on.
#[test]
fn measures_say_what_is_not_finite() {
    let folder = Folder::new("finite-measures");
    let text = text(&folder);
    let (code, stderr, checkpoint) = train(&folder, "1e-3", "2");
    assert_eq!(code, 0, "{stderr}");
    let model = folder.path("model");
    let done = baton(&["convert", "--from", &checkpoint, "--to", &model]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let weights = format!("{model}/model.safetensors");
    let mut all = load(&weights);
    for (name, (_, _, data)) in &mut all {
        if name.ends_with("in_proj.weight") {
            data.iter_mut().for_each(|x| *x *= 1e30);
        }
    }
    save(&weights, &all);

    let measure = |verb: &str, more: &[&str]| {
        let output = format!("{model}/{verb}.json");
        let given = [
            "eval",
            verb,
            "--checkpoint",
            &model,
            "--quiet",
            "--output",
            &output,
        ];
        let done = baton(&[&given, more].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(
            done.stdout.contains("not finite"),
            "{verb}: {}",
            done.stdout
        );
        serde_json::from_slice::<Value>(&fs::read(output).unwrap()).unwrap()["result"].clone()
    };
    let read = ["--text", &text, "--length", "64", "--sequences", "2"];
    assert_eq!(measure("states", &read)["std"][0], Value::Null);
    assert_eq!(measure("perplexity", &read)["loss"][0], Value::Null);
    measure("remembrance", &[&read[..], &["--cuts", "3"]].concat());
    let asked = ["--lengths", "300", "--depths", "0.5", "--trials", "2"];
    let cell = &measure("passkey", &asked)["grids"][0]["cells"][0];
    assert_eq!(cell["not_finite"], 2);

    let page = folder.path("page.html");
    let figures = folder.path("figures");
    let done = baton(&["report", &model, "--output", &page, "--figures", &figures]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let tables = fs::read_to_string(format!("{figures}/tables.md")).unwrap();
    assert_eq!(tables.matches("**").count(), 2 * 4, "{tables}");
    assert!(tables.matches("not finite").count() >= 4, "{tables}");
    assert!(fs::read_to_string(page).unwrap().contains("not finite"));

    // A checkpoint that an older program wrote of a run that had diverged.
    let damaged = folder.path("damaged.safetensors");
    let bytes = fs::read(&checkpoint).unwrap();
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
    let told = header["__metadata__"]["baton"].as_str().unwrap();
    let mut told: Value = serde_json::from_str(told).unwrap();
    told["tensors"] = serde_json::json!({});
    header["__metadata__"]["baton"] = told.to_string().into();
    let at = header["backbone.norm_f.weight"]["data_offsets"][0]
        .as_u64()
        .unwrap() as usize;
    let mut data = bytes[8 + size..].to_vec();
    data[at + 12..at + 16].copy_from_slice(&f32::NAN.to_le_bytes());
    let header = header.to_string().into_bytes();
    let whole = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
    fs::write(&damaged, whole).unwrap();
    let done = baton(&["eval", "states", "--checkpoint", &damaged, "--text", &text]);
    assert_eq!(done.code, 2);
    let said = "tensor `backbone.norm_f.weight` holds NaN at element 3, expected finite numbers";
    assert!(done.stderr.contains(said), "{}", done.stderr);
}
