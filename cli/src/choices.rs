//! Which plans the CPU's runs are made by: the one door between stored results of `baton tune` and a device.

use crate::failure::Failure;
use baton_codegen::Compiler;
use baton_codegen::schedule::cost::RunShape;
use baton_codegen::schedule::{Choice, Load, Plan};
use baton_runtime::device::cpu::Cpu;
use baton_runtime::{Device, Error};
use baton_train::runs::Kept;
use baton_tune::{Chosen, Origin, Store, own_folder};
use baton_weights::checkpoint::CHECKPOINT;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the choices that a training keeps.
const KEPT: &str = "choices.json";

/// Whose choices count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choices {
    /// None: plans by rules on shapes alone
    Rules,
    /// Those shipped with the program
    Shipped,
    /// Your own (`baton tune`) before those shipped
    Own,
}

impl Choices {
    /// The store.
    pub fn store(self) -> Result<Store, Failure> {
        Ok(match self {
            Choices::Rules => Store::empty(),
            Choices::Shipped => Store::shipped()?,
            Choices::Own => match own_folder() {
                Some(folder) => Store::shipped()?.with_folder(&folder)?,
                None => Store::shipped()?,
            },
        })
    }
}

/// The folder of one's own choices.
pub fn folder() -> Result<PathBuf, Failure> {
    own_folder().ok_or_else(|| {
        Failure::new(
            "neither XDG_DATA_HOME nor HOME is set, expected one: results are kept below it",
        )
    })
}

/// What a training that is kept in a folder goes by: the choices that it began with, which are kept there, so that
/// it resumes with the same bits whatever is tuned or shipped meanwhile; one that is to begin keeps them then. One that
/// began without any goes by rules.
pub fn of_run(folder: &Path, wanted: Choices) -> Result<(Store, Option<Kept>), Failure> {
    let kept = folder.join(KEPT);
    if kept.exists() {
        let store = Store::empty().with_file(&kept).map_err(|why| {
            Failure::new(format!(
                "{why}: expected the choices that the run began with, from a copy; without the file it goes by rules, \
                 with other last bits"
            ))
        })?;
        return Ok((store, None));
    }
    if folder.join(CHECKPOINT).exists() {
        return Ok((Store::empty(), None));
    }
    let store = wanted.store()?;
    let contents = Some(store.print().into_bytes());
    let name = KEPT;
    Ok((store, Some(Kept { name, contents })))
}

/// The CPU with plans by a store, and `threads` threads; every core when absent.
pub fn cpu(store: Arc<Store>, threads: Option<usize>) -> Result<Box<dyn Device>, Error> {
    Ok(Box::new(Cpu::new(threads)?.with_choices(store)))
}

/// The load of a run whose sequences have one length.
pub fn load(compiler: &Compiler, run: RunShape) -> Load {
    let lengths = std::iter::repeat_n(run.time, run.batch);
    compiler.load(lengths, [run.heads, run.groups])
}

/// A plan and where it comes from.
pub struct Origins {
    plan: Plan,
    chosen: Chosen,
    from: &'static str,
    note: Option<String>,
}

impl Origins {
    /// Of a load; `chunk` is what the caller says, which the rules then follow.
    pub fn new(store: &Store, compiler: &Compiler, load: Load, chunk: Option<usize>) -> Origins {
        let found = store.find(compiler, load).filter(|_| chunk.is_none());
        let fresh = found.filter(|found| !found.stale);
        let choice = fresh.and_then(|found| found.entry.choice).map(Choice::from);
        let plan = choice.and_then(|choice| compiler.chosen(&choice, load, None));
        let plan = plan.unwrap_or_else(|| compiler.plan(load, chunk, None));
        let from = match (chunk, fresh.map(|found| found.origin)) {
            (Some(_), _) => "caller",
            (None, None) => "rules",
            (None, Some(Origin::Own)) => "own",
            (None, Some(Origin::Shipped)) => "shipped",
        };
        let note = found.map(|found| {
            let entry = found.entry;
            match found.stale {
                true => format!(
                    "a choice is there for this shape, made by {} of other programs than today's; `baton tune` makes \
                     it anew",
                    entry.key.tools
                ),
                false => format!(
                    "measured {:.3} ms, the rules' plan {:.3} ms, {} threads of {}",
                    entry.tuned.median, entry.default.median, entry.threads, entry.machine
                ),
            }
        });
        Origins {
            plan,
            chosen: Choice::of(&plan, load).into(),
            from,
            note,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// As data.
    pub fn data(&self) -> Value {
        json!({ "from": self.from, "choice": self.chosen, "note": self.note })
    }

    /// In words.
    pub fn text(&self) -> String {
        let note = self.note.as_ref().map(|note| format!(" ({note})"));
        let (plan, from) = (self.chosen.text(), self.from);
        format!("{plan}; by {from}{}", note.unwrap_or_default())
    }
}
