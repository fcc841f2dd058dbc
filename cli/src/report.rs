//! `baton report`: a folder of runs as one page.

use crate::context::Context;
use crate::failure::Failure;
use crate::place::no_file;
use crate::stop::Stop;
use baton_data::files::{Target, write_whole};
use baton_report::{Experiment, figures, page, tables};
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Show a run, or a folder of runs, as one self-contained page with plots
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  baton report runs/small\n  \
    baton report runs --output report.html --figures figures\n  \
    baton report runs/small --watch\n\n\
    Reads metrics.jsonl and the JSON files of `baton eval --output`. Runs in folders that differ in\n\
    their seed alone (base-seed1, base/seed2) are replicates of one; those side by side are compared.")]
pub struct Report {
    /// A run's folder, or one with folders of runs in it
    folder: PathBuf,
    /// The page; report.html in the folder when absent
    #[arg(long)]
    output: Option<PathBuf>,
    /// Write every figure to this folder too, as SVG and PNG, and the tables as tables.md
    #[arg(long)]
    figures: Option<PathBuf>,
    /// Write the page again whenever a run went on, until Ctrl-C; an open page loads itself anew
    #[arg(long, conflicts_with = "figures")]
    watch: bool,
}

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(2);

impl Report {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let output = self
            .output
            .clone()
            .unwrap_or(self.folder.join("report.html"));
        if self.watch {
            return self.go_on(context, &Target::new(&output)?);
        }
        if let Some(figures) = &self.figures {
            no_file("--figures", figures)?;
        }
        let experiment = Experiment::read(&self.folder)?;
        let target = Target::new(&output)?;
        target.write(page(&experiment, None)?.as_bytes())?;
        let mut names = Vec::new();
        if let Some(folder) = &self.figures {
            let mut text = String::new();
            for family in &experiment.families {
                for shown in figures(family) {
                    shown.figure.write(&folder.join(&shown.name))?;
                    names.push(shown.name);
                }
                for table in tables(family) {
                    text.push_str(&format!("{}\n", table.markdown()));
                }
            }
            write_whole(&folder.join("tables.md"), text.as_bytes())?;
        }
        context.output.result(
            || json!({ "page": output.display().to_string(), "figures": names }),
            || format!("{}\n", output.display()),
        )
    }
    /// Writes the page for as long as somebody wants it.
    fn go_on(&self, context: &Context, target: &Target) -> Result<(), Failure> {
        let stop = Stop::listen()?;
        let asked = || stop.asked.load(Ordering::Relaxed);
        let (mut seen, mut told, mut written) = (None, None, 0u64);
        while !asked() {
            match Experiment::read(&self.folder) {
                Ok(experiment) if seen.as_ref() != Some(&experiment) => {
                    target.write(page(&experiment, Some(PAUSE))?.as_bytes())?;
                    seen = Some(experiment);
                    written += 1;
                }
                Ok(_) => {}
                // A run may have yet to begin.
                Err(why) if self.folder.is_dir() => {
                    let why = format!("{why}; looking again");
                    if told.replace(why.clone()).as_ref() != Some(&why) {
                        context.output.note(&why);
                    }
                }
                Err(why) => return Err(why.into()),
            }
            let begun = Instant::now();
            while begun.elapsed() < PAUSE && !asked() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        // It stays as it is from now on.
        if let Some(experiment) = seen {
            target.write(page(&experiment, None)?.as_bytes())?;
        }
        context.output.result(
            || json!({ "written": written }),
            || format!("written {written} times\n"),
        )
    }
}
