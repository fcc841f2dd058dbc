//! The same numbers as event files of TensorBoard: frames of a length, a message and the checksums of both.
//!
//! The messages are `tensorflow.Event` of version 2 with scalars. A file is only ever lengthened, which a TensorBoard that
//! shows it follows; where a run goes back to its checkpoint, what came after it is cut off first, and so is a frame
//! that was not written whole. What the lines have and the file has not is appended to it: a run may ask for events late.

use super::lines::Lines;
use crate::Error;
use prost::Message;
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the files of events are called, before the second at which one began and after it.
const NAME: &str = "events.out.tfevents.";
const OURS: &str = ".baton";

/// Scalars by their places in a line of JSON.
const SCALARS: [(&str, &str); 5] = [
    ("train/loss", "/loss"),
    ("train/rate", "/rate"),
    ("train/norm", "/norm"),
    ("held_out/within", "/held_out/within"),
    ("held_out/past", "/held_out/past"),
];

const SPEED: &str = "train/tokens_per_second";

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// One of several kinds of values, so that a zero is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// A file of events that a run adds to.
pub(super) struct Events {
    lines: Lines,
    /// Tokens and seconds at the line before.
    before: Option<[f64; 2]>,
}

impl Events {
    /// Opens the file in `folder`, or a new one, so that it has the steps of `kept` and no others.
    pub fn open(folder: &Path, kept: &[Value]) -> Result<Self, Error> {
        let now = now();
        let new = || folder.join(format!("{NAME}{:010}{OURS}", now as u64));
        let path = newest(folder)?.unwrap_or_else(new);
        let fail = |e| Error::file(&path, e);
        let bytes = match fs::read(&path) {
            Err(why) if why.kind() == ErrorKind::NotFound => Vec::new(),
            read => read.map_err(fail)?,
        };
        let steps = kept.last().map_or(0, |line| step(line) + 1);
        let (length, has) = extent(&bytes, steps);
        let mut events = Events {
            lines: Lines::cut(path, length as u64)?,
            before: None,
        };
        if length == 0 {
            events.lines.write(&frame(&Event {
                wall_time: now,
                file_version: Some("brain.Event:2".into()),
                ..Event::default()
            }))?;
        }
        let last = kept.last().map_or(0.0, |line| number(line, "/seconds"));
        for line in kept {
            match step(line) < has {
                true => events.before = Some(spent(line)),
                false => events.add(line, now - (last - number(line, "/seconds")))?,
            }
        }
        Ok(events)
    }

    pub fn write(&mut self, line: &Value) -> Result<(), Error> {
        self.add(line, now())
    }

    pub fn sync(&self) -> Result<(), Error> {
        self.lines.sync()
    }

    fn add(&mut self, line: &Value, wall_time: f64) -> Result<(), Error> {
        let scalar = |tag: &str, value: f64| Scalar {
            tag: tag.into(),
            simple_value: Some(value as f32),
        };
        let found = |(tag, place)| Some(scalar(tag, line.pointer(place)?.as_f64()?));
        let mut value: Vec<Scalar> = SCALARS.into_iter().filter_map(found).collect();
        let spent = spent(line);
        if let Some(before) = self.before.replace(spent) {
            let [tokens, seconds] = [0, 1].map(|i| spent[i] - before[i]);
            value.extend((seconds > 0.0).then(|| scalar(SPEED, tokens / seconds)));
        }
        let event = Event {
            wall_time,
            step: step(line),
            file_version: None,
            summary: Some(Summary { value }),
        };
        self.lines.write(&frame(&event))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn step(line: &Value) -> i64 {
    line["step"].as_i64().unwrap_or(0)
}

fn number(line: &Value, place: &str) -> f64 {
    line.pointer(place).and_then(Value::as_f64).unwrap_or(0.0)
}

fn spent(line: &Value) -> [f64; 2] {
    ["/tokens", "/seconds"].map(|place| number(line, place))
}

/// The file of events of ours that began last.
fn newest(folder: &Path) -> Result<Option<PathBuf>, Error> {
    let fail = |e| Error::file(folder, e);
    let mut found = None;
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(NAME) && name.ends_with(OURS)) {
            found = found.max(Some(path));
        }
    }
    Ok(found)
}

/// The checksum of a part of a frame.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let sum = crc32c::crc32c(bytes).rotate_right(15);
    sum.wrapping_add(0xa282_ead8).to_le_bytes()
}

fn frame(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), &message, &masked(&message)].concat()
}

/// How long the frames of steps before `steps` are together, and the first step that they lack.
fn extent(bytes: &[u8], steps: i64) -> (usize, i64) {
    let (mut at, mut has) = (0, 0);
    while let Some((event, length)) = whole(&bytes[at..]) {
        if event.summary.is_some() {
            if event.step >= steps {
                break;
            }
            has = event.step + 1;
        }
        at += length;
    }
    (at, has)
}

/// The event at the beginning of `bytes` and the length of its frame, if it is whole.
fn whole(bytes: &[u8]) -> Option<(Event, usize)> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (message, rest) = rest.split_at_checked(size)?;
    let own = rest.first_chunk::<4>()?;
    let event = Event::decode(message).ok()?;
    (*sum == masked(length) && *own == masked(message)).then_some((event, size + 16))
}
