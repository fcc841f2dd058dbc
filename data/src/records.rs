//! Records of a file: the lines of JSONL, the objects of a JSON list, the rows of a parquet file.
//!
//! A file is known by its name's end, compressed by gzip or not. Records go by one after another, so that a
//! large file is not in memory as what it means. A value is found by a path of names and numbers
//! with dots between them. Parquet needs the feature `parquet`.

use crate::Error;
use crate::files;
use crate::given;
use crate::gzip;
use serde_json::{Map, Value};
use std::path::Path;

/// The columns of a record.
pub type Record = Map<String, Value>;

/// How the names of files of records end.
const ENDS: [&str; 4] = ["jsonl", "ndjson", "json", "parquet"];
/// Keys under which an object that is a whole file holds its records.
const LISTS: [&str; 5] = ["data", "examples", "rows", "train", "test"];

/// Whether a path names a file of records.
pub fn is(path: &Path) -> bool {
    kind(path).is_some()
}

/// The end of a name that says records, without that of a compression.
fn kind(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let end = name.rsplit_once('.')?.1;
    ENDS.into_iter().find(|known| *known == end)
}

/// Hands every record of a file over, with its number from one on.
pub fn each(
    path: &Path,
    take: &mut dyn FnMut(usize, Record) -> Result<(), Error>,
) -> Result<(), Error> {
    match kind(path) {
        Some("parquet") => parquet(path, take),
        Some("json") => {
            let text = text(path)?;
            match serde_json::from_str(&text) {
                Err(_) if is_lines(&text) => lines(path, &text, take),
                Err(e) => {
                    let line = text.lines().nth(e.line().saturating_sub(1));
                    Err(no_json(path, e.line(), line.unwrap_or_default(), &e))
                }
                Ok(whole) => list(path, whole)?
                    .into_iter()
                    .enumerate()
                    .try_for_each(|(i, value)| take(i + 1, object(path, i + 1, value)?)),
            }
        }
        Some(_) => lines(path, &text(path)?, take),
        None => Err(Error::file(
            path,
            format!(
                "no file of records, expected a name that ends in .{}",
                ENDS.join(", .")
            ),
        )),
    }
}

/// The value at a path of names, and of numbers in lists, with dots between; a name with dots in it too.
pub fn at<'a>(record: &'a Record, path: &str) -> Option<&'a Value> {
    if let Some(found) = record.get(path) {
        return Some(found);
    }
    let (first, rest) = path.split_once('.')?;
    let mut value = record.get(first)?;
    for step in rest.split('.') {
        value = match value {
            Value::Array(all) => all.get(step.parse::<usize>().ok()?)?,
            other => other.get(step)?,
        };
    }
    Some(value)
}

/// The names of a record's columns, as a message lists them.
pub fn names(record: &Record) -> String {
    let names: Vec<String> = record.keys().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn text(path: &Path) -> Result<String, Error> {
    let text = gzip::unpacked(files::read(path)?).and_then(given::utf8);
    text.map_err(|why| Error::file(path, why))
}

/// Whether a text begins with a line that is a whole record: lines of JSON are often called `.json`.
fn is_lines(text: &str) -> bool {
    let first = text.trim_start().lines().next();
    first.is_some_and(|line| serde_json::from_str::<Record>(line).is_ok())
}

fn lines(
    path: &Path,
    text: &str,
    take: &mut dyn FnMut(usize, Record) -> Result<(), Error>,
) -> Result<(), Error> {
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str(line);
        let value = value.map_err(|e| no_json(path, i + 1, line, &e))?;
        take(i + 1, object(path, i + 1, value)?)?;
    }
    Ok(())
}

/// Why a line is no JSON. Python writes what is no character, and reads it back.
fn no_json(path: &Path, number: usize, line: &str, error: &serde_json::Error) -> Error {
    let why = match lone(line) {
        Some(half) => format!(
            "`{half}` is half of a surrogate pair and no character, expected text: in Python \
             `text.encode(\"utf-16\", \"surrogatepass\").decode(\"utf-16\", \"replace\")` has none before json.dumps"
        ),
        None => format!("no JSON: {error}"),
    };
    Error::file(path, format!("line {number}: {why}"))
}

/// The first escape of half of a surrogate pair without the other half.
fn lone(line: &str) -> Option<&str> {
    let unit = |at: usize| {
        let digits = line.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut at = 0;
    while let Some(next) = line[at..].find('\\') {
        at += next;
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => return line.get(at..at + 6),
            (Some(_), _) => at += 6,
            // An escape of one character, which need not be one byte where the line is no JSON.
            (None, _) => at += 1 + line[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    None
}

fn object(path: &Path, number: usize, value: Value) -> Result<Record, Error> {
    match value {
        Value::Object(record) => Ok(record),
        other => {
            let other = other.to_string();
            let short: String = other.chars().take(40).collect();
            let what = format!("record {number}: {short} given, expected an object with fields");
            Err(Error::file(path, what))
        }
    }
}

/// The records of a whole file.
fn list(path: &Path, whole: Value) -> Result<Vec<Value>, Error> {
    let found = match whole {
        Value::Array(all) => Some(all),
        Value::Object(mut object) => LISTS.into_iter().find_map(|key| match object.remove(key) {
            Some(Value::Array(all)) => Some(all),
            _ => None,
        }),
        _ => None,
    };
    found.ok_or_else(|| {
        let what =
            "a JSON value that is no list given, expected a list of records, or an object with one";
        Error::file(path, format!("{what} under {}", LISTS.join(", ")))
    })
}

#[cfg(feature = "parquet")]
fn parquet(
    path: &Path,
    take: &mut dyn FnMut(usize, Record) -> Result<(), Error>,
) -> Result<(), Error> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let wrong =
        |e: parquet::errors::ParquetError| Error::file(path, format!("no parquet file: {e}"));
    let file = SerializedFileReader::new(files::open(path)?).map_err(wrong)?;
    for (i, row) in file.get_row_iter(None).map_err(wrong)?.enumerate() {
        let value = row.map_err(wrong)?.to_json_value();
        take(i + 1, object(path, i + 1, value)?)?;
    }
    Ok(())
}

#[cfg(not(feature = "parquet"))]
fn parquet(
    path: &Path,
    _: &mut dyn FnMut(usize, Record) -> Result<(), Error>,
) -> Result<(), Error> {
    files::open(path)?;
    let what = "a parquet file given to a build without the feature `parquet`, expected JSONL, or a build with \
                it: `cargo build --release -p baton-cli --features parquet`";
    Err(Error::file(path, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_pair_is_found_and_a_pair_is_not() {
        for (line, expected) in [
            (r#"{"a": "\ud800"}"#, Some(r"\ud800")),
            (r#"{"a": "\ud83d\ude00 \udc00b"}"#, Some(r"\udc00")),
            (r#"{"a": "\ud83d\u0041"}"#, Some(r"\ud83d")),
            (r#"{"a": "\ud83d\ude00, \\ud800, \"\u00e9"}"#, None),
            ("\\\u{e9}\\", None),
        ] {
            assert_eq!(lone(line), expected, "{line}");
        }
    }

    /// What is wrong in a file of lines, or with what is made of them, is said as it is, whatever the file is called.
    #[test]
    fn lines_that_are_called_json_keep_their_own_errors() {
        let name = format!("baton-records-{}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        let read = |text: &str, last: usize| {
            std::fs::write(&path, text).unwrap();
            let mut take = |number: usize, _: Record| match number < last {
                true => Ok(()),
                false => Err(Error::Config("enough".into())),
            };
            each(&path, &mut take).map_err(|e| e.to_string())
        };
        let good = "\n{\"a\": 1}\n\n{\"a\": 2}\n";
        assert_eq!(read(good, 9), Ok(()));
        assert_eq!(read(good, 4), Err("enough".into()));
        for (text, expected) in [
            ("{\"a\": 1}\n{\"a\": }\n", "line 2: no JSON: expected value"),
            ("{\"a\": 1}\n7\n", "record 2: 7 given"),
            ("{\"a\":\n 1,}\n", "line 2: no JSON"),
        ] {
            let said = read(text, 9).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
        std::fs::remove_file(path).unwrap();
    }
}
