//! What a tuning leaves: which plan for what, how right it is, how fast it was, and what else was tried.

use crate::gate::Errors;
use crate::subject::Subject;
use baton_codegen::Compiler;
use baton_codegen::schedule::{Bucket, Choice, Form, Load};
use baton_codegen::target::Native;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an entry is found by. A run that agrees in all of it has the very programs that were measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The name of the recurrence, for people.
    pub recurrence: String,
    /// Of its text as it is printed.
    pub text_hash: String,
    /// Sizes of the dims.
    pub sizes: BTreeMap<String, usize>,
    /// Sequences, up to this power of two and above the one before.
    pub sequences: usize,
    /// Steps of the longest, alike.
    pub longest: usize,
    /// H
    pub heads: usize,
    /// G
    pub groups: usize,
    /// Dtype, machine and instruction set.
    pub target: String,
    /// What made the machine code, with versions.
    pub tools: String,
}

impl Key {
    /// That of a load on this machine's CPU.
    pub fn of(compiler: &Compiler, load: Load) -> Key {
        let target = format!("f32_cpu {}", Native.instructions());
        Key::of_target(compiler, load, target, Native.tools())
    }

    /// That of a load on a GPU, or what stands in for one.
    pub fn of_gpu(compiler: &Compiler, load: Load, dtype: &str, target: &str) -> Key {
        let tools = format!("baton {}, PTX 8.0", env!("CARGO_PKG_VERSION"));
        Key::of_target(compiler, load, format!("{dtype} {target}"), tools)
    }

    fn of_target(compiler: &Compiler, load: Load, target: String, tools: String) -> Key {
        let Bucket {
            sequences,
            longest,
            heads,
            groups,
        } = Bucket::of(load);
        let recurrence = compiler.recurrence();
        Key {
            recurrence: recurrence.name.clone(),
            text_hash: baton_kernels::hash(&baton_ir::text::print(recurrence)),
            sizes: compiler
                .named_sizes()
                .map(|(name, size)| (name.into(), size))
                .collect(),
            sequences,
            longest,
            heads,
            groups,
            target,
            tools,
        }
    }

    /// A name for files: that of the recurrence and a hash of everything.
    pub fn file_stem(&self) -> String {
        let text = serde_json::to_string(self).expect("a key has only names and numbers");
        format!("{}-{}", self.recurrence, baton_kernels::hash(&text))
    }

    /// In words, with G where it is not H: `mamba2 N=128 P=64, sequences 1-1, steps 1025-2048, H=16 G=1`.
    pub fn text(&self) -> String {
        let sizes = self
            .sizes
            .iter()
            .map(|(dim, size)| format!(" {dim}={size}"));
        let half = |most: usize| if most > 1 { most / 2 + 1 } else { 1 };
        let groups = match self.groups == self.heads {
            true => String::new(),
            false => format!(" G={}", self.groups),
        };
        format!(
            "{}{}, sequences {}-{}, steps {}-{}, H={}{groups}",
            self.recurrence,
            sizes.collect::<String>(),
            half(self.sequences),
            self.sequences,
            half(self.longest),
            self.longest,
            self.heads
        )
    }
}

impl Subject {
    /// What an entry for it is found by.
    pub fn key(&self) -> Key {
        Key::of(&self.compiler, self.load())
    }
}

/// A choice as data: see [`Choice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Steps of a chunk; 1 for single steps.
    pub chunk: usize,
    /// Whether rows of tiles are heads.
    pub across: bool,
    /// Heads of a task.
    pub heads: usize,
    /// Segments of the longest sequence.
    pub segments: usize,
    /// Chunks between two kept states.
    pub window: usize,
}

impl From<Choice> for Chosen {
    fn from(choice: Choice) -> Self {
        Chosen {
            chunk: match choice.form {
                Form::Chunks(steps) => steps,
                Form::Steps | Form::Rows => 1,
            },
            across: choice.form == Form::Rows,
            heads: choice.heads,
            segments: choice.segments,
            window: choice.window,
        }
    }
}

impl From<Chosen> for Choice {
    fn from(chosen: Chosen) -> Self {
        Choice {
            form: match (chosen.across, chosen.chunk) {
                (true, _) => Form::Rows,
                (false, 1) => Form::Steps,
                (false, steps) => Form::Chunks(steps),
            },
            heads: chosen.heads,
            segments: chosen.segments,
            window: chosen.window,
        }
    }
}

impl Chosen {
    /// In words: `chunks of 64, 8 heads a task, whole sequences, every state kept`.
    pub fn text(&self) -> String {
        let form = match (self.across, self.chunk) {
            (true, _) => "steps with heads as rows".to_string(),
            (false, 1) => "single steps".into(),
            (false, steps) => format!("chunks of {steps}"),
        };
        let heads = match self.heads {
            1 => "1 head a task".to_string(),
            heads => format!("{heads} heads a task"),
        };
        let segments = match self.segments {
            1 => "whole sequences".to_string(),
            segments => format!("{segments} segments"),
        };
        let window = match (self.window, self.chunk) {
            (1, _) => "every state kept".to_string(),
            (window, 1) => format!("states kept every {window} steps"),
            (window, _) => format!("states kept every {window} chunks"),
        };
        format!("{form}, {heads}, {segments}, {window}")
    }
}

/// A time of a run forward, with what its backward needs, and that backward, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The median.
    pub median: f64,
    /// A tenth was faster.
    pub p10: f64,
    /// A tenth was slower.
    pub p90: f64,
    /// How often it was measured.
    pub rounds: usize,
}

/// By which clock candidates were raced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// Seconds as they pass; on a GPU those of its kernels.
    #[default]
    Wall,
    /// A million instructions of warps that an emulator executes count as a millisecond: what this ranks is work, and no
    /// machine's time.
    Instructions,
}

/// A candidate and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried<C = Chosen> {
    /// What it is.
    pub choice: C,
    /// What the cost model says, in milliseconds.
    pub model_ms: f64,
    /// How far from the truth it is.
    pub errors: Errors,
    /// Why the gate rejected it, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Its times until it left; none of a rejected one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// The result of a tuning, of choices of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry<C = Chosen> {
    /// What it is for.
    #[serde(flatten)]
    pub key: Key,
    /// Of the texts of the programs that run.
    pub kernel_hash: String,
    /// What won; the rules' own plan where that did.
    pub choice: Option<C>,
    /// How far from the truth it is.
    pub errors: Errors,
    /// B, T, H, G of the run that was measured.
    pub run: [usize; 4],
    /// Whether an input is per group: G is H otherwise, and is not said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub per_group: bool,
    /// Threads of it.
    pub threads: usize,
    /// What the machine calls itself.
    pub machine: String,
    /// What its times are of.
    #[serde(default)]
    pub clock: Clock,
    /// The rules' plan.
    pub default: Measured,
    /// What won.
    pub tuned: Measured,
    /// The median ratio of the two, round by round, with the interval that it lies in.
    pub ratio: [f64; 3],
    /// The rank correlation of the cost model with the first times of all that were measured.
    pub rank_correlation: Option<f64>,
    /// The seed of the gate's numbers.
    pub seed: u64,
    /// Seconds that it took, of all sittings together.
    pub seconds: f64,
    /// Every candidate, the rules' first.
    pub tried: Vec<Tried<C>>,
}

impl<C: Serialize> Entry<C> {
    /// As one line.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("every number of an entry is finite")
    }
}
