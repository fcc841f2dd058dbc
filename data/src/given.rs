//! What is read, and what it is where it is not what it should be: a link that leads nowhere, a folder, a pointer of Git
//! LFS, a text in UTF-16.
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
    if matches!(bytes[..], [0, second, ..] if second != 0)
        || matches!(bytes[..], [first, 0, ..] if first != 0)
    {
        return Err(UTF_16.into());
    }
    String::from_utf8(unmarked(bytes)?).map_err(|why| {
        let at = why.utf8_error().valid_up_to();
        format!("no UTF-8 from byte {at} on, expected a text")
    })
}

const UTF_16: &str =
    "a text in UTF-16 given, expected UTF-8 (`iconv -f UTF-16 -t UTF-8` makes it so)";

/// Bytes of a text without the byte-order mark of UTF-8; one in UTF-16 is refused.
pub fn unmarked(mut bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(UTF_16.into());
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        bytes.drain(..3);
    }
    Ok(bytes)
}
