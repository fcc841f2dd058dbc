//! Doing what of a plan is not done yet, one job after another; several ranks do each together.
//!
//! What is done is what files say. The first rank looks, and the others hear it: files that they share may be there for one
//! and not yet for another.

use super::data;
use super::jobs::{Job, RunFile};
use super::measure::Ready;
use crate::Error;
use crate::eval::{Checkpoint, Subject, progress};
use crate::ranks::{self, Group};
use crate::runs::{self, Place};
use baton_data::files::write_whole;
use baton_data::{Source, Text};
use baton_runtime::Device;
use baton_tasks::measures::{Measurement, RUN};
use baton_tasks::{Material, TaskConfig, TaskSource};
use baton_weights::checkpoint::{CHECKPOINT, fingerprint};
use baton_weights::origin::Origin;
use baton_weights::pretrained;
use indicatif::HumanDuration;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Where, which, by whom, and what is shown.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The experiment's folder.
    pub folder: PathBuf,
    /// Jobs whose folder's name has this in it, and the bases that these need; all when absent.
    pub only: Option<String>,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Whether progress is shown.
    pub progress: bool,
    /// Where the text is, for checkpoints.
    pub origin: Origin,
    /// The ranks that do it together; the first of them writes and speaks.
    pub group: Rc<dyn Group>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Done {
    /// Runs of the plan that were looked at.
    pub runs: usize,
    /// Those trained now.
    pub trained: usize,
    /// Measurements made now.
    pub measured: usize,
    /// Measurements that were there.
    pub kept: usize,
}

/// Does the jobs in order; `say` hears one line before each piece of work.
pub fn run(
    jobs: &[Job],
    text: &Text,
    settings: &Settings,
    device: &dyn Device,
    say: &mut dyn FnMut(String),
) -> Result<Done, Error> {
    data::check(jobs, &settings.folder, text, &settings.origin)?;
    let jobs = chosen(jobs, settings.only.as_deref())?;
    let ready = |job: &Job| {
        let length = job.config.train_length;
        let one = |(name, evaluation): &(String, _)| {
            let found = Ready::new(evaluation, length);
            let found = found.and_then(|ready| ready.check(text).map(|()| ready));
            let wrong =
                |why: Error| Error::Config(format!("evaluation `{name}` of {}: {why}", job.folder));
            Ok((name.clone(), found.map_err(wrong)?))
        };
        job.evaluations
            .iter()
            .map(one)
            .collect::<Result<Vec<_>, Error>>()
    };
    let work = jobs.iter().map(|job| Ok((job, ready(job)?)));
    let work: Vec<(&Job, Vec<(String, Ready)>)> = work.collect::<Result<_, Error>>()?;
    let group = &*settings.group;
    let first = group.rank() == 0;
    let held_out = text.held_out_fingerprint();
    let mut left = 0.0;
    for (job, evaluations) in &work {
        let folder = settings.folder.join(&job.folder);
        if !heard(group, || finished(job, &settings.folder))? {
            left += cost(job, trained_tokens(job));
        }
        for (name, ready) in evaluations {
            if !heard(group, || measured(ready, &folder, name, &held_out))? {
                left += cost(job, ready.tokens());
            }
        }
    }
    let mut clock = Clock::new(left);
    let mut done = Done {
        runs: work.len(),
        ..Done::default()
    };
    for (number, (job, evaluations)) in work.iter().enumerate() {
        let folder = settings.folder.join(&job.folder);
        let title = |what: &str| format!("[{}/{}] {}: {what}", number + 1, work.len(), job.folder);
        if !heard(group, || finished(job, &settings.folder))? {
            say(format!("{}, {}", title("train"), clock.left()));
            train(job, text, settings, device)?;
            clock.did(cost(job, trained_tokens(job)));
            done.trained += 1;
        }
        let mut subject = None;
        for (name, ready) in evaluations {
            let path = file(&folder, name);
            if heard(group, || measured(ready, &folder, name, &held_out))? {
                done.kept += 1;
                continue;
            }
            say(format!("{}, {}", title(name), clock.left()));
            let subject = match &subject {
                Some(subject) => subject,
                None => subject.insert(Subject::open(&folder.join(CHECKPOINT), device)?),
            };
            let bar = progress((settings.progress && first).then_some(name), ready.tokens());
            let found = ready.run(subject, text, group, &mut |tokens| bar.inc(tokens as u64))?;
            bar.finish_and_clear();
            if first {
                found.write(&path)?;
            }
            clock.did(cost(job, ready.tokens()));
            done.measured += 1;
        }
    }
    Ok(done)
}

/// What the first rank finds, on all of them.
fn heard(group: &dyn Group, find: impl FnOnce() -> Result<bool, Error>) -> Result<bool, Error> {
    let own = match group.rank() {
        0 => find()?,
        _ => false,
    };
    Ok(ranks::any(group, own))
}

/// The jobs with `only` in their folder's name, and those whose weights they begin from.
fn chosen(jobs: &[Job], only: Option<&str>) -> Result<Vec<Job>, Error> {
    let Some(only) = only else {
        return Ok(jobs.to_vec());
    };
    let matches = |job: &Job| job.folder.contains(only);
    let needed = |job: &Job| {
        let mut users = jobs.iter().filter(|user| matches(user));
        users.any(|user| user.from.as_ref() == Some(&job.folder))
    };
    let one = |job: &Job| match (matches(job), needed(job)) {
        (true, _) => Some(job.clone()),
        (false, true) => Some(Job {
            evaluations: Vec::new(),
            ..job.clone()
        }),
        _ => None,
    };
    let found: Vec<Job> = jobs.iter().filter_map(one).collect();
    match found.is_empty() {
        false => Ok(found),
        true => Err(Error::Config(format!(
            "--only {only} given, which is in no run's name: expected a part of one, as `--list` shows them"
        ))),
    }
}

fn train(job: &Job, text: &Text, settings: &Settings, device: &dyn Device) -> Result<(), Error> {
    let folder = settings.folder.join(&job.folder);
    let task = match &job.task {
        None => None,
        Some(line) => {
            let config: TaskConfig = line.parse()?;
            let read = || String::from_utf8_lossy(&text.train).into();
            let haystack = job.haystack.then(read);
            Some(TaskSource::new(config, &Material::bytes(haystack))?)
        }
    };
    let source: &dyn Source = match &task {
        Some(task) => task,
        None => text,
    };
    let place = Place {
        checkpoint_every: settings.checkpoint_every,
        title: settings.progress.then(|| "train".to_string()),
        origin: origin(job, &settings.origin),
        group: settings.group.clone(),
        ..Place::new(&folder)
    };
    let ended = match &job.from {
        None => runs::train(&job.config, source, &place, device)?,
        Some(from) => {
            let from = settings.folder.join(from).join(CHECKPOINT);
            runs::train_from(&from, &job.config, source, &place, device)?
        }
    };
    if settings.group.rank() > 0 {
        return Ok(());
    }
    let stored = RunFile {
        label: job.label.clone(),
        config: job.config.clone(),
        task: job.task.clone(),
        haystack: job.haystack,
        text: text.name.clone(),
        data: Some(text.fingerprint()),
        progress: ended.progress,
        weights: Some(fingerprint(&pretrained::read(&ended.checkpoint)?.weights)),
        from: began_from(job, &settings.folder)?,
    };
    let path = folder.join(RUN);
    let mut json = serde_json::to_vec_pretty(&stored).map_err(|e| Error::file(&path, e))?;
    json.push(b'\n');
    Ok(write_whole(&path, &json)?)
}

/// Where the data of a job is, whose text is at `text`; nothing says a task in the novels.
fn origin(job: &Job, text: &Origin) -> Option<Origin> {
    let Some(task) = &job.task else {
        return Some(text.clone());
    };
    let haystack = match (job.haystack, text) {
        (false, _) => None,
        (true, Origin::Text { path, .. }) => Some(path.clone()),
        (true, _) => return None,
    };
    let task = task.clone();
    Some(Origin::Task { task, haystack })
}

/// The fingerprint of the weights that a job begins from, as its base's file says.
fn began_from(job: &Job, all: &Path) -> Result<Option<String>, Error> {
    let base = job.from.as_ref().map(|from| all.join(from).join(RUN));
    let base = base.map(|path| read::<RunFile>(&path)).transpose()?;
    Ok(base.flatten().and_then(|base| base.weights))
}

/// Whether the training is done; refuses a folder of another configuration, or of one that began from other weights.
fn finished(job: &Job, all: &Path) -> Result<bool, Error> {
    let path = all.join(&job.folder).join(RUN);
    let Some(stored) = read::<RunFile>(&path)? else {
        return Ok(false);
    };
    if let (Some(then), Some(now)) = (&stored.from, began_from(job, all)?)
        && *then != now
    {
        return Err(Error::file(
            &path,
            "a run from other weights than its base has now, expected those: remove its folder, or choose another name",
        ));
    }
    let source = (&stored.task, stored.haystack) == (&job.task, job.haystack);
    match stored.config == job.config && source {
        true => Ok(true),
        false => Err(Error::file(
            &path,
            "a run of another configuration, expected the plan's: choose another folder or name",
        )),
    }
}

/// Whether the measurement of a run is there, with these options, of the weights that the run has now and of the text that is
/// `held_out` now.
fn measured(ready: &Ready, folder: &Path, name: &str, held_out: &str) -> Result<bool, Error> {
    let run = read::<RunFile>(&folder.join(RUN))?;
    let now = run.and_then(|run| run.weights);
    let stored = read::<Measurement<Checkpoint>>(&file(folder, name))?;
    Ok(stored.is_some_and(|stored| {
        let weights = now.is_none_or(|now| stored.checkpoint.weights == now);
        // Older files do not say what they read.
        let read = stored.data.is_none_or(|data| data == held_out);
        weights && read && stored.options == ready.options()
    }))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read(path).map_err(|e| Error::file(path, e))?;
    let value = serde_json::from_slice(&text);
    value.map(Some).map_err(|e| Error::file(path, e))
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

/// Forward and backward count as three forwards.
fn trained_tokens(job: &Job) -> usize {
    let config = &job.config;
    3 * config.schedule.steps as usize * config.batch_size * config.train_length
}

/// About as many multiplications as `tokens` cost, for guessing the time left.
fn cost(job: &Job, tokens: usize) -> f64 {
    let model = &job.config.model;
    let layer = 6 * model.hidden_size * model.hidden_size;
    let weights = model.num_hidden_layers * layer + model.vocab_size * model.hidden_size;
    weights as f64 * tokens as f64
}

/// Guesses the time left from the work done since the beginning.
struct Clock {
    begun: Instant,
    left: f64,
    done: f64,
}

impl Clock {
    fn new(left: f64) -> Self {
        Clock {
            begun: Instant::now(),
            left,
            done: 0.0,
        }
    }

    fn did(&mut self, work: f64) {
        self.left -= work;
        self.done += work;
    }

    fn left(&self) -> String {
        let gone = self.begun.elapsed();
        if self.done == 0.0 {
            return "time left not known yet".into();
        }
        let seconds = gone.as_secs_f64() * (self.left / self.done).max(0.0);
        let left = Duration::from_secs_f64(seconds);
        format!(
            "{} gone, about {} left",
            HumanDuration(gone),
            HumanDuration(left)
        )
    }
}
