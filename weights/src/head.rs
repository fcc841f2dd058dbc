//! What a checkpoint of this program says of itself before its tensors, which may be long, are read.

use crate::checkpoint::{ENTRY, Header, Progress, identity};
use crate::origin::Known;
use baton_config::{Error, TrainConfig};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The most bytes of a header, which is what the format allows.
const MOST: u64 = 100_000_000;

/// The run that a checkpoint is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Its configuration.
    pub config: TrainConfig,
    /// How far it had come.
    pub progress: Progress,
    /// What is known of its data.
    pub data: Option<Known>,
}

impl Head {
    /// That of the checkpoint at `path`, whether or not its tensors are whole.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let header = said(path).and_then(|text| serde_json::from_str::<Header>(&text).ok());
        let header = header.ok_or_else(|| Error::file(path, "no checkpoint of this program"))?;
        let (config, fingerprint) = identity(&header.config, path)?;
        let known = |fingerprint| Known {
            fingerprint,
            origin: header.origin.clone(),
        };
        let data = fingerprint.map(known);
        Ok(Head {
            config,
            progress: header.progress,
            data,
        })
    }
}

/// Whether a file says of itself that it is one, whole or not.
pub(crate) fn is(path: &Path) -> bool {
    said(path).is_some()
}

/// Our entry in the metadata of a file.
fn said(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let mut size = [0; 8];
    file.read_exact(&mut size).ok()?;
    let mut head = Vec::new();
    let size = u64::from_le_bytes(size).min(MOST);
    file.take(size).read_to_end(&mut head).ok()?;
    let head: Value = serde_json::from_slice(&head).ok()?;
    head["__metadata__"][ENTRY].as_str().map(String::from)
}
