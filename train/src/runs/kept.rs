//! What belongs to a run's checkpoint and is no part of it: the vocabulary of its tokens, the plans that it goes by.
//!
//! It is written when the run begins, after all that may refuse it: a command that is refused leaves a folder as it
//! was. While there is no checkpoint it is that of the last run that began; with one it changes no more.

use super::newest;
use crate::Error;
use baton_data::files::write_whole;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// A file that belongs to a run's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name in the run's folder.
    pub name: &'static str,
    /// What it holds; absent where a new run has none.
    pub contents: Option<Vec<u8>>,
}

/// Brings a folder to hold what is `kept`, once none of it is refused: another file beside a checkpoint, or one
/// beside no checkpoint where a new run has none.
pub(super) fn keep(folder: &Path, kept: &[Kept]) -> Result<(), Error> {
    let goes_on = newest(folder).is_some();
    let mut new = Vec::new();
    for Kept { name, contents } in kept {
        let path = folder.join(name);
        let there = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(why) if why.kind() == ErrorKind::NotFound => None,
            Err(why) => return Err(Error::file(&path, why)),
        };
        let wrong = |what: &str| Err(Error::file(&path, what));
        match (contents, &there) {
            (Some(own), Some(there)) if own == there => {}
            (Some(_), Some(_)) if goes_on => {
                return wrong(
                    "it belongs to the checkpoint beside it and is not what the data given comes with, expected the \
                     same: another --folder begins anew",
                );
            }
            (None, Some(_)) if !goes_on => {
                return wrong(
                    "it belongs to no checkpoint, and the data given comes without one: remove it, or give another \
                     --folder",
                );
            }
            (Some(own), _) => new.push((path, own)),
            (None, _) => {}
        }
    }
    new.into_iter()
        .try_for_each(|(path, bytes)| Ok(write_whole(&path, bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_weights::checkpoint::CHECKPOINT;

    /// Before there is a checkpoint the last run that began counts; after that, the first.
    #[test]
    fn what_is_kept_belongs_to_the_checkpoint() {
        let folder = std::env::temp_dir().join(format!("baton-kept-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let of = |contents: Option<&str>| {
            let contents = contents.map(|text| text.as_bytes().to_vec());
            let kept = Kept {
                name: "words",
                contents,
            };
            keep(&folder, &[kept]).map_err(|e| e.to_string())
        };
        let held = || fs::read_to_string(folder.join("words")).ok();
        of(None).unwrap();
        assert_eq!(held(), None);
        for text in ["one", "two"] {
            of(Some(text)).unwrap();
            assert_eq!(held().as_deref(), Some(text));
        }
        let said = of(None).unwrap_err();
        assert!(
            said.contains("words: it belongs to no checkpoint"),
            "{said}"
        );
        fs::write(folder.join(CHECKPOINT), "a checkpoint").unwrap();
        of(None).unwrap();
        of(Some("two")).unwrap();
        let said = of(Some("three")).unwrap_err();
        assert!(
            said.contains("words: it belongs to the checkpoint"),
            "{said}"
        );
        assert_eq!(held().as_deref(), Some("two"));
        fs::remove_file(folder.join("words")).unwrap();
        of(Some("three")).unwrap();
        assert_eq!(held().as_deref(), Some("three"));
        fs::remove_dir_all(folder).unwrap();
    }
}
