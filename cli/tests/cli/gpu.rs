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

/// What is predicted of shipped kernels of Mamba-2 at N = 128, P = 64 in bf16, B8 T2048 H80, one head a block.
fn predicted(chip: &str, part: &str) -> Option<Value> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cuda/nvidia/cu13/bin");
    if !tools.join("ptxas").exists() {
        eprintln!("not checked: `make cuda-tools` was not run");
        return None;
    }
    let (folder, _) = shipped();
    let output = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["inspect", &folder, "--chip", chip, "--name", part])
        .args(["--run", "B=8,T=2048,H=80,G=1", "--predict", "--json"])
        .env("BATON_CUDA_BIN", tools)
        .output()
        .expect("baton starts");
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let [kernel] = &found["kernels"].as_array().expect("kernels")[..] else {
        panic!("{part} is not one kernel: {found}")
    };
    Some(kernel["predicted"].clone())
}

/// The machine code says by itself what was counted of it by hand: products and matrix loads of a warp and chunk, the
/// tensor cores' clocks, and that shared memory is what to change first.
#[test]
fn predictions_find_what_bounds_a_kernel() {
    for (part, products, loads) in [
        ("mamba2_output_forward_bf16_sm_80-N128P64", 224.0, 128.0),
        ("mamba2_gradient_backward_bf16_sm_80-N128P64", 512.0, 324.0),
    ] {
        let Some(found) = predicted("sm_90", part) else {
            return;
        };
        let number = |name: &str| found[name].as_f64().expect("a number");
        assert_eq!(found["counts"]["HMMA"], products, "{part}");
        assert_eq!(found["counts"]["LDSM"], loads, "{part}");
        // Two blocks of four warps on four schedulers, 4 / 0.63 clocks a product.
        assert!((number("chunk_tensor") - 2.0 * products * 4.0 / 0.63).abs() < 1.0);
        // Four passes a load, and what is stored and copied beside.
        assert!(number("chunk_passes") > 32.0 * loads, "{part}");
        assert!(number("chunk_clocks") > number("chunk_passes"), "{part}");
        let savings = found["savings"].as_object().expect("savings").iter();
        let most = savings.max_by(|a, b| a.1.as_f64().unwrap().total_cmp(&b.1.as_f64().unwrap()));
        assert_eq!(most.unwrap().0, "shared", "{part}");
        for (name, ms) in found["parts"].as_object().expect("parts") {
            assert!(
                ms.as_f64().unwrap() <= number("milliseconds"),
                "{part} {name}"
            );
        }
        assert_eq!(
            (&found["turns"], &found["resident"]),
            (&json!(3), &json!(2))
        );
        assert_eq!(found["assumed"], json!([]), "{part}");
    }
    let slower = predicted("sm_80", "mamba2_output_forward_bf16_sm_80-N128P64").unwrap();
    assert_eq!(
        (&slower["machine"], &slower["counts"]["HMMA"]),
        (&json!("A100"), &json!(224.0))
    );
}

#[test]
fn other_gpus_are_not_predicted() {
    let (folder, _) = shipped();
    let ran = baton(&["inspect", &folder, "--predict", "--chip", "sm_120"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains("--chip sm_120 given, expected sm_90 or sm_80"),
        "{}",
        ran.stderr
    );
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
    let ran = baton(&["emit", "mamba2", "--schedule", "warp=4", "--level", "ptx"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("--schedule gives warp=4"),
        "{}",
        ran.stderr
    );
    // What cannot be made leaves nothing.
    let folder = Folder::new("not-made");
    let kernels = folder.path("kernels");
    let fixed = ["emit", "gated_delta_net", "--shape", "K=64,V=64"];
    let ran = baton(&[&fixed[..], &["--schedule", "heads=4", "-o", &kernels]].concat());
    assert_eq!(ran.code, 2);
    assert!(!Path::new(&kernels).exists(), "{}", ran.stderr);
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
