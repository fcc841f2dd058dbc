//! A kit: schedules for a GPU's kernels, made where there is none and tuned where there is one.
//!
//! A folder with `kit.json`, a [`Kit`], and the PTX of every candidate. It is made with MLIR and NVIDIA's assembler,
//! which prune and rank candidates, and needs neither any more: a device lowers a schedule to MLIR's text in any case,
//! and finds PTX by that text's hash. [`tune_kit`] holds the contest of the CPU's tuner on the kit's candidates; what
//! wins is [`Kept`] with its kernels, so that whoever takes it over has them. The first candidate is what
//! runs without a tuning.

mod run;

use crate::entry::{Entry, Key};
use crate::{Error, Subject};
use baton_codegen::schedule::cost::RunShape;
use baton_codegen::target::{Gpu, Products, Storage};
use baton_runtime::device::gpu::supply_hashed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path};

pub use run::{Bench, Times, tune_kit};

/// What is chosen of how a GPU's kernels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Steps of a chunk.
    pub chunk: usize,
    /// Warps of a block.
    pub warps: u32,
    /// Stages of the ring of copies, at most.
    pub stages: u32,
    /// Heads side by side; one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<u32>,
}

impl Schedule {
    /// A GPU with this schedule.
    pub fn of(&self, gpu: &Gpu) -> Gpu {
        Gpu {
            warps: Some(self.warps),
            stages: self.stages,
            heads: self.heads,
            ..gpu.clone()
        }
    }

    /// In how many parts it differs from another.
    pub fn distance(&self, other: &Schedule) -> usize {
        let differs = [
            self.chunk != other.chunk,
            self.warps != other.warps,
            self.stages != other.stages,
            self.heads() != other.heads(),
        ];
        differs.into_iter().filter(|differs| *differs).count()
    }

    /// Heads side by side.
    pub fn heads(&self) -> u32 {
        self.heads.unwrap_or(1)
    }

    /// In words: `chunks of 64, 8 warps, 3 stages, 1 head a block`.
    pub fn text(&self) -> String {
        let heads = match self.heads() {
            1 => "1 head a block".to_string(),
            heads => format!("{heads} heads a block"),
        };
        format!(
            "chunks of {}, {} warps, {} stages, {heads}",
            self.chunk, self.warps, self.stages
        )
    }
}

/// A kernel of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Its entry.
    pub name: String,
    /// Of the MLIR text that it was made from.
    pub mlir_hash: String,
    /// Its PTX, gzip: a file in the folder, or in one below it.
    pub file: String,
}

/// A schedule that may be the best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What it is.
    pub schedule: Schedule,
    /// What is predicted of a run forward and backward.
    pub predicted_ms: f64,
    /// Every kernel that such a run may need.
    pub kernels: Vec<Made>,
}

/// A schedule that is none, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// What it is.
    pub schedule: Schedule,
    /// The reason.
    pub why: String,
}

/// What is tuned, with the candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kit {
    /// The version of Baton that made it.
    pub version: String,
    /// The recurrence, as it is printed.
    pub text: String,
    /// Sizes of the dims.
    pub sizes: BTreeMap<String, usize>,
    /// B, T, H, G.
    pub run: [usize; 4],
    /// Of matrices: `f32`, `tf32`, `bf16`, `f16`.
    pub dtype: String,
    /// The machine whose times are predicted.
    pub predicted_for: String,
    /// The first is what runs without a tuning.
    pub candidates: Vec<Candidate>,
    /// What was left out.
    pub pruned: Vec<Pruned>,
}

/// A result with the kernels of what won: what is carried back, and what is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The result.
    pub entry: Entry<Schedule>,
    /// PTX by name and hash of the MLIR text; of the rules' schedule none.
    pub kernels: Vec<KeptKernel>,
}

/// A kernel that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptKernel {
    /// Its entry.
    pub name: String,
    /// Of the MLIR text.
    pub mlir_hash: String,
    /// The text.
    pub ptx: String,
}

/// Whether a text names a file or a folder, and no way to another place.
fn is_name(text: &str) -> bool {
    let mut parts = Path::new(text).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == text)
}

/// The schedule of a dtype, before any choice.
pub fn gpu(dtype: &str) -> Option<Gpu> {
    let of = |storage, products| Gpu {
        products,
        ..Gpu::sm_80(storage)
    };
    Some(match dtype {
        "f32" => of(Storage::F32, Products::ThreeTerms),
        "tf32" => of(Storage::F32, Products::Tf32),
        "bf16" => of(Storage::Bf16, Products::ThreeTerms),
        "f16" => of(Storage::F16, Products::ThreeTerms),
        _ => return None,
    })
}

impl Kit {
    /// The kit of a folder.
    pub fn read(folder: &Path) -> Result<Kit, Error> {
        let file = folder.join("kit.json");
        let wrong = |why: String| Error::file(&file, why);
        let text = std::fs::read_to_string(&file);
        let text = text.map_err(|why| {
            wrong(format!(
                "{why}; expected a folder that `baton tune --offline` wrote"
            ))
        })?;
        let kit: Kit = serde_json::from_str(&text)
            .map_err(|why| wrong(format!("no kit of `baton tune --offline`: {why}")))?;
        if kit.version != env!("CARGO_PKG_VERSION") {
            return Err(wrong(format!(
                "made by Baton {}, expected {}: kernels are found by what this version would make",
                kit.version,
                env!("CARGO_PKG_VERSION")
            )));
        }
        if kit.candidates.is_empty() || gpu(&kit.dtype).is_none() {
            return Err(wrong(format!(
                "{} candidates in `{}`, expected some in f32, tf32, bf16 or f16",
                kit.candidates.len(),
                kit.dtype
            )));
        }
        let mut kernels = kit.candidates.iter().flat_map(|c| &c.kernels);
        if let Some(made) = kernels.find(|made| !made.file.split('/').all(is_name)) {
            return Err(wrong(format!(
                "kernel `{}` in the file `{}`, expected one in the folder of the kit",
                made.name, made.file
            )));
        }
        Ok(kit)
    }

    /// What it tunes.
    pub fn subject(&self) -> Result<Subject, Error> {
        let wrong = |why: String| Error::file(Path::new("kit.json"), why);
        let recurrence = baton_ir::text::parse(&self.text)
            .map_err(|all| wrong(format!("its recurrence: {}", all[0])))?;
        let facts = baton_ir::verify::verify(&recurrence)
            .map_err(|all| wrong(format!("its recurrence: {}", all[0])))?;
        let size = |dim: &String| self.sizes.get(dim).copied();
        let sizes: Option<Vec<usize>> = recurrence.dims.iter().map(size).collect();
        let sizes = sizes.ok_or_else(|| wrong("it lacks the size of a dim".into()))?;
        let [batch, time, heads, groups] = self.run;
        let run = RunShape {
            batch,
            time,
            heads,
            groups,
            entering: true,
        };
        Subject::new(recurrence, facts, sizes, run, 1)
            .map_err(|all| wrong(format!("its recurrence: {}", all[0])))
    }

    /// What an entry of it is found by on a GPU.
    pub fn key(&self, subject: &Subject, target: &str) -> Key {
        Key::of_gpu(&subject.compiler, subject.load(), &self.dtype, target)
    }

    /// The PTX of a kernel.
    fn ptx(&self, folder: &Path, made: &Made) -> Result<String, Error> {
        let file = folder.join(&made.file);
        let bytes = std::fs::read(&file).map_err(|why| Error::file(&file, why))?;
        baton_kernels::unpack(&bytes).map_err(|why| Error::file(&file, why))
    }

    /// A result with the kernels of what won.
    pub fn keep(&self, folder: &Path, entry: Entry<Schedule>) -> Result<Kept, Error> {
        let won = self
            .candidates
            .iter()
            .find(|c| Some(c.schedule) == entry.choice);
        let mut kernels = vec![];
        for made in won.into_iter().flat_map(|candidate| &candidate.kernels) {
            kernels.push(KeptKernel {
                name: made.name.clone(),
                mlir_hash: made.mlir_hash.clone(),
                ptx: self.ptx(folder, made)?,
            });
        }
        Ok(Kept { entry, kernels })
    }
}

impl Kept {
    /// The result in a file.
    pub fn read(file: &Path) -> Result<Kept, Error> {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|why| {
            let what = "expected a result that `baton tune --kit` wrote";
            Error::file(file, format!("{why}; {what}"))
        })?;
        let wrong = |why: String| {
            let what = "no result of `baton tune --kit`";
            Error::file(file, format!("{what}: {why}"))
        };
        let kept: Kept = serde_json::from_str(&text).map_err(|why| wrong(why.to_string()))?;
        let name = &kept.entry.key.recurrence;
        // Files are called by it.
        if !is_name(name) {
            return Err(wrong(format!("recurrence `{name}`, expected a name")));
        }
        Ok(kept)
    }

    /// As a text.
    pub fn print(&self) -> String {
        let text = serde_json::to_string(self).expect("every number of a result is finite");
        text + "\n"
    }

    /// Has the devices of this process find its kernels.
    pub fn supply(&self) {
        for kernel in &self.kernels {
            supply_hashed(&kernel.name, &kernel.mlir_hash, kernel.ptx.clone());
        }
    }
}
