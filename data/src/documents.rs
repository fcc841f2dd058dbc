//! Documents from files: a text is one, a field of each record of JSONL, JSON or parquet is one, and a folder
//! is all files below it in the order of their paths. What gzip packed is read as what it holds.
//!
//! What looks like records is not read as text: what its brackets and names would teach is seldom meant,
//! and never said.

use crate::Error;
use crate::files;
use crate::given;
use crate::gzip;
use crate::plain;
use crate::records;
use std::fs;
use std::path::{Path, PathBuf};

/// One text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it is from.
    pub path: PathBuf,
    /// Its text.
    pub bytes: Vec<u8>,
}

/// The documents at `path`, empty ones too; hidden files are left out. With `field`, those of records alone, each the
/// text in this field.
pub fn documents(path: &Path, field: Option<&str>) -> Result<Vec<Document>, Error> {
    let mut paths = Vec::new();
    walk(path, &mut paths)?;
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        match (records::is(&path), field) {
            (true, Some(field)) => of_records(&path, field, &mut found)?,
            (true, None) => return Err(asked(&path)),
            (false, None) => {
                let bytes = gzip::unpacked(files::read(&path)?).and_then(given::unmarked);
                let bytes = bytes.map_err(|why| Error::file(&path, why))?;
                found.push(Document { path, bytes });
            }
            (false, Some(_)) => {}
        }
    }
    match (
        found.iter().all(|document| document.bytes.is_empty()),
        field,
    ) {
        (false, _) => Ok(found),
        (true, None) => Err(Error::file(path, "no text in it, expected a document")),
        (true, Some(field)) => {
            let what = format!("no text in a field `{field}`, expected records with some");
            Err(Error::file(path, what))
        }
    }
}

fn of_records(path: &Path, field: &str, found: &mut Vec<Document>) -> Result<(), Error> {
    records::each(path, &mut |number, record| {
        let wrong = |what: String| Err(Error::file(path, format!("record {number}: {what}")));
        match records::at(&record, field) {
            Some(serde_json::Value::String(text)) => {
                let (path, bytes) = (path.to_path_buf(), text.clone().into_bytes());
                found.push(Document { path, bytes });
                Ok(())
            }
            Some(other) => wrong(format!(
                "`{field}` is {}, expected a text",
                plain::value(other)
            )),
            None => {
                let names = records::names(&record);
                wrong(format!("no field `{field}`, expected one of {names}"))
            }
        }
    })
}

/// What a file of records given as text is answered with: the fields that could be meant.
fn asked(path: &Path) -> Error {
    let mut texts = Vec::new();
    let seen = records::each(path, &mut |_, record| {
        let named = record.iter().filter(|(_, value)| value.is_string());
        texts = named.map(|(name, _)| format!("`{name}`")).collect();
        Err(Error::Config(String::new())) // the first is enough
    });
    let fields = match (seen, texts.is_empty()) {
        (Err(Error::File { reason, .. }), _) => format!(" ({reason})"),
        (_, true) => String::new(),
        (_, false) => format!(" (texts are in {})", texts.join(", ")),
    };
    Error::file(
        path,
        format!(
            "a file of records given as a text{fields}, expected --field NAME with it; to read it as it is, give it \
             a name that ends in .txt"
        ),
    )
}

fn walk(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    if !path.is_dir() {
        found.push(path.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(|e| Error::file(path, e))? {
        let entry = entry.map_err(|e| Error::file(path, e))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            walk(&entry.path(), found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_files_in_order() {
        let folder = std::env::temp_dir().join(format!("baton-documents-{}", std::process::id()));
        fs::create_dir_all(folder.join("a")).unwrap();
        for (file, text) in [
            ("b", "\u{feff}two"),
            ("a/x", "one"),
            ("c", ""),
            (".d", "hidden"),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let texts = |field| -> Vec<Vec<u8>> {
            let found = documents(&folder, field).unwrap();
            found.into_iter().map(|d| d.bytes).collect()
        };
        assert_eq!(texts(None), [&b"one"[..], b"two", b""]);
        assert_eq!(documents(&folder.join("b"), None).unwrap()[0].bytes, b"two");
        let novel = include_bytes!("../novels/emma.txt.gz");
        fs::write(folder.join("novel"), novel).unwrap();
        let novel = documents(&folder.join("novel"), None).unwrap();
        assert!(novel[0].bytes.starts_with(b"EMMA\n\nBy Jane Austen\n"));
        fs::write(folder.join("novel"), b"\x1f\x8bno").unwrap();
        let error = documents(&folder.join("novel"), None).unwrap_err();
        assert!(error.to_string().contains("novel: no whole gzip file"));
        fs::remove_file(folder.join("novel")).unwrap();
        assert!(documents(&folder.join("c"), None).is_err());
        assert!(documents(&folder.join("absent"), None).is_err());
        let lines =
            "{\"a\": {\"b\": [\"x\", \"three\"]}, \"c\": 1}\n\n{\"a\": {\"b\": [\"x\", \"\"]}}\n";
        fs::write(folder.join("a/r.jsonl"), lines).unwrap();
        assert_eq!(texts(Some("a.b.1")), [&b"three"[..], b""]);
        let error = documents(&folder, Some("c")).unwrap_err().to_string();
        assert!(
            error.contains("record 1: `c` is 1, expected a text"),
            "{error}"
        );
        let error = documents(&folder, Some("d")).unwrap_err().to_string();
        assert!(
            error.contains("no field `d`, expected one of `a`, `c`"),
            "{error}"
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
