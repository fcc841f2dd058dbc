//! Everything that a person or another program gives, changed at random (`baton_tests::fuzz`).
//!
//! A small share of it runs with the suite; `make fuzz BYTES=.. SEED=..` runs as much as is wanted (docs/fuzzing.md).

use baton_codegen::schedule::lower;
use baton_codegen::{derive_any, grad};
use baton_ir::{builtin, text, verify};
use baton_kernels::manifest::Manifest;
use baton_tests::EXTRAS;
use baton_tests::fuzz::{HEADER, Reader, Scratch, at, check};
use std::fs;
use std::path::PathBuf;

/// The command line's reader of tensors, whose crate is a program and no library.
#[path = "../../cli/src/archive.rs"]
#[allow(dead_code)]
mod archive;

/// What it reads a file by.
#[path = "../../cli/src/input.rs"]
#[allow(dead_code)]
pub mod input;

/// What that reads by.
#[path = "../../data/src/given.rs"]
#[allow(dead_code)]
pub mod given;

/// What `archive` says of a file that it cannot read, as in the command line.
pub mod failure {
    /// A message.
    #[derive(Debug)]
    pub struct Failure(#[allow(dead_code)] pub String);

    impl Failure {
        /// A failure with a message.
        pub fn new(message: impl Into<String>) -> Self {
            Failure(message.into())
        }
    }
}

fn files(folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = (fs::read_dir(at(folder)).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == extension))
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| fs::read(path).expect("a file"))
        .collect()
}

#[test]
fn recurrences() {
    let builtins = builtin::NAMES.iter().filter_map(|name| builtin::text(name));
    let all = builtins.chain(EXTRAS.iter().copied());
    let mut corpus: Vec<Vec<u8>> = all.map(|text| text.as_bytes().to_vec()).collect();
    corpus.extend(files("ir/tests/verify", "rec"));
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(recurrence) = text::parse(&text) else {
            return false;
        };
        let Ok(facts) = verify::verify(&recurrence) else {
            return false;
        };
        // A function that is made of others is printed as these; then printing changes nothing.
        let printed = text::print(&recurrence);
        let again = text::parse(&printed).expect("what was printed parses");
        assert!(text::print(&again) == printed, "{printed}");
        // Whatever verifies, every later room takes.
        let Ok((forward, steps)) = derive_any(&recurrence, &facts) else {
            return true;
        };
        let sizes = vec![3; recurrence.dims.len()];
        let chunk = if steps { 1 } else { 4 };
        for program in [grad(&forward), forward] {
            lower(&program, &sizes, chunk, false, program.name.clone());
        }
        true
    };
    let words = &[
        "recurrence r",
        "dims",
        "inputs",
        "params",
        "state",
        "output",
        "let",
        "per group",
        "exp(",
        "sigmoid(",
        "dot(",
        "outer(",
        "rows(",
        "cols(",
        "sum(",
        "l2norm(",
        "S",
        "k",
        "v",
        "K",
        "S = S;",
        "let x = k * k;",
    ];
    check(
        Reader {
            name: "recurrences",
            corpus,
            words,
            read: &read,
        },
        1 << 19,
    );
}

/// The programs of every built-in recurrence at level 2.
fn programs() -> Vec<(baton_ir::chunked::Chunked, Vec<usize>)> {
    let all = builtin::NAMES.iter().filter_map(|name| builtin::text(name));
    let derived = all.flat_map(|source| {
        let recurrence = text::parse(source).expect("a built-in");
        let facts = verify::verify(&recurrence).expect("a built-in");
        let (forward, _) = derive_any(&recurrence, &facts).expect("it is derived");
        let sizes = vec![16; recurrence.dims.len()];
        [grad(&forward), forward].map(|program| (program, sizes.clone()))
    });
    derived.collect()
}

#[test]
fn chunked_programs() {
    let corpus = programs()
        .into_iter()
        .map(|(program, _)| text::chunked::print(&program).into_bytes());
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let Ok((program, spans)) = text::chunked::parse(&text) else {
            return false;
        };
        let _ = text::chunked::print(&program);
        verify::chunked::verify(program, &spans).is_ok()
    };
    let words = &[
        "%0",
        "contract",
        "decay",
        "between",
        "select",
        "causal",
        "trilinear",
        "sum",
        "h",
        "t",
        "s",
    ];
    check(
        Reader {
            name: "chunked",
            corpus: corpus.collect(),
            words,
            read: &read,
        },
        1 << 18,
    );
}

#[test]
fn tile_programs() {
    let corpus = programs().into_iter().map(|(program, sizes)| {
        text::tile::print(&lower(&program, &sizes, 16, false, program.name.clone())).into_bytes()
    });
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let Ok((program, spans)) = text::tile::parse(&text) else {
            return false;
        };
        let _ = text::tile::print(&program);
        verify::tile::verify(program, &spans).is_ok()
    };
    let words = &[
        "%0",
        "map",
        "matmul",
        "load",
        "carry",
        "[16, 16]",
        "4294967295",
        "select(",
        "both",
        "first",
    ];
    check(
        Reader {
            name: "tile",
            corpus: corpus.collect(),
            words,
            read: &read,
        },
        1 << 18,
    );
}

#[test]
fn ptx() {
    let mut corpus = files("emulator/tests/nvrtc", "ptx");
    corpus.extend(files("emulator/tests/llvm", "ptx"));
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        baton_emulator::Module::parse(&text).is_ok()
    };
    let words = &[
        ".reg",
        ".b32",
        ".f32",
        ".param",
        ".shared",
        ".align 16",
        "%r1",
        "%rd1",
        "%p1",
        "ret;",
        "bra",
        "mov.u32",
        "ld.global.f32",
        "st.shared.v4.f32",
        "mma.sync",
        "[%rd1+4]",
        "{%r1, %r2}",
        ".b8 x[4294967295];",
        ".maxntid",
        ".entry",
        ".func",
        "call",
        "0x7fffffffffffffff",
    ];
    check(
        Reader {
            name: "ptx",
            corpus,
            words,
            read: &read,
        },
        1 << 19,
    );
}

#[test]
fn archives() {
    let scratch = Scratch::new("archives");
    let tensor = |shape: &[usize]| baton_runtime::Tensor {
        shape: shape.to_vec(),
        data: (0..shape.iter().product::<usize>())
            .map(|i| i as i64)
            .collect::<Vec<_>>(),
    };
    let tensors = [
        ("a".to_string(), tensor(&[2, 3])),
        ("cu_seqlens".to_string(), tensor(&[4])),
    ];
    let corpus = vec![archive::pack(&tensors).expect("a file")];
    let read = |bytes: &[u8]| {
        let Ok(archive) = archive::Archive::read(&scratch.file("read", bytes)) else {
            return false;
        };
        for name in archive.names() {
            let _ = archive.dtype(&name);
            let _ = archive.take::<f32>(&name);
            let _ = archive.take::<i64>(&name);
            let _ = archive.offsets(&name);
            let _ = archive.integers(&name);
        }
        true
    };
    check(
        Reader {
            name: "archives",
            corpus,
            words: HEADER,
            read: &read,
        },
        1 << 18,
    );
}

#[test]
fn manifests() {
    let text = fs::read_to_string(at("kernels-generated/manifest.json")).expect("a manifest");
    let mut manifest = Manifest::parse(&text).expect("it is well-formed");
    manifest.kernels.truncate(2);
    manifest.services.truncate(1);
    manifest.absent.truncate(1);
    let corpus = vec![manifest.print().into_bytes()];
    let read = |bytes: &[u8]| match Manifest::parse(&String::from_utf8_lossy(bytes)) {
        Ok(manifest) => {
            let _ = manifest.print();
            true
        }
        Err(_) => false,
    };
    let words = &[
        "\"kernels\"",
        "\"sizes\"",
        "\"ports\"",
        "\"dims\"",
        "\"assembled\"",
        "\"errors\"",
    ];
    check(
        Reader {
            name: "manifests",
            corpus,
            words,
            read: &read,
        },
        1 << 18,
    );
}

#[test]
fn packed_kernels() {
    let kernels = files("kernels-generated/ptx", "gz");
    let corpus = kernels
        .into_iter()
        .filter(|kernel| kernel.len() < 2000)
        .take(3)
        .collect();
    let read = |bytes: &[u8]| baton_kernels::unpack(bytes).is_ok();
    check(
        Reader {
            name: "packed",
            corpus,
            words: &[],
            read: &read,
        },
        1 << 17,
    );
}
