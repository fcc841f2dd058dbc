//! Files of events, read back by a parser of their own: frames, checksums, messages.

use crate::long::{done, metrics, train};
use crate::program::Folder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// CRC-32C, bit by bit, masked as TFRecord asks.
fn masked(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!sum).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The messages of a file, every frame of which is whole.
fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let sum = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a sum"));
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("a length")) as usize;
        assert_eq!(sum(8), masked(&bytes[..8]));
        let message = &bytes[12..12 + length];
        assert_eq!(sum(12 + length), masked(message));
        found.push(message);
        bytes = &bytes[16 + length..];
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return value;
        }
    }
}

/// The fields of a message: number and bytes, those of a varint in eight.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            kind => panic!("a field of kind {kind}"),
        };
        found.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    found
}

fn only(message: &[u8], number: u64) -> Option<Vec<u8>> {
    let mut all = fields(message).into_iter().filter(|(n, _)| *n == number);
    all.next().map(|(_, bytes)| bytes)
}

fn file(run: &str) -> PathBuf {
    let names = fs::read_dir(run).expect("a folder");
    let paths = names.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().contains("/events.out.tfevents."))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Scalars of each event: step, seconds since 1970, value by tag.
fn scalars(run: &str) -> Vec<(u64, f64, BTreeMap<String, f32>)> {
    let bytes = fs::read(file(run)).expect("a file");
    let messages = messages(&bytes);
    assert_eq!(only(messages[0], 3).expect("a version"), b"brain.Event:2");
    let event = |message: &&[u8]| {
        let number = |bytes: Vec<u8>| <[u8; 8]>::try_from(bytes).expect("eight bytes");
        let step = only(message, 2).map_or(0, |step| u64::from_le_bytes(number(step)));
        let time = f64::from_le_bytes(number(only(message, 1).expect("a time")));
        let values = fields(&only(message, 5).expect("a summary"));
        let scalar = |(_, value): (u64, Vec<u8>)| {
            let tag = String::from_utf8(only(&value, 1).expect("a tag")).expect("UTF-8");
            let bytes = only(&value, 2).expect("a value").try_into();
            (tag, f32::from_le_bytes(bytes.expect("four bytes")))
        };
        (step, time, values.into_iter().map(scalar).collect())
    };
    messages[1..].iter().map(event).collect()
}

/// The file says what the lines say, each step once.
fn agrees(run: &str) {
    let (lines, events) = (metrics(run), scalars(run));
    assert_eq!(lines.len(), events.len());
    let mut before = None;
    for (line, (step, _, values)) in lines.iter().zip(&events) {
        assert_eq!(line["step"], *step);
        let mut wanted = BTreeMap::new();
        for (tag, place) in [
            ("train/loss", "/loss"),
            ("train/rate", "/rate"),
            ("train/norm", "/norm"),
            ("held_out/within", "/held_out/within"),
            ("held_out/past", "/held_out/past"),
        ] {
            let value = line.pointer(place).and_then(Value::as_f64);
            wanted.extend(value.map(|value| (tag.to_string(), value as f32)));
        }
        let spent = ["tokens", "seconds"].map(|key| line[key].as_f64().expect("a number"));
        if let Some(before) = before.replace(spent) {
            let speed = (spent[0] - before[0]) / (spent[1] - before[1]);
            wanted.insert("train/tokens_per_second".into(), speed as f32);
        }
        assert_eq!(values, &wanted, "step {step}");
    }
}

#[test]
fn events_say_what_the_lines_say_and_no_step_twice() {
    let folder = Folder::new("events");
    let eight = ["--steps", "8", "--checkpoint-every", "4"];
    let run = train(
        &folder,
        "run",
        &[&eight[..], &["--eval-every", "4"]].concat(),
    );
    let go_on = |steps: &str, more: &[&str]| {
        let line = [
            "train", "--change", "--steps", steps, "--folder", &run, "--quiet",
        ];
        done(&[&line[..], more].concat());
    };
    // Asked for late: what was before is put in.
    go_on("10", &["--tensorboard"]);
    agrees(&run);
    let (path, first) = (file(&run), scalars(&run));
    let whole = fs::read(&path).expect("a file");

    // Without it a step is left out, which the next run with it puts in; what was there stays as it was.
    let kept = fs::read(format!("{run}/checkpoint.safetensors")).expect("a checkpoint");
    go_on("11", &[]);
    go_on("12", &["--tensorboard"]);
    agrees(&run);
    assert_eq!(scalars(&run)[..10], first);

    // Killed in a write, and back at an older checkpoint: what is done again is there once.
    let torn = [&fs::read(&path).expect("a file")[..], &whole[..20]].concat();
    fs::write(&path, torn).expect("written");
    fs::write(format!("{run}/checkpoint.safetensors"), kept).expect("written");
    go_on("11", &["--tensorboard"]);
    agrees(&run);
    assert_eq!(scalars(&run).len(), 11);
    assert!(fs::read(&path).expect("a file").starts_with(&whole));
}
