//! `baton tune`: the fastest plan for a recurrence and a shape on this machine, of those that are right.

mod kit;
mod offline;
mod shown;
mod terms;

pub use kit::{device_name, folder as kept_folder};

use crate::choices;
use crate::context::Context;
use crate::device::{self, Name, cpu_name};
use crate::failure::Failure;
use crate::gpu::Dtype;
use crate::numbers;
use crate::output::Output;
use crate::shape::Shape;
use crate::source::Source;
use baton_tune::{Journal, Outcome, ROUNDS, Store, Subject, Workshop, tune};
use serde_json::json;
use shown::{Ended, list};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use terms::{bar, counted, terms};

/// Find the fastest plan for a shape by measuring, of those that agree with the f64 interpreter
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton tune gla --shape T=2048,H=16,K=128,V=128\n  \
    baton tune my.rec --shapes shapes.txt --budget 30\n  baton tune mamba2 --offline --dtype bf16 --shape B=8,T=2048,H=80,N=128,P=64 -o kit\n  \
    baton tune --kit kit --device cuda --budget 10\n  baton tune --import kit/result-NAME.json --device cuda\n  \
    baton tune --list\n\n\
    A file of shapes has one a line, as --shape takes it, behind the name of a recurrence where none is given;\n\
    what follows a # is left out. Results are kept below XDG_DATA_HOME (docs/tuning.md). A tuning that was killed,\n\
    or ran out of time, goes on where it stopped."
)]
pub struct Tune {
    /// A file, - for the standard input, or the name of a built-in recurrence
    #[arg(value_name = "FILE|NAME", conflicts_with = "file")]
    place: Option<String>,
    /// The same as FILE
    #[arg(long, value_name = "F.rec")]
    file: Option<PathBuf>,
    /// What is tuned for: the CPU when absent; GPUs and the emulator take --offline, --kit or --import. What --list
    /// shows: all when absent
    #[arg(long, value_enum)]
    device: Option<Name>,
    /// Sizes: T, H and every dim of the recurrence; B and G are 1 when absent
    #[arg(long, value_name = "B=1,T=2048,H=80,..", conflicts_with = "shapes")]
    shape: Option<Shape>,
    /// A file of shapes, one a line
    #[arg(long, value_name = "FILE")]
    shapes: Option<PathBuf>,
    /// Minutes for all shapes together; as long as it takes when absent
    #[arg(long, value_name = "MINUTES", value_parser = numbers::time)]
    budget: Option<f64>,
    /// Threads; every core when absent
    #[arg(long, value_name = "N", value_parser = device::threads())]
    threads: Option<usize>,
    /// Times that each of the last candidates is measured; 15 when absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    rounds: Option<u32>,
    /// Write results into this file, beside those of other shapes, instead of your own
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// Tune anew what was tuned before, or begun
    #[arg(long)]
    again: bool,
    /// Only show what was found before, all of it or of the recurrence FILE|NAME
    #[arg(long, conflicts_with_all = ["shape", "shapes", "into"])]
    list: bool,
    /// Make a kit for a GPU that is elsewhere: candidates, pruned by the assembler and ranked by prediction
    #[arg(long, requires = "output", conflicts_with_all = ["list", "into", "shapes"])]
    offline: bool,
    /// The folder of the kit
    #[arg(short, long, value_name = "DIR", requires = "offline")]
    output: Option<PathBuf>,
    /// The dtype of matrices of a kit
    #[arg(long, value_enum, default_value = "bf16", requires = "offline")]
    dtype: Dtype,
    /// The GPU that is predicted for
    #[arg(long, default_value = "sm_90", requires = "offline")]
    chip: String,
    /// Candidates of the kit beside the schedule that runs without a tuning
    #[arg(long, value_name = "N", default_value_t = 7, requires = "offline")]
    candidates: usize,
    /// Tune what a kit holds, with --device cuda or emulator
    #[arg(long, value_name = "DIR", conflicts_with_all = ["place", "file", "shape", "shapes", "into", "list", "offline"])]
    kit: Option<PathBuf>,
    /// Take over what was found with a kit of that --device
    #[arg(long, value_name = "FILE", conflicts_with_all = ["place", "file", "shape", "shapes", "into", "list", "offline", "kit"])]
    import: Option<PathBuf>,
}

/// A recurrence at a shape.
struct Job {
    source: Source,
    shape: Shape,
}

impl Tune {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        self.used()?;
        if self.list {
            return list(self.listed()?.as_deref(), self.device, context);
        }
        let device = self.device.unwrap_or(Name::Cpu);
        let until =
            (self.budget).map(|minutes| Instant::now() + Duration::from_secs_f64(60.0 * minutes));
        if let Some(file) = &self.import {
            return kit::import(file, device, context.output);
        }
        if let Some(folder) = &self.kit {
            let terms = terms(self.rounds(), until);
            return kit::tune(folder, device, terms, self.again, context);
        }
        let jobs = self.jobs()?;
        if let (true, Some(folder)) = (self.offline, &self.output) {
            return self.offline(&jobs[0], folder, context);
        }
        if device != Name::Cpu {
            return Err(Failure::new(format!(
                "--device {} given, expected cpu, or --offline, --kit or --import with it",
                device.text()
            )));
        }
        let mut ended = vec![];
        for (i, job) in jobs.iter().enumerate() {
            let now = Instant::now();
            let share = |until: Instant| {
                now + until.saturating_duration_since(now) / (jobs.len() - i) as u32
            };
            ended.push(self.one(job, until.map(share), context.output)?);
        }
        let refused = |ended: &Ended| match ended {
            Ended::Refused { why, .. } => Some(why.clone()),
            _ => None,
        };
        if let Some(all) = ended.iter().map(refused).collect::<Option<Vec<_>>>() {
            return Err(Failure::new(all.into_iter().next().unwrap_or_default()));
        }
        context.output.result(
            || json!({ "results": ended.iter().map(Ended::data).collect::<Vec<_>>() }),
            || ended.iter().map(Ended::text).collect(),
        )
    }

    /// Refuses options of a measurement where nothing is measured, or not by them.
    fn used(&self) -> Result<(), Failure> {
        let all = [
            ("--threads", self.threads.is_some()),
            ("--rounds", self.rounds.is_some()),
            ("--budget", self.budget.is_some()),
            ("--again", self.again),
        ];
        let (way, unused) = match (self.list, self.offline, &self.import, &self.kit) {
            (true, ..) => ("--list", &all[..]),
            (_, true, ..) => ("--offline", &all[..]),
            (_, _, Some(_), _) => ("--import", &all[..]),
            (_, _, _, Some(_)) => ("--kit", &all[..1]),
            _ => return Ok(()),
        };
        match unused.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::new(format!(
                "{option} given with {way}, which has no use for it; expected one of them"
            ))),
            None => Ok(()),
        }
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(ROUNDS as u32)
    }

    /// The name of the recurrence whose results are listed, where one is given: also of one whose text is gone.
    fn listed(&self) -> Result<Option<String>, Failure> {
        match (&self.place, &self.file) {
            (None, None) => Ok(None),
            (place, file) => match Source::given(place.as_deref(), file.as_deref()) {
                Ok(source) => Ok(Some(source.parse()?.name)),
                Err(why) => place.clone().map(Some).ok_or(why),
            },
        }
    }

    fn jobs(&self) -> Result<Vec<Job>, Failure> {
        let given = || Source::given(self.place.as_deref(), self.file.as_deref());
        match (&self.shape, &self.shapes) {
            (Some(shape), _) => Ok(vec![Job {
                source: given()?,
                shape: shape.clone(),
            }]),
            (None, Some(path)) => {
                // Once for all lines: a standard input is read once.
                let given = match (&self.place, &self.file) {
                    (None, None) => None,
                    _ => Some(given()?),
                };
                let wrong = |why: String| Failure::new(format!("`{}`: {why}", path.display()));
                let text = std::fs::read_to_string(path).map_err(|why| wrong(why.to_string()))?;
                let lines = text
                    .lines()
                    .map(|line| line.split('#').next().unwrap_or_default().trim());
                let mut jobs = vec![];
                for line in lines.filter(|line| !line.is_empty()) {
                    // A shape may have spaces too.
                    let (name, shape) = match line.split_once(char::is_whitespace) {
                        Some((name, shape)) if !name.contains('=') => (Some(name), shape),
                        _ => (None, line),
                    };
                    if self.file.is_some() && name.is_some() {
                        return Err(wrong(format!(
                            "`{line}`, expected a shape alone, as --file gives the recurrence"
                        )));
                    }
                    let shape = shape
                        .parse()
                        .map_err(|why| wrong(format!("`{line}`: {why}")))?;
                    let source = match (name, &given) {
                        (Some(name), _) => Source::find(name)?,
                        (None, Some(given)) => given.clone(),
                        (None, None) => {
                            return Err(wrong(format!(
                                "`{line}`, expected `NAME SHAPE`, or a shape where a recurrence is given"
                            )));
                        }
                    };
                    jobs.push(Job { source, shape });
                }
                match jobs.is_empty() {
                    true => Err(wrong("holds no shape, expected one a line".into())),
                    false => Ok(jobs),
                }
            }
            (None, None) => Err(Failure::new(
                "no shape given, expected --shape T=2048,H=16,.. or --shapes FILE",
            )),
        }
    }

    fn offline(&self, job: &Job, folder: &Path, context: &Context) -> Result<(), Failure> {
        let (recurrence, facts) = job.source.verify()?;
        let (sizes, run) = job.shape.run(&recurrence)?;
        let subject = Subject::new(recurrence, facts, sizes, run, 1)
            .map_err(|list| job.source.failure(list))?;
        let order = offline::Order {
            subject: &subject,
            dtype: self.dtype,
            chip: &self.chip,
            most: self.candidates,
            folder,
        };
        order.write(context)
    }

    fn one(&self, job: &Job, until: Option<Instant>, output: Output) -> Result<Ended, Failure> {
        let (recurrence, facts) = job.source.verify()?;
        let (sizes, run) = job.shape.run(&recurrence)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let subject = Subject::new(recurrence, facts, sizes, run, self.threads.unwrap_or(cores))
            .map_err(|list| job.source.failure(list))?;
        let folder = choices::folder()?;
        let store = match &self.into {
            Some(file) if file.exists() => Store::empty().with_file(file)?,
            Some(_) => Store::empty(),
            None => Store::empty().with_folder(&folder)?,
        };
        let key = subject.key();
        let journal = Journal::at(&folder.join(format!("{}.journal", key.file_stem())));
        let known = store.find(&subject.compiler, subject.load());
        // One that is there and was begun anew is not done before that is.
        let done = !self.again && !journal.begun();
        if let Some(found) = known.filter(|found| !found.stale && done) {
            return Ok(Ended::Entry {
                entry: Box::new(found.entry.clone()),
                before: true,
            });
        }
        let mut journal = match self.again {
            true => journal.anew(),
            false => journal,
        };
        let bar = bar(&key.text());
        let mut watch = counted(&bar);
        let terms = terms(self.rounds(), until);
        let mut workshop = Workshop::cpu(&subject, cpu_name());
        let outcome = match tune(&subject, &mut workshop, &mut journal, terms, &mut watch) {
            // One shape whose rules' plan is off, or whose truth is no number, does not stop the others.
            Err(
                why @ (baton_tune::Error::Default { .. } | baton_tune::Error::NotFinite { .. }),
            ) if self.shapes.is_some() => {
                bar.finish_and_clear();
                let (what, why) = (key.text(), why.to_string());
                output.note(&format!("{what}: {why}"));
                return Ok(Ended::Refused { what, why });
            }
            outcome => outcome?,
        };
        bar.finish_and_clear();
        match outcome {
            Outcome::Done(entry) => {
                match &self.into {
                    Some(file) => entry.write_into(file)?,
                    None => drop(entry.write(&folder)?),
                }
                journal.done()?;
                output.note(&format!("{}: tuned in {:.0} s", key.text(), entry.seconds));
                Ok(Ended::Entry {
                    entry,
                    before: false,
                })
            }
            Outcome::Unfinished(progress) => Ok(Ended::Unfinished {
                what: key.text(),
                progress,
                again: self.again,
            }),
        }
    }
}
