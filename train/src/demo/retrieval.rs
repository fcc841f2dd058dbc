//! The second demonstration: a small model finds a key in a text a thousand times as long as those that it was
//! trained on, and says where.
//!
//! Novels, one line with a key of random bytes somewhere in them, and at the end the question. The model
//! reads all of it in segments; what its retrieval layer chose for the answer's chunk is shown, with the
//! chunk's text and its weight.

use crate::Error;
use crate::eval::{Stream, Subject, progress};
use crate::models::HostStates;
use baton_config::{HybridConfig, Landmark, LayerConfig, ModelConfig};
use baton_data::rng::{Purpose, Rng};
use baton_data::{Text, novels};
pub use baton_retrieval::Keeping;
use baton_runtime::Device;
use baton_tasks::{Material, Place, Task, TaskConfig};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

/// The model that the repository keeps, as seen from its root.
pub const KEPT: &str = "checkpoints/drt";
/// Tokens that are read at once.
const SEGMENT: usize = 4096;
/// Tokens of the key.
const KEY: usize = 5;
/// Tokens of the question that stand in the answer's chunk: the first of the answer is said after one of them.
const SPILL: usize = 8;
/// The line that says the task.
const TASK: &str = "token-passkey:gap=64";

/// What a person may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of a model.
    pub kept: PathBuf,
    /// A text to hide the key in, instead of novels.
    pub text: Option<PathBuf>,
    /// About the tokens of all.
    pub length: usize,
    /// Of the key and its place.
    pub seed: u64,
    /// Where chunks are kept.
    pub keeping: Keeping,
    /// Whether progress is shown.
    pub progress: bool,
}

/// A chunk that was chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chosen {
    /// Its number.
    pub chunk: usize,
    /// Its share.
    pub weight: f32,
    /// Its tokens as text.
    pub text: String,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Tokens read.
    pub tokens: usize,
    /// The place of the key among them.
    pub at: usize,
    /// The chunk that it begins in.
    pub chunk: usize,
    /// Chunks in all.
    pub chunks: usize,
    /// The key.
    pub key: Vec<u32>,
    /// What the model said.
    pub said: Vec<u32>,
    /// What the last retrieval layer chose for the answer, best first.
    pub chosen: Vec<Chosen>,
    /// Bytes of chunks in memory and in a file.
    pub bytes: [u64; 2],
    /// Tokens of a training sequence, where it is known.
    pub train_length: Option<usize>,
    /// Seconds of reading.
    pub seconds: f64,
}

/// Tokens of a chunk.
fn tokens_of(hybrid: &HybridConfig) -> usize {
    match hybrid.landmark {
        Landmark::Position => hybrid.chunk - 1,
        Landmark::Encoder => hybrid.chunk,
    }
}

/// The greatest length up to `length` whose question, but for its last few tokens, ends with a chunk: what is
/// chosen at the end of a chunk serves the next.
pub fn aligned(config: &ModelConfig, length: usize) -> Result<usize, Error> {
    let Some(hybrid) = config.hybrid().filter(|hybrid| hybrid.chunking().is_some()) else {
        return Err(Error::Config(
            "a model without chunks given, expected one that retrieves (--block drt)".into(),
        ));
    };
    let chunk = tokens_of(hybrid);
    let least = 4 * chunk + SPILL + KEY;
    if length < least {
        return Err(Error::Config(format!(
            "a length of {length} given, expected at least {least}"
        )));
    }
    Ok((length - SPILL - KEY) / chunk * chunk + SPILL + KEY)
}

/// What the last retrieval layer chose for the chunk that is read.
pub fn chosen(config: &ModelConfig, states: &HostStates) -> Vec<(u32, f32)> {
    let layers = config
        .hybrid()
        .into_iter()
        .flat_map(|hybrid| &hybrid.layers);
    let last = layers
        .enumerate()
        .filter(|(_, layer)| matches!(layer, LayerConfig::Retrieval(_)));
    let memory = last
        .last()
        .and_then(|(layer, _)| states[layer].memory.as_ref());
    let mut chosen = memory.map(|memory| memory.chosen()).unwrap_or_default();
    chosen.sort_by(|a, b| b.1.total_cmp(&a.1));
    chosen
}

/// Runs it.
pub fn run(options: &Options, device: &dyn Device) -> Result<Found, Error> {
    let mut subject = Subject::open(&options.kept, device)?;
    let length = aligned(&subject.config, options.length)?;
    subject.model = subject.model.keep(&options.keeping);
    let text = match &options.text {
        Some(path) => Text::read(path)?,
        None => novels::austen()?,
    };
    let haystack = String::from_utf8_lossy(&text.held_out).into_owned();
    let material = Material::new(subject.tokenizer.clone(), Some(haystack.into()));
    let task: TaskConfig = TASK.parse()?;
    let task: Box<dyn Task> = task.build(&material)?;
    let place = Place {
        length,
        depth: None,
    };
    let mut rng = Rng::at(options.seed, Purpose::Trials, 0);
    let tokens = task.trial(place, &mut rng)?.tokens;
    let (read, key) = tokens.split_at(length - KEY);
    let at = read.windows(KEY).position(|window| window == key);
    let at = at.ok_or_else(|| Error::Config("a trial without its key".into()))?;

    let begun = Instant::now();
    let bar = progress(options.progress.then_some("read"), read.len());
    let mut stream = Stream::new(&subject.model, 1, None)?;
    let logits = stream.read(read, SEGMENT, &mut |tokens| bar.inc(tokens as u64))?;
    bar.finish_and_clear();
    let states = stream.states().unwrap_or_default();
    let said = stream.greedy(logits, KEY)?.remove(0).0;
    let chunk = subject.config.hybrid().map_or(1, tokens_of);
    let shown = |(number, weight): (u32, f32)| {
        let from = number as usize * chunk;
        let own = &tokens[from..tokens.len().min(from + chunk)];
        Ok(Chosen {
            chunk: number as usize,
            weight,
            text: material.codec.text(own)?,
        })
    };
    let chosen = chosen(&subject.config, &states).into_iter().map(shown);
    let memory = states.iter().filter_map(|state| state.memory.as_ref());
    let bytes = memory.clone().map(|memory| memory.bytes());
    Ok(Found {
        tokens: length,
        at,
        chunk: at / chunk,
        chunks: memory.map(|memory| memory.chunks()).max().unwrap_or(0),
        key: key.to_vec(),
        said,
        chosen: chosen.collect::<Result<_, Error>>()?,
        bytes: bytes.fold([0; 2], |[a, b], [c, d]| [a + c, b + d]),
        train_length: subject.checkpoint.train_length,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

impl Found {
    /// Whether the first token, and the whole key, are right.
    pub fn right(&self) -> [bool; 2] {
        [self.said.first() == self.key.first(), self.said == self.key]
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = self.train_length.map(|length| self.tokens / length.max(1));
        let times = times.map_or(String::new(), |times| {
            format!(", {times} times as many as a training sequence has")
        });
        writeln!(
            f,
            "{} tokens read in {:.0} s{times}; {} chunks, {:.0} MB of them in memory, {:.0} MB in a file",
            self.tokens,
            self.seconds,
            self.chunks,
            self.bytes[0] as f64 / 1e6,
            self.bytes[1] as f64 / 1e6
        )?;
        writeln!(f, "the key stands at {}, in chunk {}:", self.at, self.chunk)?;
        let [first, whole] = self
            .right()
            .map(|right| if right { "right" } else { "wrong" });
        writeln!(f, "  key  {:?}", self.key)?;
        writeln!(
            f,
            "  said {:?}  (first token {first}, whole key {whole})",
            self.said
        )?;
        writeln!(f, "chosen for the answer:")?;
        for chosen in self.chosen.iter().take(3) {
            let text = chosen.text.escape_debug();
            writeln!(
                f,
                "  chunk {:>6}  weight {:.3}  {text}",
                chosen.chunk, chosen.weight
            )?;
        }
        Ok(())
    }
}
