//! Documents from files: a file is one, a folder is all files below it in the order of their paths.

use crate::Error;
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

/// The documents at `path`; hidden files and empty ones are left out.
pub fn documents(path: &Path) -> Result<Vec<Document>, Error> {
    let mut paths = Vec::new();
    walk(path, &mut paths)?;
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let bytes = fs::read(&path).map_err(|e| Error::file(&path, e))?;
        if !bytes.is_empty() {
            found.push(Document { path, bytes });
        }
    }
    match found.is_empty() {
        true => Err(Error::file(path, "no text in it, expected a document")),
        false => Ok(found),
    }
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
        for (file, text) in [("b", "two"), ("a/x", "one"), ("c", ""), (".d", "hidden")] {
            fs::write(folder.join(file), text).unwrap();
        }
        let found = documents(&folder).unwrap();
        let texts: Vec<&[u8]> = found.iter().map(|d| d.bytes.as_slice()).collect();
        assert_eq!(texts, [b"one", b"two"]);
        assert_eq!(documents(&folder.join("b")).unwrap()[0].bytes, b"two");
        assert!(documents(&folder.join("c")).is_err());
        assert!(documents(&folder.join("absent")).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
