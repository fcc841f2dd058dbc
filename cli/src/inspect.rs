//! `baton inspect`: what the assembler makes of the kernels in a folder, and what a run of them must
//! move and multiply at least.

mod floor;
mod predicted;

use crate::context::Context;
use crate::failure::Failure;
use crate::parallel;
use crate::shape::Shape;
use crate::tools::{COUNTED, Tools};
use baton_codegen::schedule::cost::{GPUS, RunShape};
use baton_codegen::target::remarks;
use baton_kernels::manifest::{Kernel, Manifest, Strips};
use floor::{Floor, run_shape};
use predicted::{Predicted, predicted};

pub use floor::read_bytes;
pub use predicted::machine;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a multiprocessor of an H100 has: registers, shared memory, threads, blocks.
const REGISTERS: u64 = 65_536;
const SHARED: u64 = 228 * 1024;
const THREADS: u64 = 2048;
const BLOCKS: u64 = 32;

/// Show registers, shared memory, spills, occupancy, instruction counts and floors of kernels
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton emit mamba2 --shape N=128,P=64 -o kernels && baton inspect kernels --run B=8,T=2048,H=80 --predict"
)]
pub struct Inspect {
    /// A folder that `baton emit` wrote
    folder: PathBuf,
    /// The GPU that is assembled for
    #[arg(long, default_value = "sm_90")]
    chip: String,
    /// Only kernels whose file's name holds this
    #[arg(long, value_name = "PART")]
    name: Option<String>,
    /// The run whose bytes and products are counted
    #[arg(long, default_value = "B=8,T=2048,H=16,G=1")]
    run: Shape,
    /// Only what the run must move and multiply: needs no assembler
    #[arg(long)]
    floors: bool,
    /// What the run would take, read off the machine code: a prediction, for sm_90 or sm_80
    #[arg(long, conflicts_with = "floors")]
    predict: bool,
}

/// A kernel as it is shown.
#[derive(Serialize)]
struct Seen {
    name: String,
    sizes: BTreeMap<String, usize>,
    strips: Option<Strips>,
    slower: Vec<String>,
    chunk: usize,
    threads: u32,
    heads: u32,
    shared_bytes: u32,
    stages: u32,
    registers: u64,
    spill_bytes: u64,
    blocks_per_multiprocessor: u64,
    occupancy: f64,
    products: usize,
    instructions: BTreeMap<String, u64>,
    run: Floor,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted: Option<Predicted>,
}

impl Inspect {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let file = self.folder.join("manifest.json");
        let unread = |why: String| {
            Failure::new(format!(
                "cannot read `{}`: {why}; expected a folder that `baton emit --output` wrote",
                file.display()
            ))
        };
        let text = std::fs::read_to_string(&file).map_err(|why| unread(why.to_string()))?;
        let manifest = Manifest::parse(&text).map_err(unread)?;
        let run = run_shape(&self.run)?;
        let part = self.name.as_deref().unwrap_or_default();
        let kernels = manifest.kernels.iter();
        let kernels: Vec<&Kernel> = kernels.filter(|k| k.file.contains(part)).collect();
        if kernels.is_empty() {
            return Err(Failure::new(format!(
                "none of the {} kernels in `{}` has `{part}` in its file's name",
                manifest.kernels.len(),
                self.folder.display()
            )));
        }
        if self.floors {
            return self.floors(context, &kernels, run);
        }
        if self.predict {
            machine(&self.chip)?;
        }
        let tools = Tools::find()?;
        let begin = || Ok(());
        let all = parallel::each(&kernels, "kernels", begin, |(), _, kernel| {
            self.look(&tools, kernel, run)
        })?;
        context.output.result(
            || json!({ "chip": self.chip, "kernels": all }),
            || all.iter().map(Seen::text).collect(),
        )
    }

    fn ptx(&self, kernel: &Kernel) -> Result<String, Failure> {
        let file = self.folder.join(&kernel.file);
        std::fs::read(&file)
            .and_then(|bytes| baton_kernels::unpack(&bytes))
            .map_err(|why| Failure::new(format!("cannot read `{}`: {why}", file.display())))
    }

    /// The floors alone, and what machines copy in a second, which they are measured against.
    fn floors(&self, context: &Context, kernels: &[&Kernel], run: RunShape) -> Result<(), Failure> {
        let mut all = vec![];
        for kernel in kernels {
            let floor = Floor::new(&self.folder, kernel, &self.ptx(kernel)?, run)?;
            all.push((&kernel.file, floor));
        }
        let gpus: BTreeMap<_, _> = GPUS.iter().map(|gpu| (gpu.name, gpu.bytes)).collect();
        let of = |(file, floor): &(&String, Floor)| json!({ "file": file, "run": floor });
        context.output.result(
            || json!({ "copy_bytes_s": gpus, "kernels": all.iter().map(of).collect::<Vec<_>>() }),
            || {
                let line =
                    |(file, floor): &(&String, Floor)| format!("{file}\n  {}\n", floor.text());
                all.iter().map(line).collect()
            },
        )
    }

    fn look(&self, tools: &Tools, kernel: &Kernel, run: RunShape) -> Result<Seen, Failure> {
        let ptx = self.ptx(kernel)?;
        let made = tools.assemble(&ptx, &self.chip)?;
        let (threads, shared) = (u64::from(kernel.threads), u64::from(kernel.shared_bytes));
        let registers = made.registers();
        let blocks = (REGISTERS / (registers.next_multiple_of(8) * threads).max(1))
            .min(SHARED / (shared + 1024))
            .min(THREADS / threads.max(1))
            .min(BLOCKS);
        let floor = Floor::new(&self.folder, kernel, &ptx, run)?;
        let predicted = match self.predict {
            true => Some(predicted(kernel, &made, run, &floor, machine(&self.chip)?)?),
            false => None,
        };
        Ok(Seen {
            name: kernel.name.clone(),
            sizes: kernel.sizes.clone(),
            strips: kernel.strips.clone(),
            slower: slower(kernel),
            chunk: kernel.chunk,
            heads: kernel.heads,
            threads: kernel.threads,
            shared_bytes: kernel.shared_bytes,
            stages: kernel.stages,
            registers,
            spill_bytes: made.spill_bytes(),
            blocks_per_multiprocessor: blocks,
            occupancy: blocks as f64 * threads as f64 / THREADS as f64,
            products: ptx.matches("mma.sync").count(),
            instructions: made.instructions()?,
            run: floor,
            predicted,
        })
    }
}

/// What its sizes cost more than others.
fn slower(kernel: &Kernel) -> Vec<String> {
    let dims = kernel
        .sizes
        .iter()
        .map(|(name, &size)| (name.as_str(), size));
    let rows = kernel.ports.iter().filter_map(|port| {
        let number = if port.dtype == "f32" { 4 } else { 2 };
        port.dims
            .last()
            .map(|size| (port.name.as_str(), size * number))
    });
    remarks(dims, rows)
}

impl Seen {
    fn text(&self) -> String {
        let sizes = self
            .sizes
            .iter()
            .map(|(dim, size)| format!(" {dim}={size}"));
        let mut text = format!(
            "{}{}\n  chunk {}, {} head{} a block, {} threads, {} stages, {} bytes of shared memory, {} registers, {} bytes spilled\n  \
             {} blocks on a multiprocessor of an H100 ({:.0} % of its threads)\n  \
             {}\n",
            self.name,
            sizes.collect::<String>(),
            self.chunk,
            self.heads,
            if self.heads == 1 { "" } else { "s" },
            self.threads,
            self.stages,
            self.shared_bytes,
            self.registers,
            self.spill_bytes,
            self.blocks_per_multiprocessor,
            100.0 * self.occupancy,
            self.run.text(),
        );
        if let Some(Strips { dim, count }) = &self.strips {
            text.push_str(&format!("  one of {count} strips of {dim}\n"));
        }
        for remark in &self.slower {
            text.push_str(&format!("  {remark}\n"));
        }
        if let Some(predicted) = &self.predicted {
            text.push_str(&predicted.text());
        }
        for (mnemonic, what) in COUNTED {
            let count = self.instructions[mnemonic];
            text.push_str(&format!("  {mnemonic:<10} {count:>6}  {what}\n"));
        }
        text
    }
}
