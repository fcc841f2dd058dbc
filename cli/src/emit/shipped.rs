//! `baton emit --shipped`: every kernel that is shipped, as a folder.
//!
//! The set is said here, once: every built-in that the target has kernels for. A kernel whose MLIR text and generator are unchanged is kept, with all
//! that its entry says; so a run that was cut off goes on, and one with nothing to do says so in
//! seconds. The manifest is written anew after every group, in the order of the set, and holds neither
//! time nor machine: the same generator gives the same bytes.

use super::entry::{CHIPS, GENERATOR, assembled, entry, label, strips, why};
use super::errors::errors;
use super::maker::{Maker, make_folder, refused, write};
use crate::context::Context;
use crate::failure::Failure;
use crate::parallel;
use crate::source::Source;
use crate::tools::Tools;
use baton_codegen::target::{Gpu, Storage};
use baton_codegen::{Compiler, Service};
use baton_ir::builtin;
use baton_ir::recurrence::{Facts, Recurrence};
use baton_kernels::manifest::{self, Absent, Kernel, Manifest};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

/// Sizes of the state's first dim, the one that is contracted, and of its second.
const STATE: [usize; 3] = [16, 64, 128];
const HEAD: [usize; 2] = [64, 128];
const STORAGES: [Storage; 2] = [Storage::Bf16, Storage::F32];

/// Where kernels lie below the folder.
const KERNELS: &str = "ptx";

/// A recurrence with sizes and storage: its kernels are made together.
struct Group {
    recurrence: Recurrence,
    facts: Facts,
    sizes: Vec<usize>,
    target: Gpu,
}

/// What a group came to.
type Made = Result<Vec<Kernel>, Absent>;

/// The groups, in order.
fn groups() -> Result<Vec<Group>, Failure> {
    let mut all = vec![];
    for name in builtin::NAMES {
        let (recurrence, facts) = Source::builtin(name)?.verify()?;
        if !has_kernels(&recurrence) {
            continue;
        }
        for storage in STORAGES {
            for state in STATE {
                for head in HEAD {
                    all.push(Group {
                        recurrence: recurrence.clone(),
                        facts: facts.clone(),
                        sizes: vec![state, head],
                        target: Gpu::sm_80(storage),
                    });
                }
            }
        }
    }
    Ok(all)
}

/// Whether the target has kernels for a recurrence at all: at its smallest sizes, in chunks of any length.
fn has_kernels(recurrence: &Recurrence) -> bool {
    let sizes = vec![STATE[0]; recurrence.dims.len()];
    let compiler = Compiler::new(recurrence, &sizes);
    compiler.is_ok_and(|compiler| compiler.ships(&Gpu::sm_80(Storage::F32)))
}

/// Writes every kernel into `folder`, or every one of the recurrence of this name.
pub fn write_all(context: &Context, folder: &Path, name: Option<&str>) -> Result<(), Failure> {
    let file = folder.join("manifest.json");
    let before = match std::fs::read_to_string(&file) {
        Ok(text) => Manifest::parse(&text)
            .map_err(|why| Failure::new(format!("cannot read `{}`: {why}", file.display())))?,
        Err(_) => Manifest {
            generator: GENERATOR.into(),
            kernels: vec![],
            services: vec![],
            absent: vec![],
        },
    };
    make_folder(&folder.join(KERNELS))?;
    let tools = Tools::find()?;
    let wanted = name.map(Source::builtin).transpose()?;
    let services = services(&tools, folder)?;
    let groups = groups()?;
    let made: Mutex<Vec<Option<Made>>> = Mutex::new(groups.iter().map(|_| None).collect());
    let kept = Mutex::new(0);
    parallel::each(
        &groups,
        "groups of kernels",
        || Ok(Maker::new()),
        |maker, at, group| {
            let other = |source: &Source| source.name != group.recurrence.name;
            if wanted.as_ref().is_some_and(other) {
                return Ok(());
            }
            let (result, same) = group.make(maker, &tools, &before, folder)?;
            *kept.lock().expect("no holder of this lock panics") += same;
            let mut made = made.lock().expect("no holder of this lock panics");
            made[at] = Some(result);
            // What is not there yet stays as it was, so that a run that is cut off loses nothing.
            write(&file, manifest(&groups, &made, &services, &before).print())
        },
    )?;
    let made = made.into_inner().expect("no holder of this lock panics");
    let manifest = manifest(&groups, &made, &services, &before);
    write(&file, manifest.print())?;
    let removed = sweep(folder, &manifest)?;
    let kept = kept.into_inner().expect("no holder of this lock panics");
    context.output.result(
        || json!({ "kernels": manifest.kernels.len(), "kept": kept, "absent": manifest.absent, "removed": removed }),
        || {
            let (all, absent) = (manifest.kernels.len(), manifest.absent.len());
            format!(
                "{all} kernels in {}, {kept} of them as they were; {absent} groups cannot be made; {removed} files removed\n",
                folder.display()
            )
        },
    )
}

/// The manifest of what was made, and of what was there of groups that were not made yet.
fn manifest(
    groups: &[Group],
    made: &[Option<Made>],
    services: &[manifest::Service],
    before: &Manifest,
) -> Manifest {
    let mut all = Manifest {
        generator: GENERATOR.into(),
        kernels: vec![],
        services: services.to_vec(),
        absent: vec![],
    };
    for (group, made) in groups.iter().zip(made) {
        match made {
            Some(Ok(kernels)) => all.kernels.extend(kernels.iter().cloned()),
            Some(Err(absent)) => all.absent.push(absent.clone()),
            None if before.generator == GENERATOR => {
                let own = before.kernels.iter().filter(|kernel| group.owns(kernel));
                all.kernels.extend(own.cloned());
                let own = before.absent.iter().filter(|absent| group.lacks(absent));
                all.absent.extend(own.cloned());
            }
            None => {}
        }
    }
    all
}

/// Removes the kernels that the manifest does not name.
fn sweep(folder: &Path, manifest: &Manifest) -> Result<usize, Failure> {
    let kernels = manifest.kernels.iter().map(|kernel| &kernel.file);
    let services = manifest.services.iter().map(|service| &service.file);
    let named: BTreeSet<_> = kernels
        .chain(services)
        .map(|file| folder.join(file))
        .collect();
    let place = folder.join(KERNELS);
    let cannot =
        |why: std::io::Error| Failure::new(format!("cannot sweep `{}`: {why}", place.display()));
    let mut removed = 0;
    for entry in std::fs::read_dir(&place).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let ours = path.to_string_lossy().ends_with(".ptx.gz");
        if ours && !named.contains(&path) {
            std::fs::remove_file(&path).map_err(cannot)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The kernels between those of recurrences, made anew each time: they are few and small.
fn services(tools: &Tools, folder: &Path) -> Result<Vec<manifest::Service>, Failure> {
    let maker = Maker::new();
    let target = Gpu::sm_80(Storage::F32);
    let one = |service: Service| {
        let (name, source) = (service.name(&target), service.source(&target));
        let ptx = maker.ptx(&name, &source.text)?;
        let mlir_hash = baton_kernels::hash(&source.text);
        let file = format!("{KERNELS}/{name}-any-{mlir_hash}.ptx.gz");
        write_packed(folder, &file, &ptx)?;
        let assembled = assembled(tools, &ptx, |registers| {
            format!("it has {registers} registers")
        })?;
        Ok(manifest::Service {
            file,
            name,
            mlir_hash,
            ptx_hash: baton_kernels::hash(&ptx),
            threads: source.launch.threads,
            assembled,
        })
    };
    Service::ALL.into_iter().map(one).collect()
}

fn write_packed(folder: &Path, file: &str, ptx: &str) -> Result<(), Failure> {
    let packed = baton_kernels::pack(ptx)
        .map_err(|why| Failure::new(format!("cannot pack `{file}`: {why}")))?;
    write(&folder.join(file), packed)
}

impl Group {
    fn named_sizes(&self) -> BTreeMap<String, usize> {
        let dims = self.recurrence.dims.iter().cloned();
        dims.zip(self.sizes.iter().copied()).collect()
    }

    fn owns(&self, kernel: &Kernel) -> bool {
        kernel.recurrence == self.recurrence.name
            && kernel.dtype == self.target.storage.name()
            && kernel.sizes == self.named_sizes()
    }

    fn lacks(&self, absent: &Absent) -> bool {
        absent.recurrence == self.recurrence.name
            && absent.dtype == self.target.storage.name()
            && absent.sizes == self.named_sizes()
    }

    /// Its kernels, and how many of them were there.
    fn make(
        &self,
        maker: &Maker,
        tools: &Tools,
        before: &Manifest,
        folder: &Path,
    ) -> Result<(Made, usize), Failure> {
        let compiler = Compiler::new(&self.recurrence, &self.sizes)
            .map_err(|list| Failure::new(format!("{list:?}")))?;
        let sizes = self.named_sizes();
        let chunk = match compiler.chunk(&self.target) {
            Ok(chunk) => chunk,
            Err(why) => {
                let fitted = compiler.fit(&self.target, None).ok();
                let absent = Absent {
                    recurrence: self.recurrence.name.clone(),
                    dtype: self.target.storage.name().into(),
                    sizes,
                    why: why.to_string(),
                    strips: fitted.and_then(|(compiler, _)| strips(&compiler)),
                };
                return Ok((Err(absent), 0));
            }
        };
        let mut kernels = vec![];
        let mut texts = vec![];
        let mut same = 0;
        let target = &self.target;
        for phase in compiler.phases(target) {
            let lowered = compiler.compile(target, phase, chunk).map_err(refused)?;
            let hash = baton_kernels::hash(&lowered.code.text);
            let old = before.kernels.iter().find(|kernel| {
                before.generator == GENERATOR && self.owns(kernel) && kernel.mlir_hash == hash
            });
            let there = old.and_then(|old| read(folder, old).map(|ptx| (old.clone(), ptx)));
            let (kernel, ptx) = match there {
                Some((mut kernel, ptx)) => {
                    same += 1;
                    if !is_assembled(&kernel) {
                        kernel.assembled =
                            assembled(tools, &ptx, |registers| why(&kernel, registers))?;
                    }
                    (kernel, ptx)
                }
                None => {
                    let ptx = maker.ptx(&lowered.program.name, &lowered.code.text)?;
                    let shape: String = (sizes.iter())
                        .map(|(dim, size)| format!("{dim}{size}"))
                        .collect();
                    let file = format!("{KERNELS}/{}-{shape}-{hash}.ptx.gz", lowered.program.name);
                    write_packed(folder, &file, &ptx)?;
                    let mut kernel = entry(&compiler, target, phase, &lowered, &ptx, file);
                    kernel.assembled = assembled(tools, &ptx, |registers| why(&kernel, registers))?;
                    (kernel, ptx)
                }
            };
            kernels.push(kernel);
            texts.push((lowered, ptx));
        }
        if same < kernels.len() {
            for (lowered, ptx) in texts {
                baton_runtime::device::gpu::supply(&lowered.program.name, &lowered.code.text, ptx);
            }
            let (recurrence, facts) = (&self.recurrence, &self.facts);
            for (phase, errors) in errors(recurrence, facts, &self.sizes, chunk, target)? {
                let of_phase = kernels.iter_mut().filter(|k| k.phase == label(phase));
                of_phase.for_each(|kernel| kernel.errors = Some(errors.clone()));
            }
        }
        Ok((Ok(kernels), same))
    }
}

/// Whether the entry says what every chip's machine code holds.
fn is_assembled(kernel: &Kernel) -> bool {
    let said =
        |chip| (kernel.assembled.get(chip)).is_some_and(|made| !made.instructions.is_empty());
    CHIPS.into_iter().all(said)
}

/// The PTX of an entry, if it lies there as the entry says.
fn read(folder: &Path, kernel: &Kernel) -> Option<String> {
    let bytes = std::fs::read(folder.join(&kernel.file)).ok()?;
    let ptx = baton_kernels::unpack(&bytes).ok()?;
    (baton_kernels::hash(&ptx) == kernel.ptx_hash).then_some(ptx)
}
