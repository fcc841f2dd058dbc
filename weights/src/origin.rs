//! Where the data of a run comes from: kept with its checkpoint, so that nobody after it has to guess.
//!
//! What goes on from a run, or measures it, reads the run's own data unless it is given some; data that is
//! given is compared with what the run read, by its fingerprint, and what training held out is held out
//! in the same way: the last share of the tokens.

use baton_config::Error;
use baton_data::shards::{self, Part, Reader};
use baton_data::tokenizer::Tokenizer;
use baton_data::{Corpus, Document, HELD_OUT, Source, Text, documents, novels};
use baton_tasks::{Material, TaskConfig, TaskSource};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Data by the place that it lies in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// A text or a folder of them.
    Text {
        /// Its place.
        path: PathBuf,
        /// Whether it is read as documents of tokens, and not as one text of bytes.
        documents: bool,
        /// Whether states are reset where a document begins.
        reset: bool,
        /// The field of records that holds the text, where it is one of records.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        field: Option<String>,
    },
    /// What `baton tokenize` wrote.
    Shards {
        /// Its folder.
        path: PathBuf,
        /// Whether states are reset where a document begins.
        reset: bool,
    },
    /// The novels that come with the program.
    Novels,
    /// A task.
    Task {
        /// As the command line has it.
        task: String,
        /// The text that it hides answers in.
        haystack: Option<PathBuf>,
    },
}

/// Data that was opened.
pub struct Opened {
    /// What is trained on.
    pub train: Box<dyn Source>,
    /// What is held out, where anything is.
    pub held_out: Option<Corpus>,
}

/// What a checkpoint knows of the data of its run.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// What tells it from others.
    pub fingerprint: String,
    /// Where it was; older checkpoints do not say.
    pub origin: Option<Origin>,
}

impl Origin {
    /// What it is called in messages.
    pub fn name(&self) -> String {
        match self {
            Origin::Text { path, .. } | Origin::Shards { path, .. } => path.display().to_string(),
            Origin::Novels => "novels by Jane Austen".into(),
            Origin::Task { task, .. } => format!("the task {task}"),
        }
    }

    /// Opens it in the tokens of `tokenizer`; shards have theirs.
    pub fn open(&self, tokenizer: &Tokenizer) -> Result<Opened, Error> {
        self.open_as(Reader::ALONE, tokenizer)
    }

    /// The same as one of several processes, which share out what is read through.
    pub fn open_as(&self, reader: Reader, tokenizer: &Tokenizer) -> Result<Opened, Error> {
        Ok(match self {
            Origin::Text {
                path,
                documents: as_documents,
                reset,
                field,
            } => {
                let name = name(path);
                let found = documents(path, field.as_deref())?;
                let whole = Corpus::new(&name, &found, tokenizer, None)?;
                let (mut train, held_out) = whole.split(HELD_OUT);
                train.reset = *reset;
                let bytes = || {
                    found
                        .into_iter()
                        .map(|d| d.bytes)
                        .collect::<Vec<_>>()
                        .concat()
                };
                let train: Box<dyn Source> = match as_documents {
                    true => Box::new(train),
                    false => Box::new(Text::cut(&name, bytes(), HELD_OUT)),
                };
                let held_out = Some(held_out);
                Opened { train, held_out }
            }
            Origin::Shards { path, reset } => {
                let mut train = shards::open(path, Part::Train, reader)?;
                train.reset = *reset;
                let held_out = shards::open_if_there(path, Part::HeldOut, reader)?;
                let train = Box::new(train);
                Opened { train, held_out }
            }
            Origin::Novels => {
                let text = novels::austen()?;
                let (path, bytes) = (PathBuf::from(self.name()), text.held_out.clone());
                let held_out = [Document { path, bytes }];
                let held_out = Some(Corpus::new(&text.name, &held_out, tokenizer, None)?);
                let train = Box::new(text);
                Opened { train, held_out }
            }
            Origin::Task { task, haystack } => {
                let config: TaskConfig = task.parse()?;
                let haystack = match haystack {
                    Some(path) => Some(String::from_utf8_lossy(&Text::read(path)?.train).into()),
                    None => None,
                };
                let material = Material::new(tokenizer.clone(), haystack);
                let train = Box::new(TaskSource::new(config, &material)?);
                let held_out = None;
                Opened { train, held_out }
            }
        })
    }

    /// All of a text, of whatever it is taken.
    pub fn whole(&self, tokenizer: &Tokenizer) -> Result<Corpus, Error> {
        match self {
            Origin::Text { path, field, .. } => {
                let name = format!("{}, all of it", name(path));
                let found = documents(path, field.as_deref())?;
                Ok(Corpus::new(&name, &found, tokenizer, None)?)
            }
            other => Err(Error::Config(format!(
                "all of {} given, expected a text",
                other.name()
            ))),
        }
    }

    /// The same with states reset where a document begins; refuses what has none.
    pub fn reset(self) -> Result<Origin, Error> {
        match self {
            Origin::Text { path, field, .. } => Ok(Origin::Text {
                path,
                documents: true,
                reset: true,
                field,
            }),
            Origin::Shards { path, .. } => Ok(Origin::Shards { path, reset: true }),
            other => Err(Error::Config(format!(
                "--reset-documents given for {}, which has no documents: expected it with --text or --data",
                other.name()
            ))),
        }
    }

    /// The same read in the way that `known` was, so that fingerprints can be compared.
    fn as_read(&self, known: &Known) -> Origin {
        match self {
            Origin::Text { path, field, .. } => Origin::Text {
                path: path.clone(),
                documents: known.fingerprint.contains(" tokens in "),
                reset: false,
                field: field.clone(),
            },
            other => other.clone(),
        }
    }
}

/// The name of a text in reports.
pub fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A fingerprint without what is no matter of the data itself.
fn plain(fingerprint: &str) -> String {
    fingerprint.replace(", reset", "")
}

impl Known {
    /// Whether the run read `given`, which is opened for it.
    pub fn is(&self, given: &Origin, tokenizer: &Tokenizer) -> Result<bool, Error> {
        let opened = given.as_read(self).open_as(Reader::NONE, tokenizer)?;
        Ok(plain(&opened.train.fingerprint()) == plain(&self.fingerprint))
    }

    /// Whether it is a task, which no text can be compared with.
    pub fn is_task(&self) -> bool {
        self.fingerprint.starts_with("task ")
    }

    /// What it was, in words.
    pub fn name(&self) -> String {
        match &self.origin {
            Some(origin) => format!("{} ({})", origin.name(), self.fingerprint),
            None => format!("a text of {}", self.fingerprint),
        }
    }
}

/// Whether data may be other than what a run read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// It may.
    Taken,
    /// It may not, and this is how a person has other data taken.
    Refused(&'static str),
}

/// The data of what comes after a run: what is `given`, or else the run's own. What is given must be what the
/// run read, unless `other` data may be.
pub fn after(
    known: Option<&Known>,
    given: Option<Origin>,
    other: Other,
    tokenizer: &Tokenizer,
) -> Result<Origin, Error> {
    let wrong = |what: String| Err(Error::Config(what));
    let (given, known) = match (given, known) {
        (Some(given), None) => return Ok(given),
        (None, None) => {
            return wrong(
                "no data given, and the checkpoint does not say what it was trained on: expected --text \
                 or --data"
                    .into(),
            );
        }
        (Some(given), Some(known)) => (given, known),
        (None, Some(known)) => match &known.origin {
            Some(origin) => (origin.clone(), known),
            None => {
                let name = known.name();
                return wrong(format!(
                    "no data given, and the checkpoint does not say where {name} is, which it was trained \
                     on: expected it by --text or --data"
                ));
            }
        },
    };
    let task = matches!(given, Origin::Task { .. }) && known.origin.as_ref() != Some(&given);
    if other == Other::Taken || task || known.is_task() && !matches!(given, Origin::Task { .. }) {
        return Ok(given);
    }
    let same = known.is(&given, tokenizer).map_err(|e| {
        Error::Config(format!(
            "{e}; the run read {}: expected it there, or its new place by --text or --data",
            known.name()
        ))
    })?;
    match same {
        true => Ok(given),
        false => {
            let now = given.as_read(known).open_as(Reader::NONE, tokenizer)?;
            let now = now.train.fingerprint();
            let remedy = match other {
                Other::Taken => "",
                Other::Refused(remedy) => remedy,
            };
            wrong(format!(
                "{} ({now}) given, expected what the run read: {}; {remedy}",
                given.name(),
                known.name()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: Other = Other::Refused("--other-data reads another");

    fn known(fingerprint: &str) -> Known {
        Known {
            fingerprint: fingerprint.into(),
            origin: None,
        }
    }

    #[test]
    fn a_text_is_known_by_its_fingerprint_however_it_was_read() {
        let folder = std::env::temp_dir().join(format!("baton-origin-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("text");
        std::fs::write(&path, b"one segment hands its state to the next").unwrap();
        let of = |documents, reset| Origin::Text {
            path: path.clone(),
            documents,
            reset,
            field: None,
        };
        let all = [of(false, false), of(true, false), of(true, true)];
        for read in &all {
            let opened = read.open(&Tokenizer::Bytes).unwrap();
            let known = known(&opened.train.fingerprint());
            assert!(!known.is_task());
            for given in &all {
                assert!(known.is(given, &Tokenizer::Bytes).unwrap());
                let found = after(Some(&known), Some(given.clone()), NO, &Tokenizer::Bytes);
                assert_eq!(found.unwrap(), *given);
            }
            // What is held out is what training does not see, to the byte.
            let held = opened.held_out.unwrap().tokens;
            let bytes: Vec<u8> = held.read(0..held.len()).iter().map(|&t| t as u8).collect();
            assert_eq!(bytes, b"e next");
        }
        let other = known("33 bytes, 0123456789abcdef");
        let error = after(Some(&other), Some(all[0].clone()), NO, &Tokenizer::Bytes);
        let error = error.unwrap_err().to_string();
        for part in [
            "text (33 bytes, ",
            "expected what the run read: a text of 33 bytes, 0123456789abcdef; --other-data reads another",
        ] {
            assert!(error.contains(part), "{error}");
        }
        after(
            Some(&other),
            Some(all[0].clone()),
            Other::Taken,
            &Tokenizer::Bytes,
        )
        .unwrap();
        let gone = Known {
            origin: Some(Origin::Shards {
                path: folder.join("gone"),
                reset: false,
            }),
            ..other
        };
        let error = after(Some(&gone), None, NO, &Tokenizer::Bytes)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("gone") && error.contains("expected it there"),
            "{error}"
        );
        let error = after(None, None, NO, &Tokenizer::Bytes)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("does not say what it was trained on"),
            "{error}"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_task_is_told_from_a_text() {
        for text in ["33 bytes, 01", "5 tokens in 2 documents, reset, 01"] {
            assert!(!known(text).is_task(), "{text}");
        }
        let task = Origin::Task {
            task: "copying".into(),
            haystack: None,
        };
        let source = task.open(&Tokenizer::Bytes).unwrap().train;
        assert!(known(&source.fingerprint()).is_task());
    }
}
