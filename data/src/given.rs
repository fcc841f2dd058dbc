//! What is read, and what it is where it is not what it should be: a link that leads nowhere, a folder, a pointer of Git
//! LFS, a text in UTF-16, a file of weights or rows in place of a text.
//!
//! Whatever a person gives is read through here; of the standard library alone, so that the suite reads by it too.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;

/// What a pointer of Git LFS begins with.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Everything in a file.
pub fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::read(path).map_err(|e| why(path, &e))?;
    genuine(&bytes)?;
    Ok(bytes)
}

/// A file that others read.
pub fn file(path: &Path) -> Result<File, String> {
    let wrong = |e: std::io::Error| why(path, &e);
    let mut file = File::open(path).map_err(wrong)?;
    let mut head = Vec::new();
    let length = POINTER.len() as u64;
    Read::by_ref(&mut file)
        .take(length)
        .read_to_end(&mut head)
        .map_err(wrong)?;
    genuine(&head)?;
    file.rewind().map_err(wrong)?;
    Ok(file)
}

fn genuine(bytes: &[u8]) -> Result<(), String> {
    let what = "it is a pointer of Git LFS, expected the file that it stands for: `git lfs pull` fetches it";
    match bytes.starts_with(POINTER) {
        true => Err(what.into()),
        false => Ok(()),
    }
}

/// Why a path could not be read.
fn why(path: &Path, error: &std::io::Error) -> String {
    match fs::read_link(path) {
        Ok(to) if fs::metadata(path).is_err() => format!(
            "it is a link to `{}`, which is not there: expected a file (a cache of a hub that lost it \
             fetches it again)",
            to.display()
        ),
        _ if path.is_dir() => "it is a folder, expected a file".into(),
        _ => error.to_string(),
    }
}

/// A text in UTF-8 from its bytes.
pub fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    let bytes = unmarked(bytes)?;
    if matches!(bytes[..], [0, second, ..] if second != 0)
        || matches!(bytes[..], [first, 0, ..] if first != 0)
    {
        return Err(UTF_16.into());
    }
    String::from_utf8(bytes).map_err(|why| {
        let at = why.utf8_error().valid_up_to();
        let ends = why.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n');
        let line = ends.count() + 1;
        format!("no UTF-8 from byte {at} on, in line {line}, expected a text")
    })
}

const UTF_16: &str =
    "a text in UTF-16 given, expected UTF-8 (`iconv -f UTF-16 -t UTF-8` makes it so)";

/// Bytes of a text without the byte-order mark of UTF-8; one in UTF-16 is refused, and what is no text by its first bytes.
pub fn unmarked(mut bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    text(&bytes)?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(UTF_16.into());
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        bytes.drain(..3);
    }
    Ok(bytes)
}

/// Refuses bytes that begin as an archive, rows of a table or weights do, by what reads them.
fn text(bytes: &[u8]) -> Result<(), String> {
    let what = match bytes {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => {
            "a zip archive, as PyTorch's files of weights are: unpack it, or give weights as --checkpoint"
        }
        [b'P', b'A', b'R', b'1', .., b'P', b'A', b'R', b'1'] => {
            "a parquet file: --field NAME beside --text reads its texts, where its name ends in .parquet"
        }
        bytes if is_safetensors(bytes) => {
            "a safetensors file: --data FOLDER reads what `baton tokenize` wrote, --checkpoint a model's weights"
        }
        _ => return Ok(()),
    };
    Err(format!("expected a text, given {what}"))
}

/// Whether a header of JSON follows its length, which no text has: eight bytes, the last of them zero.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return false;
    };
    u64::from_le_bytes(*length) <= rest.len() as u64 && rest.first() == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_by_its_first_bytes_says_what_reads_it() {
        let mut weights = 0xfeff_u64.to_le_bytes().to_vec(); // a length that begins as UTF-16 does
        weights.extend([&b"{\"t\": {}}"[..], &[b' '; 0xfeff]].concat());
        for (bytes, expected) in [
            (&b"PK\x03\x04\x14"[..], "a zip archive"),
            (b"PAR1\x15\x04PAR1", "a parquet file: --field NAME"),
            (&weights, "a safetensors file: --data FOLDER"),
        ] {
            for error in [
                unmarked(bytes.to_vec()).unwrap_err(),
                utf8(bytes.to_vec()).unwrap_err(),
            ] {
                assert!(error.contains(expected), "{error}");
            }
        }
        for text in ["PAR1 is a word", "PK", "{\"a\": 1}", "eight by{tes", ""] {
            assert_eq!(unmarked(text.into()).unwrap(), text.as_bytes());
        }
        let error = utf8(b"one\ntwo\nth\xffree".to_vec()).unwrap_err();
        assert!(error.contains("byte 10 on, in line 3"), "{error}");
    }
}
