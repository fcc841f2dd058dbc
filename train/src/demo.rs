//! The demonstration: a small Mamba-2 fails past its training length, and state passing repairs it.
//!
//! Train on short segments; evaluate far past them on text that training never saw; post-train the
//! same weights for the same few steps twice, from zero states (the control: more training alone)
//! and from passed states; evaluate both. Nothing is chosen by the plotted text. Models of
//! an experiment that were kept can stand in for the training.

use crate::Error;
use crate::reproduce::RunFile;
use crate::runs::{self, Ended, Place, PostTraining};
use baton_config::small::base_config;
use baton_config::{InitialStateConfig, TrainConfig};
use baton_data::{HELD_OUT, Text, novels};
use baton_runtime::Device;
use baton_weights::checkpoint::Progress;
use std::path::{Path, PathBuf};

/// What a person may choose about the demonstration.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where everything is written.
    pub folder: PathBuf,
    /// A text of one's own instead of the novels that come with the program.
    pub text: Option<PathBuf>,
    /// A folder with [`KEPT`] in it to evaluate; trains when absent.
    pub kept: Option<PathBuf>,
    /// Of all random choices.
    pub seed: u64,
    /// Steps of training from fresh weights.
    pub steps: u64,
    /// Steps of each post-training.
    pub post_steps: u64,
    /// Tokens of each evaluated sequence.
    pub length: usize,
    /// Sequences that are evaluated.
    pub sequences: usize,
    /// Whether progress is shown.
    pub progress: bool,
}

impl DemoOptions {
    /// The demonstration as `make demo` runs it.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        DemoOptions {
            folder: folder.into(),
            text: None,
            kept: None,
            seed: 1,
            steps: 1000,
            post_steps: 300,
            length: 4096,
            sequences: 64,
            progress: true,
        }
    }
}

/// Folders of models that an experiment left: as trained, the control, and with state passing.
pub const KEPT: [&str; 3] = ["base", "zero-500-steps", "state-passing-500-steps"];

impl DemoOptions {
    /// Where one of its runs lives.
    fn place(&self, name: &str) -> Place {
        Place {
            title: self.progress.then(|| name.to_string()),
            ..Place::new(self.folder.join(name))
        }
    }
}

/// Runs it; writes report.json into the folder. A killed run resumes at its last checkpoint.
pub fn run(options: &DemoOptions, device: &dyn Device) -> Result<Report, Error> {
    let folder = &options.folder;
    let text = match &options.text {
        Some(path) => Text::read(path)?,
        None => novels::austen()?,
    };
    enough(&text, options.length)?;
    let (config, [base, control, passing]) = match &options.kept {
        Some(kept) => found(kept)?,
        None => trained(options, &text, device)?,
    };
    let mut positions = Vec::new();
    let mut arm = |ended: &Ended| -> Result<Arm, Error> {
        let (length, sequences) = (options.length, options.sequences);
        let title = options.progress.then_some("evaluate");
        let text = &text.held_out;
        let result = runs::evaluate(&ended.checkpoint, text, length, sequences, title, device)?;
        positions = result.positions;
        Ok(Arm {
            loss: result.loss,
            tokens_seen: ended.progress.tokens,
            seconds: ended.progress.seconds,
        })
    };
    let (base, control, state_passing) = (arm(&base)?, arm(&control)?, arm(&passing)?);
    let report = Report {
        train_length: config.train_length,
        positions,
        base,
        control,
        state_passing,
        seed: config.seed,
        text: text.name.clone(),
    };
    report.write(&folder.join("report.json"))?;
    Ok(report)
}

/// Refuses a text of which too little is held out for one sequence, before anything is trained.
fn enough(text: &Text, length: usize) -> Result<(), Error> {
    match text.held_out.len() {
        held if held > length => Ok(()),
        held => Err(Error::Config(format!(
            "{}: {held} bytes to evaluate given, expected at least {}: a text of {} bytes or more",
            text.name,
            length + 1,
            (length as f64 / HELD_OUT) as usize + 1
        ))),
    }
}

/// Trains the three.
fn trained(
    options: &DemoOptions,
    text: &Text,
    device: &dyn Device,
) -> Result<(TrainConfig, [Ended; 3]), Error> {
    let config = base_config(options.seed, options.steps);
    let base = runs::train(&config, text, &options.place("base"), device)?;
    let post = |name: &str, initial_state| {
        let seed = options.seed.wrapping_add(1);
        let post = PostTraining::new(initial_state, options.post_steps, seed);
        runs::post_train(&base.checkpoint, &post, text, &options.place(name), device)
    };
    let control = post("control", InitialStateConfig::Zero)?;
    let passing = post("state_passing", InitialStateConfig::state_passing())?;
    Ok((config, [base, control, passing]))
}

/// Finds the three, and how the first was trained.
fn found(kept: &Path) -> Result<(TrainConfig, [Ended; 3]), Error> {
    let files = KEPT.map(|name| RunFile::read(&kept.join(name)));
    let [base, control, passing] = files;
    let (base, control, passing) = (base?, control?, passing?);
    let ended = |progress: Progress, name| Ended {
        loss: None,
        data: String::new(),
        steps: progress.step,
        progress,
        checkpoint: kept.join(name),
        early: false,
    };
    let all = [
        ended(base.progress, KEPT[0]),
        ended(control.progress, KEPT[1]),
        ended(passing.progress, KEPT[2]),
    ];
    Ok((base.config, all))
}

mod report;
pub mod retrieval;

pub use report::{Arm, Report};
#[cfg(test)]
mod tests;
