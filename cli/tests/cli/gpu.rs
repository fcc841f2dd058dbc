//! `baton emit` and `baton inspect`: PTX of every phase, and what the assembler makes of it.

use crate::program::{Folder, baton};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Makes `baton` find the assembler that `make cuda-tools` installs; false where it did not.
fn inspect(folder: &str) -> Option<Value> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cuda/nvidia/cu13/bin");
    if !tools.join("ptxas").exists() {
        eprintln!("not checked: `make cuda-tools` was not run");
        return None;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["inspect", folder, "--chip", "sm_80", "--json"])
        .env("BATON_CUDA_BIN", tools)
        .output()
        .expect("baton starts");
    assert!(output.status.success(), "{output:?}");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// Products run on tensor cores, loads are asynchronous, fragments come by matrix loads, memory is
/// accessed by 16 bytes, and where nothing spills nothing is in local memory.
#[test]
fn machine_code_has_the_instructions_that_it_should() {
    for (name, shape, threads) in [
        ("mamba2", "N=128,P=64", 256),
        ("mamba2", "N=64,P=64", 128),
        ("linear_attention", "K=64,V=64", 128),
        ("gla", "K=64,V=64", 128),
    ] {
        let folder = Folder::new(&format!("sass-{name}-{threads}"));
        let kernels = folder.path("kernels");
        let ran = baton(&["emit", name, "--shape", shape, "-o", &kernels]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let Some(found) = inspect(&kernels) else {
            return;
        };
        let all = found["kernels"].as_array().expect("kernels");
        assert_eq!(all.len(), 4);
        for kernel in all {
            let of = &kernel["name"];
            assert_eq!(kernel["threads"], threads, "{of}");
            let count = |mnemonic: &str| {
                let count = kernel["instructions"][mnemonic].as_u64();
                count.unwrap_or_else(|| panic!("{mnemonic} is counted"))
            };
            assert!(count("HMMA") > 0, "{of}: no tensor-core products");
            assert!(count("LDGSTS") > 0, "{of}: no asynchronous copies");
            assert!(count("LDSM") > 0, "{of}: no matrix loads");
            assert!(count("STG.E.128") > 0, "{of}: no 16-byte stores");
            let backward = of.as_str().is_some_and(|of| of.contains("backward"));
            if !backward {
                assert_eq!(kernel["spill_bytes"], 0, "{of}");
                assert_eq!(count("LDL") + count("STL"), 0, "{of}: local memory");
            }
        }
    }
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
    let ran = baton(&["inspect", "no-such-folder"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no-such-folder"), "{}", ran.stderr);
}

#[cfg(feature = "cuda")]
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
