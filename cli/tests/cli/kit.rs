//! A kit from end to end: made, tuned on the emulator, cut off and gone on with, taken over, and run by.

use crate::program::{Finished, Folder, save};
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn baton(folder: &Folder, arguments: &[&str]) -> Finished {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cuda/nvidia/cu13/bin");
    let output = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(arguments)
        .current_dir(folder.path(""))
        .env("XDG_DATA_HOME", folder.path("home"))
        .env("BATON_CUDA_BIN", tools)
        .output()
        .expect("baton starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Finished {
        code: output.status.code().expect("baton exits by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

const MAKE: [&str; 11] = [
    "tune",
    "linear_attention",
    "--offline",
    "--dtype",
    "bf16",
    "--shape",
    "T=40,H=2,K=16,V=64",
    "--candidates",
    "1",
    "-o",
    "kit",
];
const TUNE: [&str; 7] = [
    "tune", "--kit", "kit", "--device", "emulator", "--rounds", "2",
];

fn file(folder: &Folder, ending: &str) -> String {
    let files = std::fs::read_dir(folder.path("kit")).expect("a kit");
    let files = files.map(|file| file.expect("readable").path().display().to_string());
    let mut found = files.filter(|file| file.ends_with(ending) && !file.ends_with("kit.json"));
    found.next().unwrap_or_default()
}

fn read(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect(path)).expect("JSON")
}

#[test]
fn a_kit_is_made_tuned_and_taken_over() {
    let folder = Folder::new("kit");
    let made = baton(&folder, &MAKE);
    if made.code != 0 && made.stderr.contains("make cuda-tools") {
        eprintln!("not checked: `make cuda-tools` was not run");
        return;
    }
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stdout.contains("not measured"), "{}", made.stdout);
    let kit = read(&folder.path("kit/kit.json"));
    let candidates = kit["candidates"].as_array().expect("candidates");
    assert_eq!(candidates.len(), 2);
    for candidate in candidates {
        assert!(candidate["predicted_ms"].as_f64().expect("a number") > 0.0);
        for kernel in candidate["kernels"].as_array().expect("kernels") {
            let file = kernel["file"].as_str().expect("a file");
            assert!(Path::new(&folder.path(&format!("kit/{file}"))).exists());
        }
    }

    // Out of time: what was done is kept, with the clock that it was done by.
    let late = baton(&folder, &[&TUNE[..], &["--budget", "0.0001"]].concat());
    assert_eq!(late.code, 0, "{}", late.stderr);
    assert!(late.stdout.contains("the time is up"), "{}", late.stdout);
    let journal = std::fs::read_to_string(file(&folder, ".journal")).expect("a journal");
    assert!(journal.contains("\"clock\":\"instructions\""), "{journal}");
    let seed = |journal: &str| {
        let first: Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
        first["began"]["seed"].clone()
    };

    // It goes on by the same numbers to a result.
    let tuned = baton(&folder, &TUNE);
    assert_eq!(tuned.code, 0, "{}", tuned.stderr);
    assert!(
        tuned.stdout.contains("million instructions"),
        "{}",
        tuned.stdout
    );
    assert_eq!(file(&folder, ".journal"), "");
    let result = file(&folder, ".json");
    let found = read(&result);
    assert_eq!(found["entry"]["seed"], seed(&journal));
    let tried = found["entry"]["tried"].as_array().expect("tried");
    assert_eq!(tried.len(), 2);
    for tried in tried {
        assert!(tried["rejected"].is_null(), "{tried}");
        assert!(tried["errors"]["gradients"].as_f64().expect("a number") <= 1e-2);
    }

    // What the emulator counts is no GPU's time.
    let other = baton(&folder, &["tune", "--import", &result, "--device", "cuda"]);
    assert_eq!(other.code, 2);
    assert!(other.stderr.contains("bf16 emulator"), "{}", other.stderr);
    let text = std::fs::read_to_string(&result).unwrap();
    let forged = text.replacen("bf16 emulator", "bf16 cuda NVIDIA H100", 1);
    let forged = folder.write("forged.json", &forged);
    let other = baton(&folder, &["tune", "--import", &forged, "--device", "cuda"]);
    assert_eq!(other.code, 2);
    assert!(
        other.stderr.contains("raced by instructions"),
        "{}",
        other.stderr
    );

    // A run goes by what was taken over, and says so; without its kernels it says that too.
    let run = || {
        let ones = |shape: &[usize]| {
            let count = shape.iter().product::<usize>();
            (Dtype::F32, shape.to_vec(), vec![0.25; count])
        };
        let inputs = [
            ("q", ones(&[1, 50, 2, 16])),
            ("k", ones(&[1, 50, 2, 16])),
            ("v", ones(&[1, 50, 2, 64])),
        ];
        save(
            &folder.path("in.safetensors"),
            &inputs.map(|(name, x)| (name.into(), x)).into(),
        );
        let ran = baton(
            &folder,
            &[
                "run",
                "linear_attention",
                "--device",
                "emulator",
                "--dtype",
                "bf16",
                "--inputs",
                "in.safetensors",
                "--output",
                "out.safetensors",
                "--json",
            ],
        );
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.json()["plan"].clone()
    };
    assert_eq!(run()["from"], "rules");
    // The second candidate as the winner, whichever was faster here.
    let mut chosen = found.clone();
    chosen["entry"]["choice"] = candidates[1]["schedule"].clone();
    let kernels = candidates[1]["kernels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kernel| {
            let file = folder.path(&format!("kit/{}", kernel["file"].as_str().unwrap()));
            let ptx = baton_kernels::unpack(&std::fs::read(file).unwrap()).unwrap();
            json!({ "name": kernel["name"], "mlir_hash": kernel["mlir_hash"], "ptx": ptx })
        });
    chosen["kernels"] = kernels.collect();
    let chosen_file = folder.write("chosen.json", &chosen.to_string());
    let kept = baton(
        &folder,
        &["tune", "--import", &chosen_file, "--device", "emulator"],
    );
    assert_eq!(kept.code, 0, "{}", kept.stderr);
    let plan = run();
    assert_eq!(
        (&plan["from"], &plan["choice"]),
        (&json!("own"), &candidates[1]["schedule"])
    );
    chosen["kernels"][0]["mlir_hash"] = json!("0");
    let lacking = folder.write("lacking.json", &chosen.to_string());
    baton(
        &folder,
        &["tune", "--import", &lacking, "--device", "emulator"],
    );
    let plan = run();
    assert_eq!(plan["from"], "rules");
    assert!(
        plan["note"]
            .as_str()
            .expect("a note")
            .contains("is not used"),
        "{plan}"
    );
}

/// A candidate whose machine code was made wrong does not pass.
#[test]
fn a_wrong_candidate_of_a_kit_is_rejected() {
    let folder = Folder::new("wrong-kit");
    let made = baton(&folder, &MAKE);
    if made.code != 0 && made.stderr.contains("make cuda-tools") {
        eprintln!("not checked: `make cuda-tools` was not run");
        return;
    }
    let kit = read(&folder.path("kit/kit.json"));
    let kernels = kit["candidates"][1]["kernels"].as_array().expect("kernels");
    let backward = kernels.iter().find(|kernel| {
        let name = kernel["name"].as_str().expect("a name");
        name.contains("gradient_backward")
    });
    let path = folder.path(&format!(
        "kit/{}",
        backward.unwrap()["file"].as_str().unwrap()
    ));
    let ptx = baton_kernels::unpack(&std::fs::read(&path).unwrap()).unwrap();
    // The last pair that is stored, the other way round.
    let at = ptx.rfind("cvt.rn.bf16x2.f32").expect("a pair");
    let end = at + ptx[at..].find(';').expect("an end");
    let mut words: Vec<&str> = ptx[at..end].split(", ").collect();
    words.swap(1, 2);
    let wrong = format!("{}{}{}", &ptx[..at], words.join(", "), &ptx[end..]);
    assert_ne!(wrong, ptx);
    std::fs::write(&path, baton_kernels::pack(&wrong).unwrap()).unwrap();
    let tuned = baton(&folder, &TUNE);
    assert_eq!(tuned.code, 0, "{}", tuned.stderr);
    let found = read(&file(&folder, ".json"));
    let reason = found["entry"]["tried"][1]["rejected"]
        .as_str()
        .unwrap_or("none");
    assert!(reason.contains("relative error"), "{reason}");
    assert!(found["entry"]["choice"].is_null());
}
