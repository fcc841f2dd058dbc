//! Real text without a manual step: Jane Austen's six novels, from a package of the distribution.
//!
//! Debian and Ubuntu carry them as data of an R package. `apt-get download` needs no root, and
//! `dpkg-deb -x` unpacks into any folder; where the machine has no package lists (a container),
//! they are fetched into a folder of our own. The novels lie in R's lazy-load format: for each
//! object a length, then a zlib stream of R's serialisation, a vector of lines.
//!
//! The first novel of the package, *Emma*, is held out whole: training never sees it.

use crate::Error;
use crate::data::{Text, documents};
use flate2::bufread::ZlibDecoder;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "r-cran-janeaustenr";
const INSIDE: &str = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb";

/// The novels, fetched into `folder` on first use.
pub fn austen(folder: &Path) -> Result<Text, Error> {
    let unpacked = folder.join("unpacked").join(INSIDE);
    if !unpacked.exists() {
        fetch(folder)?;
    }
    let bytes = fs::read(&unpacked).map_err(|e| Error::file(&unpacked, e))?;
    let mut novels = novels(&bytes).map_err(|reason| Error::file(&unpacked, reason))?;
    if novels.len() < 2 {
        return Err(Error::file(&unpacked, "one text in it, expected several"));
    }
    let held_out = novels.remove(0);
    let title = String::from_utf8_lossy(held_out.split(|&b| b == b'\n').next().unwrap_or(b""));
    Ok(Text {
        name: format!(
            "{PACKAGE} ({} novels by Jane Austen), {} held out",
            novels.len() + 1,
            title.trim()
        ),
        train: novels.concat(),
        held_out,
    })
}

/// A text of one's own, a file or all files of a folder; its last 15 % are held out.
pub fn file(path: &Path) -> Result<Text, Error> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let texts = documents(path, None)?
        .into_iter()
        .map(|document| document.bytes);
    let bytes = texts.collect::<Vec<_>>().concat();
    Ok(Text::cut(&name.unwrap_or_default(), bytes, 0.15))
}

fn fetch(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    let folder = &folder.canonicalize().map_err(|e| Error::file(folder, e))?;
    let download = |options: &[String]| {
        run(
            folder,
            Command::new("apt-get")
                .args(options)
                .args(["download", PACKAGE]),
        )
    };
    if let Err(first) = download(&[]) {
        let lists = folder.join("lists");
        fs::create_dir_all(lists.join("partial")).map_err(|e| Error::file(&lists, e))?;
        let options = [
            "-o".to_string(),
            format!("Dir::State::lists={}", lists.display()),
            "-o".to_string(),
            format!("Dir::Cache={}", folder.join("cache").display()),
        ];
        run(folder, Command::new("apt-get").args(&options).arg("update"))
            .and_then(|()| download(&options))
            .map_err(|second| {
                Error::Config(format!(
                    "cannot download the text: {first}; {second}; give one of your own by --text FILE"
                ))
            })?;
    }
    let package = package(folder)?;
    run(
        folder,
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(package)
            .arg("unpacked"),
    )
    .map_err(|reason| {
        Error::Config(format!(
            "cannot unpack the text: {reason}; give one of your own by --text FILE"
        ))
    })
}

/// The downloaded package.
fn package(folder: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).map_err(|e| Error::file(folder, e))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    found.sort();
    let none = || Error::file(folder, "no package in it after its download");
    found.pop().ok_or_else(none)
}

fn run(folder: &Path, command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.current_dir(folder).output();
    let output = output.map_err(|e| format!("{name} cannot be run ({e})"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let error = String::from_utf8_lossy(&output.stderr);
            let last = error.trim().lines().last().unwrap_or("no message");
            Err(format!("{name} failed ({last})"))
        }
    }
}

/// The texts of a lazy-load database: each object a big-endian length and a zlib stream.
fn novels(mut file: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut texts = Vec::new();
    while !file.is_empty() {
        let (length, rest) = take(file, 4)?;
        let length = big_endian(length);
        let mut decoder = ZlibDecoder::new(rest);
        let mut object = Vec::new();
        let read = decoder.by_ref().take(1 << 28).read_to_end(&mut object);
        read.map_err(|e| format!("not a lazy-load database: {e}"))?;
        if object.len() != length {
            return Err(format!(
                "an object of {} bytes, expected {length}",
                object.len()
            ));
        }
        file = &rest[decoder.total_in() as usize..];
        texts.push(lines(&object)?);
    }
    Ok(texts)
}

/// The lines of a serialised vector of strings (R's XDR format, version 2 or 3).
fn lines(object: &[u8]) -> Result<Vec<u8>, String> {
    const STRINGS: usize = 16;
    const STRING: usize = 9;
    let (magic, rest) = take(object, 2)?;
    let (version, rest) = take(rest, 4)?;
    let (_, mut rest) = take(rest, 8)?;
    if magic != b"X\n" {
        return Err("not R's XDR serialisation".into());
    }
    if big_endian(version) == 3 {
        let (length, after) = take(rest, 4)?;
        (_, rest) = take(after, big_endian(length))?;
    }
    let (kind, rest) = take(rest, 4)?;
    let (count, mut rest) = take(rest, 4)?;
    if big_endian(kind) & 0xff != STRINGS {
        return Err(format!(
            "an object of type {}, expected strings",
            big_endian(kind) & 0xff
        ));
    }
    let mut text = Vec::with_capacity(object.len());
    for _ in 0..big_endian(count) {
        let (kind, after) = take(rest, 4)?;
        let (length, after) = take(after, 4)?;
        if big_endian(kind) & 0xff != STRING {
            return Err("an element that is no string".into());
        }
        let (line, after) = take(after, big_endian(length))?;
        text.extend_from_slice(line);
        text.push(b'\n');
        rest = after;
    }
    Ok(text)
}

fn take(bytes: &[u8], count: usize) -> Result<(&[u8], &[u8]), String> {
    bytes
        .split_at_checked(count)
        .ok_or_else(|| "the file ends too early".into())
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |value, &byte| value << 8 | byte as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use std::io::Write;

    fn object(lines: &[&str]) -> Vec<u8> {
        let mut out = b"X\n\0\0\0\x03\0\x04\x02\x01\0\x03\x05\0\0\0\0\x05UTF-8\0\0\0\x10".to_vec();
        out.extend((lines.len() as u32).to_be_bytes());
        for line in lines {
            out.extend([0, 4, 0, 9]);
            out.extend((line.len() as u32).to_be_bytes());
            out.extend(line.as_bytes());
        }
        out
    }

    #[test]
    fn a_lazy_load_database_gives_its_texts() {
        let mut file = Vec::new();
        for lines in [&["EMMA", "", "by"][..], &["PERSUASION"]] {
            let object = object(lines);
            file.extend((object.len() as u32).to_be_bytes());
            let mut encoder = ZlibEncoder::new(&mut file, Compression::default());
            encoder.write_all(&object).unwrap();
            encoder.finish().unwrap();
        }
        let texts = novels(&file).unwrap();
        assert_eq!(texts, [b"EMMA\n\nby\n".to_vec(), b"PERSUASION\n".to_vec()]);
        for cut in [1, 5, file.len() - 1] {
            assert!(novels(&file[..cut]).is_err());
        }
        assert_eq!(
            lines(&object(&["a"])[..10]).unwrap_err(),
            "the file ends too early"
        );
    }
}
