//! Fuzzing: texts and files changed at random, given to what reads them.
//!
//! A [`Reader`] is given bytes made from a corpus by `mutate`, one input after another, from a
//! seed: the same seed gives the same inputs. An input is a finding when its reader panics, keeps
//! more memory than [`bound`] allows at any moment, or takes more than [`SLOWEST`]. What is found
//! is shrunk as long as it stays a finding, and printed as bytes of a Rust text. A stack that
//! overflows ends the process; the input then lies in the file that is named at the start.
//!
//! Memory is counted by the allocator of every binary that this library is in (`allocator`), a
//! thread for itself.

mod allocator;
mod mutate;

use mutate::mutate;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest that a reader may take over one input.
pub const SLOWEST: Duration = Duration::from_secs(20);
/// The longest input, where nothing well-formed is longer.
const LONGEST: usize = 1 << 16;
/// Attempts to make a finding smaller.
const SHRINKS: usize = 2000;

/// The most bytes that reading `length` bytes may hold at once: 16 MiB and 4096 for each.
pub fn bound(length: usize) -> usize {
    (16 << 20) + 4096 * length
}

/// What reads.
pub struct Reader<'a> {
    /// Its name in reports.
    pub name: &'a str,
    /// What is well-formed.
    pub corpus: Vec<Vec<u8>>,
    /// Words that mean something to it.
    pub words: &'a [&'a str],
    /// Reads an input, and what was read as far as it goes; whether it was well-formed.
    pub read: &'a dyn Fn(&[u8]) -> bool,
}

impl Reader<'_> {
    /// The most bytes of an input.
    fn longest(&self) -> usize {
        self.corpus.iter().map(Vec::len).fold(LONGEST, usize::max)
    }
}

/// What a run has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Inputs.
    pub inputs: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Inputs that were well-formed.
    pub accepted: usize,
    /// The most memory that one took, in bytes.
    pub memory: usize,
}

/// A file or folder of the repository.
pub fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The words of a safetensors header.
pub const HEADER: &[&str] = &[
    "\"dtype\"",
    "\"F32\"",
    "\"F64\"",
    "\"I64\"",
    "\"BF16\"",
    "\"shape\"",
    "\"data_offsets\"",
    "\"__metadata__\"",
    "[0,4]",
    "[4,0]",
    "\"baton\"",
];

/// A folder of a test's own, gone with it.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// An empty folder for files.
    pub fn new(name: &str) -> Scratch {
        let name = format!("baton-fuzz-{name}-{}.d", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        Scratch(folder)
    }

    /// A file with these bytes.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `reader` as the environment says, `BATON_FUZZ_BYTES` and `BATON_FUZZ_SEED`, or over `few`
/// bytes; panics with what is found.
pub fn check(reader: Reader, few: usize) {
    let given = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{name}={text} given, expected a number")),
        )
    };
    let seed = given("BATON_FUZZ_SEED").unwrap_or(1);
    let bytes = given("BATON_FUZZ_BYTES").map_or(few, |bytes: u64| bytes as usize);
    let count = run(&reader, seed, bytes).unwrap_or_else(|found| panic!("{found}"));
    println!("{}: {count:?}", reader.name);
    assert!(
        count.accepted > 0,
        "{}: no input is well-formed",
        reader.name
    );
}

/// Gives `reader` inputs of `bytes` bytes in all; fails at the first finding, shrunk.
pub fn run(reader: &Reader, seed: u64, bytes: usize) -> Result<Count, String> {
    assert!(
        !reader.corpus.is_empty(),
        "{}: an empty corpus",
        reader.name
    );
    let last =
        std::env::temp_dir().join(format!("baton-fuzz-{}-{}", reader.name, std::process::id()));
    println!(
        "{}: seed {seed}, the input is in {}",
        reader.name,
        last.display()
    );
    let mut count = Count::default();
    while count.bytes < bytes {
        let input = mutate(reader, seed, count.inputs as u64);
        let seen = see(reader, &input, &last);
        if let Err(why) = seen {
            let small = shrink(reader, input, &last);
            let why = see(reader, &small, &last).err().unwrap_or(why);
            return Err(format!(
                "{}, seed {seed}, input {}: {why}\n{} bytes are enough:\nb\"{}\"",
                reader.name,
                count.inputs,
                small.len(),
                small.escape_ascii()
            ));
        }
        let (accepted, memory) = seen.unwrap_or_default();
        count.inputs += 1;
        count.bytes += input.len();
        count.accepted += usize::from(accepted);
        count.memory = count.memory.max(memory);
    }
    let _ = fs::remove_file(last);
    Ok(count)
}

/// Whether an input was well-formed and the memory that it took, or why it is a finding.
fn see(reader: &Reader, input: &[u8], last: &PathBuf) -> Result<(bool, usize), String> {
    fs::write(last, input).map_err(|why| format!("{}: {why}", last.display()))?;
    let begun = Instant::now();
    allocator::begin();
    let read = catch_unwind(AssertUnwindSafe(|| (reader.read)(input)));
    let memory = allocator::peak();
    let took = begun.elapsed();
    let accepted = read.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        format!("a panic: {}", text.unwrap_or_default())
    })?;
    if memory > bound(input.len()) {
        let most = bound(input.len());
        return Err(format!("{memory} bytes held, expected at most {most}"));
    }
    match took > SLOWEST {
        true => Err(format!("{took:?} taken, expected at most {SLOWEST:?}")),
        false => Ok((accepted, memory)),
    }
}

/// Leaves out parts, large ones first, as long as the rest is a finding.
fn shrink(reader: &Reader, mut input: Vec<u8>, last: &PathBuf) -> Vec<u8> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut part, mut left) = (input.len() / 2, SHRINKS);
    while part > 0 && left > 0 {
        let mut at = 0;
        while at < input.len() && left > 0 {
            let mut less = input.clone();
            less.drain(at..(at + part).min(input.len()));
            left -= 1;
            match see(reader, &less, last) {
                Err(_) => input = less,
                Ok(_) => at += part,
            }
        }
        part /= 2;
    }
    std::panic::set_hook(hook);
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader<'a>(read: &'a dyn Fn(&[u8]) -> bool) -> Reader<'a> {
        Reader {
            name: "planted",
            corpus: vec![b"let a = (1, 2, 3);".to_vec(), b"let b = f(x);".to_vec()],
            words: &["fatal"],
            read,
        }
    }

    #[test]
    fn what_is_planted_is_found_and_shrunk() {
        let holds = |input: &[u8]| input.windows(5).any(|part| part == b"fatal");
        let panics = |input: &[u8]| {
            assert!(!holds(input), "the word is there");
            true
        };
        let greedy = |input: &[u8]| {
            let kept = vec![0u8; if holds(input) { 1 << 28 } else { 1 << 10 }];
            kept.len() == 1 << 10
        };
        for (read, why) in [
            (&panics as &dyn Fn(&[u8]) -> bool, "the word is there"),
            (&greedy, "bytes held"),
        ] {
            let found = run(&reader(read), 1, 1 << 20).unwrap_err();
            assert!(
                found.contains(why) && found.contains("\n5 bytes are enough:\nb\"fatal\""),
                "{found}"
            );
            assert_eq!(run(&reader(read), 1, 1 << 20).unwrap_err(), found);
        }
        let count = run(&reader(&|_| false), 1, 1 << 16).unwrap();
        assert!(count.bytes >= 1 << 16 && count.accepted == 0);
    }
}
