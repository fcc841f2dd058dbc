//! What a run of a kernel would take, read off its machine code: a prediction, in the words of `inspect`.

use super::floor::Floor;
use crate::failure::Failure;
use crate::tools::Assembled;
use baton_codegen::schedule::cost::RunShape;
use baton_kernels::manifest::Kernel;
use baton_predict::{Launch, Listing, MACHINES, Machine, Prediction, predict};
use std::collections::BTreeMap;

/// A prediction as it is shown; times in milliseconds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Predicted {
    /// The GPU.
    pub machine: &'static str,
    /// The launch.
    pub milliseconds: f64,
    /// The same, were each thing alone in taking time.
    pub parts: BTreeMap<&'static str, f64>,
    /// The largest of these.
    pub bound: &'static str,
    /// Blocks on a multiprocessor, and how often they follow each other.
    pub resident: usize,
    /// See `resident`.
    pub turns: usize,
    /// Clocks of a chunk.
    pub chunk_clocks: f64,
    /// Of these: passes through shared memory.
    pub chunk_passes: f64,
    /// Of these: the tensor cores of one scheduler.
    pub chunk_tensor: f64,
    /// Of these: instructions that one scheduler issues.
    pub chunk_issued: f64,
    /// The share of a chunk's clocks that would be gone if one thing were free.
    pub savings: BTreeMap<&'static str, f64>,
    /// Instructions of a warp in a chunk, by opcode.
    pub counts: BTreeMap<String, f64>,
    /// Bytes that are read and written behind the first cache.
    pub read: f64,
    /// See `read`.
    pub written: f64,
    /// What was assumed for want of knowledge.
    pub assumed: Vec<String>,
}

/// The machine whose code `chip` is.
pub fn machine(chip: &str) -> Result<&'static Machine, Failure> {
    let known = MACHINES.iter().find(|machine| machine.chip == chip);
    known.ok_or_else(|| {
        let chips: Vec<&str> = MACHINES.iter().map(|machine| machine.chip).collect();
        Failure::new(format!(
            "--chip {chip} given, expected {} with --predict: of other GPUs no figures are known",
            chips.join(" or ")
        ))
    })
}

/// What a kernel would take for a run, which must read and write what the floor says.
pub fn predicted(
    kernel: &Kernel,
    made: &Assembled,
    run: RunShape,
    floor: &Floor,
    machine: &'static Machine,
) -> Result<Predicted, Failure> {
    let wrong = |why: baton_predict::Error| Failure::new(format!("`{}`: {why}", kernel.file));
    let listing = Listing::parse(&made.encoded()?).map_err(wrong)?;
    let strips = kernel.strips.as_ref().map_or(1, |strips| strips.count);
    let launch = Launch {
        blocks: run.batch * run.heads * strips / kernel.heads as usize,
        threads: kernel.threads as usize,
        registers: made.registers() as usize,
        shared_bytes: kernel.shared_bytes as usize,
        rounds: run.time.div_ceil(kernel.chunk),
        unique: Some(floor.read as f64),
    };
    let prediction = predict(&listing, &launch, machine).map_err(wrong)?;
    Ok(Predicted::new(prediction, floor, machine))
}

impl Predicted {
    fn new(prediction: Prediction, floor: &Floor, machine: &'static Machine) -> Predicted {
        let milli = |(name, seconds): (&'static str, f64)| (name, 1e3 * seconds);
        let mut assumed: Vec<String> = prediction
            .once
            .iter()
            .map(|address| {
                format!("the loop at {address:#x} goes round once, as nothing is known of it")
            })
            .collect();
        let products = prediction.counts.get("HMMA").copied().unwrap_or(0.0);
        if products != floor.products {
            assumed.push(format!(
                "a round of the loop is a chunk, although a warp has {products} products in it and {} in the PTX",
                floor.products
            ));
        }
        let share = |(name, clocks): (&'static str, f64)| (name, clocks / prediction.round_clocks);
        Predicted {
            machine: machine.name,
            milliseconds: 1e3 * prediction.seconds,
            parts: prediction.parts.named().map(milli).into(),
            bound: prediction.parts.largest().0,
            resident: prediction.resident,
            turns: prediction.turns,
            chunk_clocks: prediction.round_clocks,
            chunk_passes: prediction.round.passes,
            chunk_tensor: prediction.round.tensor,
            chunk_issued: prediction.round.issued,
            savings: prediction.savings.iter().copied().map(share).collect(),
            counts: prediction.counts,
            read: prediction.read,
            written: prediction.written,
            assumed,
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        let mut parts: Vec<_> = self.parts.iter().collect();
        parts.sort_by(|a, b| b.1.total_cmp(a.1));
        let parts = parts.iter().map(|(name, ms)| format!("{name} {ms:.3}"));
        let mut savings: Vec<_> = self.savings.iter().collect();
        savings.sort_by(|a, b| b.1.total_cmp(a.1));
        let savings = savings.iter().filter(|(_, share)| **share >= 0.005);
        let savings = savings.map(|(name, share)| format!("{name} {:.0} %", 100.0 * **share));
        let of = |opcode: &str| self.counts.get(opcode).copied().unwrap_or(0.0);
        let mut text = format!(
            "  predicted, not measured: {:.3} ms on an {}, bound by {}; {} block{} a multiprocessor, {} turn{}\n    \
             ms of each alone: {}\n    \
             a chunk: {:.0} clocks; {:.0} passes of shared memory, {:.0} of a tensor core, {:.0} issued\n    \
             a warp and chunk: {:.0} HMMA, {:.0} LDSM, {:.0} LDS, {:.0} STS, {:.0} SHFL, {:.0} MUFU, {:.0} BAR\n    \
             gone if it were free: {}\n    \
             moved: {:.3} GB read, {:.3} GB written\n",
            self.milliseconds,
            self.machine,
            self.bound,
            self.resident,
            if self.resident == 1 { "" } else { "s" },
            self.turns,
            if self.turns == 1 { "" } else { "s" },
            parts.collect::<Vec<_>>().join(", "),
            self.chunk_clocks,
            self.chunk_passes,
            self.chunk_tensor,
            self.chunk_issued,
            of("HMMA"),
            of("LDSM"),
            of("LDS"),
            of("STS"),
            of("SHFL"),
            of("MUFU"),
            of("BAR"),
            savings.collect::<Vec<_>>().join(", "),
            self.read * 1e-9,
            self.written * 1e-9,
        );
        for assumption in &self.assumed {
            text.push_str(&format!("    assumed: {assumption}\n"));
        }
        text
    }
}
