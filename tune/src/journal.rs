//! The journal: every result of a tuning, from the moment it is there.
//!
//! A line of JSON is one verdict or one time, appended in one write, which a kill of the process does not undo (and
//! no wait for the disk, which would stand beside every measurement). A tuning that is killed and begun
//! again reads them and goes on; what was under way is lost, and nothing else. A last line that is not whole is
//! what was under way. A journal of another tuning (other candidates, programs, threads) is begun anew.

use crate::Error;
use crate::entry::{Clock, Key};
use crate::gate::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What results belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub key: Key,
    /// B, T, H, G.
    pub run: [usize; 4],
    pub threads: usize,
    pub clock: Clock,
    /// By candidate.
    pub choices: Vec<serde_json::Value>,
    pub kernel_hashes: Vec<String>,
    /// Of the gate's numbers: the one thing that a tuning which goes on takes from here.
    pub seed: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Began(Head),
    Judged {
        candidate: usize,
        verdict: Verdict,
        seconds: f64,
    },
    Timed {
        candidate: usize,
        round: usize,
        milliseconds: f64,
        seconds: f64,
    },
}

/// The results of one tuning, in a file or in memory only.
#[derive(Debug, Default)]
pub struct Journal {
    path: Option<PathBuf>,
    /// Whether what the file holds is left behind.
    anew: bool,
    file: Option<File>,
    seed: Option<u64>,
    verdicts: BTreeMap<usize, Verdict>,
    times: BTreeMap<(usize, usize), f64>,
    /// Seconds of everything in it.
    pub(crate) seconds: f64,
}

impl Journal {
    /// One that ends with the process.
    pub fn in_memory() -> Journal {
        Journal::default()
    }

    /// One that lives in a file, which need not be there yet.
    pub fn at(path: &Path) -> Journal {
        Journal {
            path: Some(path.into()),
            ..Journal::default()
        }
    }

    /// The same, with what a file holds left behind.
    pub fn anew(self) -> Journal {
        Journal { anew: true, ..self }
    }

    /// Whether there is something to go on from.
    pub fn begun(&self) -> bool {
        self.path.as_ref().is_some_and(|path| path.exists())
    }

    /// Reads what is there of this tuning, or begins it; gives the seed that it goes by.
    pub(crate) fn begin(&mut self, head: &Head) -> Result<u64, Error> {
        let Some(path) = self.path.clone() else {
            return Ok(*self.seed.get_or_insert(head.seed));
        };
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(why) => return Err(Error::file(&path, why)),
        };
        let kept = match self.anew {
            true => 0,
            false => self.read(&path, &text, head)?,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|why| Error::file(folder, why))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|why| Error::file(&path, why))?;
        file.try_lock()
            .map_err(|_| Error::file(&path, "another tuning of the same works on it"))?;
        let whole = file.set_len(kept as u64);
        whole.map_err(|why| Error::file(&path, why))?;
        self.file = Some(file);
        if kept == 0 {
            self.write(&Line::Began(head.clone()))?;
        }
        Ok(*self.seed.get_or_insert(head.seed))
    }

    /// Takes the lines of a text that belong to this tuning; gives how many bytes of it they are.
    fn read(&mut self, path: &Path, text: &str, head: &Head) -> Result<usize, Error> {
        let mut kept = 0;
        for line in text.split_inclusive('\n') {
            if !line.ends_with('\n') {
                break;
            }
            let read: Line = serde_json::from_str(line).map_err(|why| {
                let why = format!("no journal of a tuning: {why}; remove it to begin anew");
                Error::file(path, why)
            })?;
            match read {
                Line::Began(found) => {
                    let seed = found.seed;
                    if found
                        != (Head {
                            seed,
                            ..head.clone()
                        })
                    {
                        return Ok(0);
                    }
                    self.seed = Some(seed);
                }
                Line::Judged {
                    candidate,
                    verdict,
                    seconds,
                } => {
                    self.verdicts.insert(candidate, verdict);
                    self.seconds += seconds;
                }
                Line::Timed {
                    candidate,
                    round,
                    milliseconds,
                    seconds,
                } => {
                    self.times.insert((candidate, round), milliseconds);
                    self.seconds += seconds;
                }
            }
            kept += line.len();
        }
        Ok(kept)
    }

    fn write(&mut self, line: &Line) -> Result<(), Error> {
        let (Some(file), Some(path)) = (&mut self.file, &self.path) else {
            return Ok(());
        };
        let mut text = serde_json::to_string(line).expect("every number of a line is finite");
        text.push('\n');
        let written = file.write_all(text.as_bytes());
        written.map_err(|why| Error::file(path, why))
    }

    pub(crate) fn verdict(&self, candidate: usize) -> Option<&Verdict> {
        self.verdicts.get(&candidate)
    }

    pub(crate) fn judged(
        &mut self,
        candidate: usize,
        verdict: Verdict,
        seconds: f64,
    ) -> Result<(), Error> {
        self.write(&Line::Judged {
            candidate,
            verdict: verdict.clone(),
            seconds,
        })?;
        self.verdicts.insert(candidate, verdict);
        self.seconds += seconds;
        Ok(())
    }

    pub(crate) fn time(&self, candidate: usize, round: usize) -> Option<f64> {
        self.times.get(&(candidate, round)).copied()
    }

    pub(crate) fn timed(
        &mut self,
        candidate: usize,
        round: usize,
        milliseconds: f64,
        seconds: f64,
    ) -> Result<(), Error> {
        self.write(&Line::Timed {
            candidate,
            round,
            milliseconds,
            seconds,
        })?;
        self.times.insert((candidate, round), milliseconds);
        self.seconds += seconds;
        Ok(())
    }

    /// Removes the file, when its result is kept elsewhere.
    pub fn done(self) -> Result<(), Error> {
        drop(self.file);
        match self.path {
            Some(path) => fs::remove_file(&path).map_err(|why| Error::file(&path, why)),
            None => Ok(()),
        }
    }
}
