//! `baton tune --offline`: a kit for a GPU that is elsewhere.
//!
//! Every schedule that there is for the sizes is made, assembled and predicted: what does not fit, or keeps much in
//! local memory for lack of registers, is left out with its reason, and of the rest the best by prediction go
//! into the kit, behind the one that runs without a tuning.

use crate::context::Context;
use crate::emit::{Maker, label, make_folder, write};
use crate::failure::Failure;
use crate::gpu::Dtype;
use crate::inspect::{machine, read_bytes};
use crate::parallel;
use crate::tools::Tools;
use baton_codegen::schedule::cost::RunShape;
use baton_codegen::target::{Gpu, Source};
use baton_codegen::{Compiler, Phase};
use baton_predict::{Launch, Listing, Machine, predict};
use baton_tune::Subject;
use baton_tune::kit::{Candidate, Kit, Made, Pruned, Schedule, gpu};
use serde_json::json;
use std::path::Path;

const CHUNKS: [usize; 4] = [16, 32, 64, 128];
const WARPS: [u32; 2] = [4, 8];
const STAGES: [u32; 2] = [2, 3];
const HEADS: [u32; 2] = [1, 2];
/// Bytes that a thread may keep in local memory: a few words cost little.
const SPILLED: u64 = 128;
/// What a training run launches, by which candidates are ranked.
const RANKED: [Phase; 2] = [Phase::ForwardKeep, Phase::Backward];

/// What a kit is made of.
pub struct Order<'a> {
    pub subject: &'a Subject,
    pub dtype: Dtype,
    pub chip: &'a str,
    /// Candidates beside the one that runs without a tuning.
    pub most: usize,
    pub folder: &'a Path,
}

/// A schedule with what its kernels are made by.
struct Plan {
    compiler: Compiler,
    target: Gpu,
    schedule: Schedule,
    /// Of the texts of what is ranked: two schedules may be one kernel.
    hash: String,
}

impl Order<'_> {
    /// Makes the kit.
    pub fn write(&self, context: &Context) -> Result<(), Failure> {
        let tools = Tools::find()?;
        let machine = machine(self.chip)?;
        let base = gpu(self.dtype.name()).expect("every dtype has a schedule");
        let usual = self.usual(&base)?;
        let shared = self.subject.run.heads > self.subject.run.groups;
        let mut schedules = vec![usual];
        for chunk in CHUNKS {
            for warps in WARPS {
                for stages in STAGES {
                    for heads in HEADS.into_iter().filter(|&heads| heads == 1 || shared) {
                        schedules.push(Schedule {
                            chunk,
                            warps,
                            stages,
                            heads: Some(heads),
                        });
                    }
                }
            }
        }
        let begin = || Ok(Maker::new());
        let judged = parallel::each(&schedules, "schedules", begin, |maker, _, schedule| {
            self.judge(schedule, &base, maker, &tools, machine)
        })?;
        let (mut ranked, mut pruned): (Vec<(Plan, f64)>, _) = (vec![], vec![]);
        for (schedule, judged) in schedules.into_iter().zip(judged) {
            match judged {
                Ok((plan, milliseconds)) => {
                    let same = |(other, _): &(Plan, f64)| other.hash == plan.hash;
                    match ranked.iter().find(|other| same(other)) {
                        Some((other, _)) => pruned.push(Pruned {
                            schedule,
                            why: format!("the kernels of {}", other.schedule.text()),
                        }),
                        None => ranked.push((plan, milliseconds)),
                    }
                }
                Err(why) => pruned.push(Pruned { schedule, why }),
            }
        }
        if ranked.first().map(|(plan, _)| plan.schedule) != Some(usual) {
            let why = pruned.first().map_or("", |pruned| &pruned.why);
            return Err(Failure::new(format!(
                "{}, which runs without a tuning, is left out: {why}",
                usual.text()
            )));
        }
        ranked[1..].sort_by(|a, b| a.1.total_cmp(&b.1));
        ranked.truncate(1 + self.most);
        let ptx = self.folder.join("ptx");
        make_folder(&ptx)?;
        let begin = || Ok(Maker::new());
        let candidates = parallel::each(&ranked, "candidates", begin, |maker, _, ranked| {
            let (plan, predicted_ms) = ranked;
            Ok(Candidate {
                schedule: plan.schedule,
                predicted_ms: *predicted_ms,
                kernels: self.kernels(plan, maker)?,
            })
        })?;
        let Subject {
            recurrence,
            sizes,
            run,
            ..
        } = self.subject;
        let kit = Kit {
            version: env!("CARGO_PKG_VERSION").into(),
            text: baton_ir::text::print(recurrence),
            sizes: recurrence
                .dims
                .iter()
                .cloned()
                .zip(sizes.iter().copied())
                .collect(),
            run: [run.batch, run.time, run.heads, run.groups],
            dtype: self.dtype.name().into(),
            predicted_for: machine.name.into(),
            candidates,
            pruned,
        };
        let text = serde_json::to_string(&kit).expect("every number of a kit is finite");
        write(&self.folder.join("kit.json"), text + "\n")?;
        context.output.result(
            || json!({ "candidates": kit.candidates, "pruned": kit.pruned }),
            || self.text(&kit),
        )
    }

    fn text(&self, kit: &Kit) -> String {
        let mut text = format!(
            "{} candidates in {}, {} left out; predicted for an {}, not measured:\n",
            kit.candidates.len(),
            self.folder.display(),
            kit.pruned.len(),
            kit.predicted_for
        );
        for (i, candidate) in kit.candidates.iter().enumerate() {
            text += &format!(
                "  {:>9.3} ms  {}{}\n",
                candidate.predicted_ms,
                candidate.schedule.text(),
                if i == 0 { " (without a tuning)" } else { "" }
            );
        }
        for pruned in &kit.pruned {
            text += &format!(
                "  left out      {}: {}\n",
                pruned.schedule.text(),
                pruned.why
            );
        }
        text
    }

    /// What runs without a tuning.
    fn usual(&self, base: &Gpu) -> Result<Schedule, Failure> {
        let (compiler, chunk) = self.compiler()?.fit(base, None).map_err(refused)?;
        let settled = compiler.settled(base);
        Ok(Schedule {
            chunk,
            warps: settled.threads() / 32,
            stages: settled.stages,
            heads: None,
        })
    }

    fn compiler(&self) -> Result<Compiler, Failure> {
        let Subject {
            recurrence, sizes, ..
        } = self.subject;
        Compiler::new(recurrence, sizes).map_err(|all| Failure::new(all[0].to_string()))
    }

    /// A schedule's predicted milliseconds, or why it is left out.
    fn judge(
        &self,
        schedule: &Schedule,
        base: &Gpu,
        maker: &Maker,
        tools: &Tools,
        machine: &Machine,
    ) -> Result<Result<(Plan, f64), String>, Failure> {
        let gpu = schedule.of(base);
        let (compiler, chunk) = match self.compiler()?.fit(&gpu, Some(schedule.chunk)) {
            Ok(fits) => fits,
            Err(why) => return Ok(Err(why.to_string())),
        };
        let mut plan = Plan {
            target: compiler.settled(&gpu),
            compiler,
            schedule: *schedule,
            hash: String::new(),
        };
        if schedule.heads == Some(2)
            && !RANKED
                .iter()
                .any(|&phase| plan.compiler.shares(&plan.target, phase, chunk, 2))
        {
            return Ok(Err(
                "no kernel shares anything among heads side by side".into()
            ));
        }
        let mut milliseconds = 0.0;
        for phase in RANKED {
            let heads = self.heads(&plan, phase);
            let (name, source) = match lowered(&plan, phase, heads) {
                Ok(lowered) => lowered,
                Err(why) => return Ok(Err(why)),
            };
            plan.hash += &baton_kernels::hash(&source.text);
            let made = tools.assemble(&maker.ptx(&name, &source.text)?, self.chip)?;
            if made.spill_bytes() > SPILLED {
                return Ok(Err(format!(
                    "its {} kernel keeps {} bytes a thread in local memory, expected at most {SPILLED}",
                    label(phase),
                    made.spill_bytes()
                )));
            }
            let run = RunShape {
                entering: false,
                ..self.subject.run
            };
            let strips = plan.compiler.strips().map_or(1, |strips| strips.count);
            let launch = Launch {
                blocks: run.batch * run.heads * strips / heads as usize,
                threads: source.launch.threads as usize,
                registers: made.registers() as usize,
                shared_bytes: source.launch.shared_bytes as usize,
                rounds: run.time.div_ceil(chunk),
                unique: Some(read_bytes(&self.compiler()?, &plan.target, phase, chunk, run) as f64),
            };
            let wrong = |why: baton_predict::Error| Failure::new(format!("`{name}`: {why}"));
            let listing = Listing::parse(&made.encoded()?).map_err(wrong)?;
            milliseconds += 1e3 * predict(&listing, &launch, machine).map_err(wrong)?.seconds;
        }
        Ok(Ok((plan, milliseconds)))
    }

    /// Heads that a block of a phase runs: as many as are wished where they share something.
    fn heads(&self, plan: &Plan, phase: Phase) -> u32 {
        let RunShape { heads, groups, .. } = self.subject.run;
        let wished = plan.schedule.heads();
        let divides = (heads / groups.max(1)).is_multiple_of(wished as usize);
        let shares = || {
            plan.compiler
                .shares(&plan.target, phase, plan.schedule.chunk, wished)
        };
        if wished > 1 && divides && shares() {
            wished
        } else {
            1
        }
    }

    /// Every kernel that a run of a plan may need, written into the folder.
    fn kernels(&self, plan: &Plan, maker: &Maker) -> Result<Vec<Made>, Failure> {
        let mut all: Vec<Made> = vec![];
        for phase in plan.compiler.phases(&plan.target) {
            for heads in HEADS {
                let shares = || {
                    plan.compiler
                        .shares(&plan.target, phase, plan.schedule.chunk, heads)
                };
                if heads > 1 && (plan.schedule.heads() == 1 || !shares()) {
                    continue;
                }
                let (name, source) = lowered(plan, phase, heads).map_err(Failure::new)?;
                let hash = baton_kernels::hash(&source.text);
                if all
                    .iter()
                    .any(|made| made.mlir_hash == hash && made.name == name)
                {
                    continue;
                }
                let ptx = maker.ptx(&name, &source.text)?;
                let file = format!("ptx/{name}-{hash}.ptx.gz");
                let packed = baton_kernels::pack(&ptx)
                    .map_err(|why| Failure::new(format!("cannot pack `{name}`: {why}")))?;
                write(&self.folder.join(&file), packed)?;
                all.push(Made {
                    name,
                    mlir_hash: hash,
                    file,
                });
            }
        }
        Ok(all)
    }
}

/// The MLIR text of a phase with so many heads a block, and the kernel's name.
fn lowered(plan: &Plan, phase: Phase, heads: u32) -> Result<(String, Source), String> {
    let target = plan.target.with_heads(heads);
    let made = plan.compiler.compile(&target, phase, plan.schedule.chunk);
    let made = made.map_err(|why| why.to_string())?;
    Ok((made.program.name.clone(), made.code))
}

fn refused(why: impl ToString) -> Failure {
    Failure::new(why.to_string())
}
