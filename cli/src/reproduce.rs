//! `baton reproduce`: an experiment from its plan, from seed to results.

use crate::context::Context;
use crate::device;
use crate::failure::Failure;
use crate::place::no_file;
use crate::ranks;
use baton_train::reproduce::{self, Plan, Settings};
use serde_json::json;
use std::path::PathBuf;

/// Train and measure everything that a plan names, going on where it was stopped
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton reproduce plan.json --folder runs --text books.txt\n  \
    baton reproduce plan.json --folder runs --text books.txt --only mamba2/base\n\n\
    Runs and measurements that are there are kept; stop it at any time and begin again. What a\n\
    plan holds: docs/evaluation.md. `baton report` shows the folder, finished or not."
)]
pub struct Reproduce {
    /// The plan, a JSON file
    plan: PathBuf,
    /// Where all runs are kept
    #[arg(long)]
    folder: PathBuf,
    /// A text to train on, whose last 15 % are held out; when absent that of the runs in the folder, or the novels that
    /// come with the program
    #[arg(long)]
    text: Option<PathBuf>,
    /// Only runs whose folder's name has this in it, and the bases that these need
    #[arg(long)]
    only: Option<String>,
    /// Copy everything but the weights to this folder when done
    #[arg(long)]
    export: Option<PathBuf>,
    /// List the runs and do nothing
    #[arg(long)]
    list: bool,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 500)]
    checkpoint_every: u64,
    /// Threads; every core, or a rank's share of them, when absent
    #[arg(long, value_parser = device::threads())]
    threads: Option<usize>,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Reproduce {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        no_file("--folder", &self.folder)?;
        if let Some(export) = &self.export {
            no_file("--export", export)?;
        }
        let jobs = Plan::read(&self.plan)?.jobs()?;
        if self.list && !context.is_first()? {
            return Ok(());
        }
        if self.list {
            let folders: Vec<&str> = jobs.iter().map(|job| job.folder.as_str()).collect();
            let shown = || folders.iter().map(|folder| format!("{folder}\n")).collect();
            return context.output.result(|| json!({ "runs": folders }), shown);
        }
        let group = context.ranks()?;
        let first = group.rank() == 0;
        let (text, origin) = reproduce::text(&jobs, &self.folder, self.text.as_deref())?;
        let device = device::device(device::Name::Cpu, ranks::threads(self.threads))?;
        let settings = Settings {
            folder: self.folder,
            only: self.only,
            checkpoint_every: self.checkpoint_every,
            progress: !self.quiet,
            origin,
            group,
        };
        let mut say = |line: String| {
            if !self.quiet && first {
                context.output.note(&line);
            }
        };
        let done = reproduce::run(&jobs, &text, &settings, device.as_ref(), &mut say)?;
        if !first {
            return Ok(());
        }
        let exported = match &self.export {
            Some(target) => Some(reproduce::export(&jobs, &settings.folder, target)?),
            None => None,
        };
        context.output.result(
            || json!({ "done": done, "exported": exported }),
            || {
                format!(
                    "{} runs: {} trained now; {} measurements made now, {} kept\n{}\n",
                    done.runs,
                    done.trained,
                    done.measured,
                    done.kept,
                    settings.folder.display()
                )
            },
        )
    }
}
