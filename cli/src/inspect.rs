//! `baton inspect`: what the assembler makes of the kernels in a folder.

use crate::Context;
use crate::failure::Failure;
use crate::tools::Tools;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The SASS mnemonics that are counted, and what they are.
const COUNTED: [(&str, &str); 8] = [
    ("HMMA", "tensor-core products"),
    ("LDGSTS", "asynchronous copies"),
    ("LDSM", "matrix loads"),
    ("LDG.E.128", "16-byte global loads"),
    ("STG.E.128", "16-byte global stores"),
    ("LDL", "local loads"),
    ("STL", "local stores"),
    ("BAR.SYNC", "barriers"),
];
/// What a multiprocessor of an H100 has: registers, shared memory, threads, blocks.
const REGISTERS: u64 = 65_536;
const SHARED: u64 = 228 * 1024;
const THREADS: u64 = 2048;

/// Show registers, shared memory, spills, occupancy and instruction counts of kernels
#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton emit mamba2 -o kernels && baton inspect kernels")]
pub struct Inspect {
    /// A folder that `baton emit` wrote
    folder: PathBuf,
    /// The GPU that is assembled for
    #[arg(long, default_value = "sm_90")]
    chip: String,
}

impl Inspect {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let file = self.folder.join("manifest.json");
        let unread = |why: String| Failure::new(format!("cannot read `{}`: {why}", file.display()));
        let text = std::fs::read_to_string(&file).map_err(|why| unread(why.to_string()))?;
        let manifest: Value = serde_json::from_str(&text).map_err(|why| unread(why.to_string()))?;
        let kernels = manifest["kernels"]
            .as_array()
            .ok_or_else(|| unread("no `kernels`".into()))?;
        let tools = Tools::find()?;
        let mut all = vec![];
        for kernel in kernels {
            all.push(self.look(&tools, kernel)?);
        }
        context.output.result(
            || json!({ "chip": self.chip, "kernels": all }),
            || table(&all),
        );
        Ok(())
    }

    fn look(&self, tools: &Tools, kernel: &Value) -> Result<Value, Failure> {
        let file = self
            .folder
            .join(kernel["file"].as_str().unwrap_or_default());
        let ptx = std::fs::read_to_string(&file)
            .map_err(|why| Failure::new(format!("cannot read `{}`: {why}", file.display())))?;
        let made = tools.assemble(&ptx, &self.chip)?;
        let sass = made.sass()?;
        let threads = kernel["threads"].as_u64().unwrap_or(0);
        let shared = kernel["shared_bytes"].as_u64().unwrap_or(0);
        let registers = made.number(" registers");
        let blocks = (REGISTERS / (registers.next_multiple_of(8) * threads).max(1))
            .min(SHARED / (shared + 1024))
            .min(THREADS / threads.max(1));
        let counts: serde_json::Map<_, _> = COUNTED
            .iter()
            .map(|(mnemonic, _)| {
                let lines = sass.lines().filter(|line| line.contains(mnemonic));
                (mnemonic.to_string(), json!(lines.count()))
            })
            .collect();
        Ok(json!({
            "name": kernel["name"],
            "chunk": kernel["chunk"],
            "threads": threads,
            "shared_bytes": shared,
            "stages": kernel["stages"],
            "registers": registers,
            "spill_bytes": made.number(" bytes spill stores"),
            "blocks_per_multiprocessor": blocks,
            "occupancy": blocks as f64 * threads as f64 / THREADS as f64,
            "instructions": counts,
            "bytes_per_head_step": traffic(kernel),
        }))
    }
}

/// Bytes that one head moves for each step at least: its ports, once; what enters each chunk, by
/// its share.
fn traffic(kernel: &Value) -> f64 {
    let chunk = kernel["chunk"].as_f64().unwrap_or(1.0);
    let ports = kernel["ports"].as_array().into_iter().flatten();
    ports
        .map(|port| {
            let entries: f64 = (port["dims"].as_array().into_iter().flatten())
                .filter_map(Value::as_f64)
                .product();
            let bytes = if port["dtype"] == "f32" { 4.0 } else { 2.0 };
            match port["pace"].as_str() {
                Some("step") => entries * bytes,
                Some("chunk") => entries * bytes / chunk,
                _ => 0.0,
            }
        })
        .sum()
}

fn table(all: &[Value]) -> String {
    let mut text = String::new();
    for kernel in all {
        let number = |key: &str| kernel[key].to_string();
        text.push_str(&format!(
            "{}\n  chunk {}, {} threads, {} stages, {} bytes of shared memory, {} registers, {} bytes spilled\n  \
             {} blocks on a multiprocessor of an H100 ({:.0} % of its threads), at least {:.0} bytes a head and step\n",
            kernel["name"].as_str().unwrap_or_default(),
            number("chunk"),
            number("threads"),
            number("stages"),
            number("shared_bytes"),
            number("registers"),
            number("spill_bytes"),
            number("blocks_per_multiprocessor"),
            100.0 * kernel["occupancy"].as_f64().unwrap_or(0.0),
            kernel["bytes_per_head_step"].as_f64().unwrap_or(0.0),
        ));
        for (mnemonic, what) in COUNTED {
            let count = &kernel["instructions"][mnemonic];
            text.push_str(&format!("  {mnemonic:<10} {count:>6}  {what}\n"));
        }
    }
    text
}
