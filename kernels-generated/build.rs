//! The index of the shipped kernels: every file of `ptx/`, found by its name.
//!
//! A file is named `KERNEL-SIZES-HASH.ptx.gz`, HASH being that of the MLIR text that it was made
//! from. So the folder is its own index, and a kernel that was added or taken away needs no list.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=ptx");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    let folder = variable("CARGO_MANIFEST_DIR").join("ptx");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    let rows: Vec<String> = files.iter().filter_map(|file| row(file)).collect();
    let index = format!("&[\n{}]\n", rows.concat());
    fs::write(variable("OUT_DIR").join("index.rs"), index).expect("OUT_DIR can be written");
}

/// `(name, hash, bytes)`; none for other files.
fn row(file: &Path) -> Option<String> {
    let stem = file.file_name()?.to_str()?.strip_suffix(".ptx.gz")?;
    let (name, hash) = (stem.split('-').next()?, stem.rsplit('-').next()?);
    Some(format!("({name:?}, {hash:?}, include_bytes!({file:?})),\n"))
}
