//! `baton emit` and `baton inspect`: PTX of every phase, and what the assembler makes of it.
//!
//! Without the feature `mlir` these are the shipped kernels.

use crate::program::{Folder, baton};
use baton_kernels::manifest::{Kernel, Manifest};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// What `baton inspect` says of a folder; none where `make cuda-tools` did not install the assembler.
fn inspect(folder: &str, chip: &str, part: &str) -> Option<Vec<Value>> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cuda/nvidia/cu13/bin");
    if !tools.join("ptxas").exists() {
        eprintln!("not checked: `make cuda-tools` was not run");
        return None;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["inspect", folder, "--chip", chip, "--name", part, "--json"])
        .env("BATON_CUDA_BIN", tools)
        .output()
        .expect("baton starts");
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    Some(found["kernels"].as_array().expect("kernels").clone())
}

fn shipped() -> (String, Vec<Kernel>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels-generated");
    let text = std::fs::read_to_string(folder.join("manifest.json")).expect("a manifest");
    let manifest = Manifest::parse(&text).expect("a manifest of this version");
    (folder.display().to_string(), manifest.kernels)
}

/// The assembler says of a recurrence's kernels what the manifest says, whose claims about all kernels hold by
/// that (`tests/it/shipped.rs`).
fn assembles_as_the_manifest_says(chip: &str, part: &str) {
    let (folder, mut kernels) = shipped();
    kernels.retain(|kernel| kernel.file.contains(part));
    let Some(all) = inspect(&folder, chip, part) else {
        return;
    };
    assert_eq!(all.len(), kernels.len());
    assert!(!all.is_empty());
    for (kernel, found) in kernels.iter().zip(all) {
        let (of, said) = (&kernel.file, &kernel.assembled[chip]);
        assert_eq!(found["name"], kernel.name);
        assert_eq!(found["registers"], said.registers, "{of}");
        assert_eq!(found["spill_bytes"], said.spill_bytes, "{of}");
        assert_eq!(found["instructions"], json!(said.instructions), "{of}");
    }
}

/// Every phase of one recurrence for one GPU, one phase of every other for the other.
#[test]
fn shipped_kernels_assemble_for_sm_80() {
    assembles_as_the_manifest_says("sm_80", "bf16_sm_80-N64P64-");
}

#[test]
fn shipped_kernels_assemble_for_sm_90() {
    assembles_as_the_manifest_says("sm_90", "keep_forward_f32_sm_80-K16V64-");
}

#[test]
fn every_stage_is_printed() {
    for (level, word) in [
        ("chunked", "mamba2"),
        ("tile", "mamba2"),
        ("mlir", "gpu.module"),
        ("ptx", "mma.sync.aligned.m16n8k16"),
    ] {
        for phase in ["forward", "backward"] {
            let ran = baton(&["emit", "mamba2", "--level", level, "--phase", phase]);
            assert_eq!(ran.code, 0, "{level} {phase}: {}", ran.stderr);
            assert!(ran.stdout.contains(word), "{level} {phase} has no {word}");
        }
    }
}

#[test]
fn wrong_requests_are_refused() {
    let ran = baton(&["emit", "mamba2", "--target", "sm_70", "--level", "ptx"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("--target sm_70 given, expected sm_80"),
        "{}",
        ran.stderr
    );
    let ran = baton(&["emit", "--shipped"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--output"), "{}", ran.stderr);
    let ran = baton(&["inspect", "no-such-folder"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no-such-folder"), "{}", ran.stderr);
}

/// What is not shipped needs MLIR, and says so.
#[cfg(not(feature = "mlir"))]
#[test]
fn kernels_that_are_not_shipped_are_named() {
    let ran = baton(&["emit", "mamba2", "--shape", "N=48,P=64", "--level", "ptx"]);
    assert_eq!(ran.code, 2);
    for part in ["mamba2_output_forward_bf16_sm_80", "not among", "`mlir`"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

#[test]
fn a_gpu_that_is_not_there_is_said() {
    use crate::program::save;
    use safetensors::tensor::Dtype;
    if Path::new("/dev/nvidiactl").exists() {
        return;
    }
    let folder = Folder::new("no-gpu");
    let inputs = folder.path("in.safetensors");
    let tensor = || (Dtype::F32, vec![1, 3, 1, 64], vec![0.5; 192]);
    let tensors = ["q", "k", "v"].map(|name| (name.to_string(), tensor()));
    save(&inputs, &tensors.into_iter().collect());
    let output = folder.path("out.safetensors");
    let ran = baton(&[
        "run",
        "linear_attention",
        "--inputs",
        &inputs,
        "--output",
        &output,
        "--device",
        "cuda",
    ]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("cuda"), "{}", ran.stderr);
    assert!(!Path::new(&output).exists());
}
