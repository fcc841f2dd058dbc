//! The shipped kernels: PTX of the built-in recurrences, found by what it was made from.
//!
//! A kernel is found by its name and the hash of the MLIR text behind it, so that one which the
//! generator would no longer make is never found: it can be missing, it cannot be stale. What is in
//! `ptx/` and `manifest.json` is written by `baton emit --shipped` alone. This crate knows nothing of
//! how kernels are made or run.

#![deny(missing_docs)]

#[cfg(feature = "manifest")]
pub mod manifest;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, Read, Write};

/// Name, hash of the MLIR text, PTX as gzip; by file name.
static INDEX: &[(&str, &str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/index.rs"));

/// Plans for the CPU that were measured, as `baton tune --into` writes them.
pub const CHOICES: &str = include_str!("../choices.json");

/// The PTX of the kernel of this name that was made from this text, if it is shipped.
pub fn ptx(name: &str, mlir: &str) -> Option<String> {
    let hash = hash(mlir);
    let found = INDEX
        .iter()
        .find(|(known, of, _)| *known == name && *of == hash);
    found.and_then(|(_, _, bytes)| unpack(bytes).ok())
}

/// How many kernels are shipped.
pub fn count() -> usize {
    INDEX.len()
}

/// The hash by which texts are told apart: FNV-1a of 64 bits, in hexadecimal.
pub fn hash(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// A text as gzip, without time or name: the same bytes for the same text.
pub fn pack(text: &str) -> io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(text.as_bytes())?;
    packed.finish()
}

/// The text behind the bytes of a file: gzip, or as it is.
pub fn unpack(bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    match bytes.starts_with(&[0x1f, 0x8b]) {
        true => GzDecoder::new(bytes).read_to_string(&mut text)?,
        false => (&mut &bytes[..]).read_to_string(&mut text)?,
    };
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_hashes_are_known() {
        let text = "mma.sync\n".repeat(1000);
        let packed = pack(&text).unwrap();
        assert!(packed.len() < text.len() / 10);
        assert_eq!(packed, pack(&text).unwrap());
        assert_eq!(unpack(&packed).unwrap(), text);
        assert_eq!(unpack(text.as_bytes()).unwrap(), text);
        assert!(unpack(&packed[..20]).is_err());
        assert_eq!(hash("a"), "af63dc4c8601ec8c"); // of the algorithm's authors
    }

    #[test]
    fn another_text_finds_nothing() {
        for (name, hash, bytes) in INDEX {
            assert!(unpack(bytes).unwrap().contains(name), "{name}-{hash}");
        }
        assert_eq!(ptx("mamba2_output_forward_bf16_sm_80", "changed"), None);
    }
}
