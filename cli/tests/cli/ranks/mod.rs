//! Runs of several ranks, as MPI starts them: the bits of one process, other numbers of ranks after a kill, refusals.
//!
//! Compiled with the feature `mpi` only; `scripts/mpi.sh` says where it is left out.

mod bits;
mod data;
mod faults;

use crate::program::Folder;
use safetensors::SafeTensors;
use std::fs;
use std::process::{Command, Output, Stdio};

/// `baton` on so many ranks.
fn mpirun(count: usize) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe", "-n"])
        .arg(count.to_string())
        .arg(env!("CARGO_BIN_EXE_baton"));
    command
}

/// `baton train` on so many ranks, on a text or on a folder of them.
fn ranks(count: usize, folder: &Folder, run: &str, more: &[&str]) -> Command {
    let mut command = mpirun(count);
    command.args(train(folder, run, more)).arg("--quiet");
    command.stderr(Stdio::piped());
    command
}

/// The arguments of `baton train`.
fn train(folder: &Folder, run: &str, more: &[&str]) -> Vec<String> {
    let text = folder.path("text");
    if !fs::exists(&text).expect("a folder") {
        fs::create_dir(&text).expect("a folder");
        for i in 0..8 {
            let words = "one segment hands its state to the next. ".repeat(8);
            folder.write(&format!("text/{i}.txt"), &words[..words.len() - 7 * i]);
        }
    }
    let data: &[&str] = match more.contains(&"--data") {
        true => &[],
        false => &["--text", &text],
    };
    let small = "--length 24 --batch 1 --threads 1 --width 32 --layers 2";
    let small = small.split(' ');
    let run = folder.path(run);
    let all = ["train", "--folder", &run].into_iter();
    let all = all.chain(data.iter().copied()).chain(small);
    all.chain(more.iter().copied()).map(String::from).collect()
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
