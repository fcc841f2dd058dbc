//! Which schedule a run on a GPU, or its emulator, is made by: one that `baton tune --import` keeps, or the rules'.
//!
//! A choice counts only where every kernel that it names is what this program would make for it today: else it is
//! said and not used, as a plan of the CPU is.

use crate::device::Name;
use crate::failure::Failure;
use crate::gpu::Dtype;
use crate::tune::{device_name, kept_folder};
use baton_codegen::Compiler;
use baton_codegen::schedule::Load;
use baton_codegen::target::Gpu;
use baton_runtime::device::cuda::Cuda;
use baton_tune::Key;
use baton_tune::kit::{Kept, Schedule, gpu};
use serde_json::{Value, json};

/// Heads side by side that a kernel may have.
const HEADS: [u32; 2] = [1, 2];

/// A schedule and where it comes from.
pub struct Scheduled {
    /// What was chosen; none where the rules are.
    pub schedule: Option<Schedule>,
    from: &'static str,
    note: Option<String>,
}

impl Scheduled {
    /// By rules alone.
    pub fn rules() -> Scheduled {
        Scheduled {
            schedule: None,
            from: "rules",
            note: None,
        }
    }

    /// Of one's own for a load, with its kernels where devices find them.
    pub fn own(
        device: Name,
        dtype: Dtype,
        compiler: &Compiler,
        load: Load,
    ) -> Result<Scheduled, Failure> {
        let base = gpu(dtype.name()).expect("every dtype has a schedule");
        let Some(folder) = kept_folder().ok().filter(|folder| folder.exists()) else {
            return Ok(Scheduled::rules());
        };
        let name = match device {
            Name::Cuda => Cuda::new(0, base.clone())?.gpu().to_string(),
            _ => String::new(),
        };
        let target = device_name(device, &name);
        let key = Key::of_gpu(compiler, load, dtype.name(), &target);
        let file = folder.join(format!("{}.json", key.file_stem()));
        if !file.exists() {
            return Ok(Scheduled::rules());
        }
        let kept = Kept::read(&file)?;
        let Some(schedule) = kept.entry.choice else {
            return Ok(Scheduled {
                note: Some("no schedule was faster".into()),
                from: "own",
                ..Scheduled::rules()
            });
        };
        if let Err(lacks) = findable(&kept, &schedule, &base, compiler) {
            return Ok(Scheduled {
                note: Some(format!(
                    "the choice in `{}` is not used: {lacks}; a new kit makes it anew",
                    file.display()
                )),
                ..Scheduled::rules()
            });
        }
        kept.supply();
        Ok(Scheduled {
            schedule: Some(schedule),
            from: "own",
            note: Some(format!("tuned on {}", kept.entry.machine)),
        })
    }

    /// As data.
    pub fn data(&self) -> Value {
        json!({ "from": self.from, "choice": self.schedule, "note": self.note })
    }

    /// In words.
    pub fn text(&self) -> String {
        let schedule = self
            .schedule
            .map(|schedule| format!("{}; ", schedule.text()));
        let note = self.note.as_ref().map(|note| format!(" ({note})"));
        let (schedule, note) = (schedule.unwrap_or_default(), note.unwrap_or_default());
        format!("{schedule}by {}{note}", self.from)
    }
}

/// Whether the kernels that this program would make for a schedule are those that are kept; else what is lacking.
fn findable(
    kept: &Kept,
    schedule: &Schedule,
    base: &Gpu,
    compiler: &Compiler,
) -> Result<(), String> {
    let target = schedule.of(base);
    let fits = compiler.clone().fit(&target, Some(schedule.chunk));
    let (compiler, chunk) = fits.map_err(|why| why.to_string())?;
    let target = compiler.settled(&target);
    for phase in compiler.phases(&target) {
        for heads in HEADS {
            let beside = || schedule.heads() > 1 && compiler.shares(&target, phase, chunk, heads);
            if heads > 1 && !beside() {
                continue;
            }
            let made = compiler.compile(&target.with_heads(heads), phase, chunk);
            let made = made.map_err(|why| why.to_string())?;
            let hash = baton_kernels::hash(&made.code.text);
            let name = &made.program.name;
            let same = |kernel: &baton_tune::kit::KeptKernel| {
                kernel.name == *name && kernel.mlir_hash == hash
            };
            if !kept.kernels.iter().any(same) {
                return Err(format!("it has no `{name}` of today's text"));
            }
        }
    }
    Ok(())
}
