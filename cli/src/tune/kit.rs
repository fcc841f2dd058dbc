//! `baton tune --kit` and `--import`: a kit tuned where a GPU is, or on the emulator, and its result taken over.

use super::terms::{bar, counted, late};
use crate::choices;
use crate::context::Context;
use crate::device::Name;
use crate::emit::write;
use crate::failure::Failure;
use crate::output::Output;
use baton_runtime::Device;
use baton_runtime::device::cuda::{Cuda, Stopwatch};
use baton_runtime::device::gpu::{Emulator, Gpu, Ledger};
use baton_tune::kit::{Times, gpu};
use baton_tune::{
    Bench, Clock, Entry, Error, Journal, Kept, Key, Kit, Outcome, Schedule, Terms, tune_kit,
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Instructions of warps that count as a millisecond where instructions are the clock.
const A_MILLISECOND: f64 = 1e6;

/// Where results of a kit, or of one's own, lie.
pub fn folder() -> Result<PathBuf, Failure> {
    Ok(choices::folder()?.join("gpu"))
}

/// Tunes a kit.
pub fn tune(
    folder: &Path,
    device: Name,
    terms: Terms,
    again: bool,
    context: &Context,
) -> Result<(), Failure> {
    let kit = Kit::read(folder)?;
    let subject = kit.subject()?;
    let mut bench = bench(device, &kit)?;
    let key = kit.key(&subject, &bench.target);
    let journal = Journal::at(&folder.join(format!("{}.journal", key.file_stem())));
    let mut journal = match again {
        true => journal.anew(),
        false => journal,
    };
    let bar = bar(&key.text());
    let mut watch = counted(&bar);
    let outcome = tune_kit(
        (&kit, folder, &subject),
        &mut bench,
        &mut journal,
        terms,
        &mut watch,
    )?;
    bar.finish_and_clear();
    match outcome {
        Outcome::Done(entry) => {
            let file = folder.join(format!("result-{}.json", key.file_stem()));
            let kept = kit.keep(folder, *entry)?;
            write(&file, kept.print())?;
            journal.done()?;
            context.output.result(
                || json!({ "result": file.display().to_string(), "entry": kept.entry }),
                || {
                    format!(
                        "{}  in {}: `baton tune --import` takes it over\n",
                        described(&kept.entry),
                        file.display()
                    )
                },
            )
        }
        Outcome::Unfinished(progress) => context.output.result(
            || {
                json!({
                    "unfinished": key.text(),
                    "judged": progress.judged,
                    "field": progress.field,
                    "steps": progress.done,
                    "steps_at_most": progress.of,
                })
            },
            || format!("{}: {}\n", key.text(), late(&progress, again)),
        ),
    }
}

fn bench(device: Name, kit: &Kit) -> Result<Bench<'static>, Failure> {
    match device {
        Name::Emulator => {
            let ledger = Ledger::default();
            let of = ledger.clone();
            let device = move |gpu: Gpu| -> Result<Box<dyn Device>, Error> {
                let mut device = Emulator::new(gpu);
                device.ledger = Some(of.clone());
                Ok(Box::new(device))
            };
            let time: Times<'static> = Box::new(move |run| {
                ledger.take();
                run()?;
                let executed: u64 = ledger.take().iter().map(|(_, counts)| counts.total()).sum();
                Ok(executed as f64 / A_MILLISECOND)
            });
            Ok(Bench {
                device: Box::new(device),
                time,
                clock: Clock::Instructions,
                machine: "the emulator".into(),
                target: device_name(Name::Emulator, ""),
            })
        }
        Name::Cuda => {
            let stopwatch = Stopwatch::default();
            let base = gpu(&kit.dtype).expect("a kit that was read has a dtype that there is");
            let cuda = Cuda::new(0, base)?.timed(stopwatch.clone());
            let machine = format!("{}, driver {}", cuda.gpu(), cuda.driver());
            let target = device_name(Name::Cuda, cuda.gpu());
            let device = move |gpu: Gpu| -> Result<Box<dyn Device>, Error> {
                Ok(Box::new(cuda.with_target(gpu)?))
            };
            let time: Times<'static> = Box::new(move |run| {
                stopwatch.take();
                run()?;
                Ok(stopwatch.take())
            });
            Ok(Bench {
                device: Box::new(device),
                time,
                clock: Clock::Wall,
                machine,
                target,
            })
        }
        other => Err(Failure::new(format!(
            "--device {} given, expected cuda or emulator: a kit is of a GPU's kernels",
            other.text()
        ))),
    }
}

/// What entries of a device are found by.
pub fn device_name(device: Name, gpu: &str) -> String {
    match device {
        Name::Cuda => format!("cuda {gpu}"),
        other => other.text().to_string(),
    }
}

/// Whether it is what entries of a device are found by.
pub fn is_of(key: &Key, device: Name) -> bool {
    key.target.split(' ').nth(1) == Some(device.text())
}

/// Every result that was taken over, in the order of their files.
pub fn kept() -> Result<Vec<Kept>, Failure> {
    // Where nothing can be kept, nothing is.
    let Some(folder) = folder().ok().filter(|folder| folder.exists()) else {
        return Ok(vec![]);
    };
    let wrong = |why: std::io::Error| Failure::new(format!("`{}`: {why}", folder.display()));
    let files = std::fs::read_dir(&folder).map_err(wrong)?;
    let files = files.map(|file| file.map(|file| file.path()));
    let mut files = files.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    let all = files.iter().map(|file| Kept::read(file));
    Ok(all.collect::<Result<_, _>>()?)
}

/// Takes a result over into one's own.
pub fn import(file: &Path, device: Name, output: Output) -> Result<(), Failure> {
    let kept = Kept::read(file)?;
    let Entry { key, clock, .. } = &kept.entry;
    if !is_of(key, device) {
        return Err(Failure::new(format!(
            "`{}` is a result of `{}` given with --device {}, expected one of {0}",
            file.display(),
            key.target,
            device.text(),
        )));
    }
    if device == Name::Cuda && *clock != Clock::Wall {
        return Err(Failure::new(format!(
            "`{}` was raced by instructions, expected seconds: what an emulator counts is no GPU's time",
            file.display()
        )));
    }
    let place = folder()?.join(format!("{}.json", key.file_stem()));
    if let Some(parent) = place.parent() {
        crate::emit::make_folder(parent)?;
    }
    write(&place, kept.print())?;
    output.result(
        || json!({ "kept": place.display().to_string(), "entry": kept.entry }),
        || format!("{}  kept in {}\n", described(&kept.entry), place.display()),
    )
}

/// In words.
pub fn described(entry: &Entry<Schedule>) -> String {
    let unit = match entry.clock {
        Clock::Wall => "ms",
        Clock::Instructions => "million instructions",
    };
    let rules = entry.tried.first().map(|tried| tried.choice.text());
    let mut text = format!("{} on {}\n", entry.key.text(), entry.machine);
    let mut line = |what: &str, schedule: &str, m: &baton_tune::Measured| {
        text += &format!(
            "  {what:<6} {:>9.3} {unit} ({:.3} to {:.3}, {} rounds)  {schedule}\n",
            m.median, m.p10, m.p90, m.rounds
        );
    };
    line("rules", &rules.unwrap_or_default(), &entry.default);
    match &entry.choice {
        Some(schedule) => line("tuned", &schedule.text(), &entry.tuned),
        None => text += "  tuned      the rules' schedule: nothing is faster beyond the noise\n",
    }
    let correlation = entry
        .rank_correlation
        .map_or("-".into(), |r| format!("{r:.2}"));
    text += &format!(
        "  errors {:.1e} outputs, {:.1e} gradients; {} tried; the prediction's rank correlation {correlation}; {:.0} s\n",
        entry.errors.outputs,
        entry.errors.gradients,
        entry.tried.len(),
        entry.seconds
    );
    for tried in &entry.tried {
        if let Some(reason) = &tried.rejected {
            text += &format!("  rejected   {}: {reason}\n", tried.choice.text());
        }
    }
    text
}
