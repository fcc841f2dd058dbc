//! The manifest beside kernels: what `baton emit` writes, and what every reader of it knows.
//!
//! It is JSON with one kernel a line. A field that may be absent is one that only some machines can
//! fill: without NVIDIA's assembler `assembled` is empty, without a GPU nothing is `measured`.
//! `docs/gpu.md` says each field in words.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The kernels of a folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The versions of Baton and MLIR.
    pub generator: String,
    /// In the order they were made.
    pub kernels: Vec<Kernel>,
    /// What runs between them, for every recurrence and size.
    #[serde(default)]
    pub services: Vec<Service>,
    /// What was asked for and cannot be made as it is.
    #[serde(default)]
    pub absent: Vec<Absent>,
}

/// A kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// PTX, beside the manifest; gzip where its name ends so.
    pub file: String,
    /// Its entry.
    pub name: String,
    /// The recurrence.
    pub recurrence: String,
    /// Of the recurrence's text as it is printed.
    pub text_hash: String,
    /// Of the MLIR text.
    pub mlir_hash: String,
    /// Of the PTX.
    pub ptx_hash: String,
    /// `forward`, `keep`, `entering`, `backward`; of runs in segments `summary`, `log_decay`,
    /// `backward_state`.
    pub phase: String,
    /// The GPU that it is made for; later ones run it too.
    pub target: String,
    /// Of matrices.
    pub dtype: String,
    /// Of f32: `threeterms` or `tf32`.
    pub products: String,
    /// Sizes of the dims; of a strip where one is cut.
    pub sizes: BTreeMap<String, usize>,
    /// Of which strips it is the kernel of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strips: Option<Strips>,
    /// Steps of a chunk.
    pub chunk: usize,
    /// Warps of a block.
    pub warps: u32,
    /// Heads of a group that a block runs side by side.
    pub heads: u32,
    /// Stages of the ring of asynchronous copies.
    pub stages: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// Parameters after the table, H and H / G, in order.
    pub ports: Vec<Port>,
    /// Parameters after the ports.
    pub carries: Vec<Carry>,
    /// What ptxas makes of it, by target.
    #[serde(default)]
    pub assembled: BTreeMap<String, Assembled>,
    /// Under the emulator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
    /// On a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// A dim that is cut into strips of one width.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Strips {
    /// The dim.
    pub dim: String,
    /// How many there are.
    pub count: usize,
}

/// A kernel that no recurrence is in; its parameters are those of
/// `codegen/src/backend/mlir/service.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// PTX, beside the manifest; gzip where its name ends so.
    pub file: String,
    /// Its entry.
    pub name: String,
    /// Of the MLIR text.
    pub mlir_hash: String,
    /// Of the PTX.
    pub ptx_hash: String,
    /// Threads of a block.
    pub threads: u32,
    /// What ptxas makes of it, by target.
    #[serde(default)]
    pub assembled: BTreeMap<String, Assembled>,
}

/// A tensor outside; its layout is that of `codegen/src/backend/mlir/abi.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// What it stands for, and its number in the recurrence.
    pub role: String,
    /// `step`, `chunk` or `task`.
    pub pace: String,
    /// Whether each head has its own place; else each group.
    pub by_head: bool,
    /// Of an entry.
    pub dims: Vec<u32>,
    /// What its memory holds.
    pub dtype: String,
}

/// What goes from chunk to chunk, f32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carry {
    /// Its name.
    pub name: String,
    /// What it stands for, and its number in the recurrence.
    pub role: String,
    /// Of an entry.
    pub dims: Vec<u32>,
}

/// What ptxas says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assembled {
    /// Of a thread.
    pub registers: u64,
    /// Bytes that a thread stores to local memory for lack of registers.
    pub spill_bytes: u64,
    /// How many instructions of a kind the machine code has, by mnemonic.
    #[serde(default)]
    pub instructions: BTreeMap<String, u64>,
    /// Why it spills, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Largest relative errors (norms) against the step interpreter in f64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// B, T, H, G of the run.
    pub run: [usize; 4],
    /// Of outputs and states; absent where only gradients leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<f64>,
    /// Of gradients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradients: Option<f64>,
}

/// A time on a GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// B, T, H, G of the run.
    pub run: [usize; 4],
    /// Median.
    pub milliseconds: f64,
    /// The GPU.
    pub machine: String,
    /// Its driver.
    pub driver: String,
}

/// A size that has no kernels of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Absent {
    /// The recurrence.
    pub recurrence: String,
    /// Of matrices.
    pub dtype: String,
    /// Sizes of the dims.
    pub sizes: BTreeMap<String, usize>,
    /// The reason.
    pub why: String,
    /// The strips that it runs in, by the kernels of their size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strips: Option<Strips>,
}

impl Manifest {
    /// The manifest of a text.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        serde_json::from_str(text).map_err(|why| why.to_string())
    }

    /// As a text, a kernel a line.
    pub fn print(&self) -> String {
        let line = |value: Result<String, serde_json::Error>| {
            value.expect("a manifest has only names as keys, and no number that is not finite")
        };
        let list = |rows: Vec<String>| match rows.is_empty() {
            true => "[]".to_string(),
            false => format!("[\n{}\n]", rows.join(",\n")),
        };
        let kernels = self.kernels.iter().map(|k| line(serde_json::to_string(k)));
        let services = self.services.iter().map(|s| line(serde_json::to_string(s)));
        let absent = self.absent.iter().map(|a| line(serde_json::to_string(a)));
        format!(
            "{{\"generator\": {},\n\"kernels\": {},\n\"services\": {},\n\"absent\": {}}}\n",
            line(serde_json::to_string(&self.generator)),
            list(kernels.collect()),
            list(services.collect()),
            list(absent.collect()),
        )
    }
}
