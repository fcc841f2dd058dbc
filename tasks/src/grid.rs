//! Trials over lengths and depths, and their scores with confidence intervals.
//!
//! A trial's random numbers come from the seed, the task's name, its place and its number: a cell
//! is the same whatever other cells are run. Intervals are Wilson's at 95 % with one observation a
//! trial; for a score between 0 and 1 within a trial they are wider than needed, never narrower.

use super::predict::Predict;
use super::{Ask, Codec, Place, Said, Task, Trial};
use baton_data::rng::{Purpose, Rng};
use baton_data::{Error, fnv};
use serde::Serialize;

/// What is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Lengths of trials.
    pub lengths: Vec<usize>,
    /// Depths of what is hidden, for tasks that hide something; empty: anywhere.
    pub depths: Vec<f64>,
    /// Trials in a cell.
    pub trials: usize,
    /// Trials that are run side by side.
    pub batch: usize,
    /// Of all random choices.
    pub seed: u64,
}

/// One score over the trials of a cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Its name.
    pub name: String,
    /// The mean over trials.
    pub mean: f64,
    /// The lower end of the 95 % confidence interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// What blind guessing would score, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chance: Option<f64>,
}

/// The scores at one place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Its length.
    pub length: usize,
    /// Its depth; absent: anywhere, or nothing is hidden.
    pub depth: Option<f64>,
    /// Its trials.
    pub trials: usize,
    /// The most tokens that one of its trials had, continuation included.
    pub tokens: usize,
    /// Trials whose logits were not finite: what they scored says nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_finite: usize,
    /// Why it was not asked, where no trial of it can be made; then it has no scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Its scores.
    pub scores: Vec<Score>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// All cells of one task, length by length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// The task's name.
    pub task: String,
    /// The cells.
    pub cells: Vec<Cell>,
}

/// One trial that was asked.
pub struct Sample<'a> {
    /// The task's name.
    pub task: &'a str,
    /// Where it lies.
    pub place: Place,
    /// Its number in its cell.
    pub number: usize,
    /// What was read and what asked.
    pub trial: &'a Trial,
    /// What was said.
    pub said: &'a Said,
    /// The scores of that, by name.
    pub scores: Vec<(&'a str, f64)>,
}

/// The most tokens that lie in memory side by side, `batch` trials of a length: a task keeps up to 24
/// bytes for each.
const MOST_TOKENS: usize = 1 << 28;
/// The most trials side by side.
const MOST_TRIALS: usize = 1 << 16;

impl Plan {
    /// Refuses a plan that would run nothing, or more at once than memory holds.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        if self.lengths.is_empty() || self.trials == 0 || self.batch == 0 {
            return wrong(format!(
                "{} lengths, {} trials, batch {} given, expected at least 1 each",
                self.lengths.len(),
                self.trials,
                self.batch
            ));
        }
        let batch = self.batch.min(self.trials);
        if batch > MOST_TRIALS {
            return wrong(format!(
                "{batch} trials side by side given, expected at most {MOST_TRIALS}"
            ));
        }
        let most = MOST_TOKENS / batch;
        if let Some(length) = self.lengths.iter().find(|&&length| length > most) {
            return wrong(format!(
                "length {length} given for {batch} trials side by side, expected at most {most}, or \
                 fewer trials at once (at most {MOST_TOKENS} tokens in all)"
            ));
        }
        match self.depths.iter().find(|d| !(0.0..=1.0).contains(*d)) {
            Some(depth) => wrong(format!("depth {depth} given, expected one from 0 to 1")),
            None => Ok(()),
        }
    }

    /// The places of `task`, length by length.
    pub fn places(&self, task: &dyn Task) -> Vec<Place> {
        let depths: Vec<Option<f64>> = match task.has_depth() && !self.depths.is_empty() {
            true => self.depths.iter().copied().map(Some).collect(),
            false => vec![None],
        };
        let lengths = self.lengths.iter();
        let place = |&length| depths.iter().map(move |&depth| Place { length, depth });
        lengths.flat_map(place).collect()
    }

    /// About how many tokens will be read: what a progress bar counts to.
    pub fn tokens(&self, task: &dyn Task) -> usize {
        let places = self.places(task);
        let tokens = places.iter().map(|p| p.length.saturating_mul(self.trials));
        tokens.fold(0, usize::saturating_add)
    }
}

/// The random numbers of a trial.
pub fn numbers(seed: u64, task: &dyn Task, place: Place, trial: usize) -> Rng {
    let depth = place.depth.map_or(u64::MAX, f64::to_bits);
    let rest = [place.length as u64, depth, trial as u64];
    let bytes = rest.iter().flat_map(|x| x.to_le_bytes());
    let name = task.name();
    let hash = fnv(name.bytes().chain(bytes).map(u64::from));
    Rng::at(seed, Purpose::Trials, hash)
}

/// Runs `task` over the places of `plan`, at each of which trials must be possible. `each` hears a place and
/// how many of its tokens, counted as [`Plan::tokens`] counts, are done.
pub fn run(
    task: &dyn Task,
    plan: &Plan,
    codec: &dyn Codec,
    model: &mut dyn Predict,
    each: &mut dyn FnMut(Place, usize),
) -> Result<Grid, Error> {
    let grid = run_where_possible(task, plan, codec, model, each, &mut |_| {})?;
    match grid.cells.iter().find_map(|cell| cell.refused.clone()) {
        None => Ok(grid),
        Some(why) => Err(Error::Config(why)),
    }
}

/// As [`run`], but a place at which no trial can be made is refused in its cell and stops nothing else. `sample`
/// hears every trial.
pub fn run_where_possible(
    task: &dyn Task,
    plan: &Plan,
    codec: &dyn Codec,
    model: &mut dyn Predict,
    each: &mut dyn FnMut(Place, usize),
    sample: &mut dyn FnMut(Sample),
) -> Result<Grid, Error> {
    plan.check()?;
    let (name, mut cells) = (task.name(), Vec::new());
    for place in plan.places(task) {
        let mut sums = vec![0.0; task.scores().len()];
        let (mut done, mut tokens, mut refused) = (0, 0, None);
        while done < plan.trials {
            let size = plan.batch.min(plan.trials - done);
            let trials = (done..done + size)
                .map(|trial| task.trial(place, &mut numbers(plan.seed, task, place, trial)))
                .collect::<Result<Vec<_>, _>>();
            let trials = match trials {
                Ok(trials) => trials,
                Err(why) => {
                    each(place, place.length.saturating_mul(plan.trials - done));
                    refused = Some(why.to_string());
                    break;
                }
            };
            let mut read = 0;
            let said = answers(&trials, codec, model, &mut |part| {
                let now = (part * (size * place.length) as f64) as usize;
                each(place, now.saturating_sub(read));
                read = read.max(now);
            })?;
            each(place, size * place.length - read);
            for (i, (trial, said)) in trials.iter().zip(&said).enumerate() {
                let more = match trial.ask {
                    Ask::Forced(_) => 0,
                    Ask::Greedy { count, .. } => count,
                };
                tokens = tokens.max(trial.tokens.len() + more);
                let scores = task.score(trial, said);
                sums.iter_mut().zip(&scores).for_each(|(sum, s)| *sum += s);
                sample(Sample {
                    task: &name,
                    place,
                    number: done + i,
                    trial,
                    said,
                    scores: task.scores().iter().copied().zip(scores).collect(),
                });
            }
            done += size;
        }
        let chance = task.chance();
        let scores = task.scores().iter().zip(sums).enumerate();
        let scores = scores
            .filter(|_| refused.is_none())
            .map(|(i, (name, sum))| {
                let chance = chance.as_ref().map(|chance| chance[i]);
                Score::of(name, sum, plan.trials, chance)
            });
        let scores = scores.collect();
        cells.push(Cell {
            length: place.length,
            depth: place.depth,
            trials: plan.trials,
            tokens,
            not_finite: model.not_finite(),
            refused,
            scores,
        });
    }
    Ok(Grid { task: name, cells })
}

impl Score {
    /// The mean of `count` observations that add up to `sum`.
    pub(super) fn of(name: &str, sum: f64, count: usize, chance: Option<f64>) -> Self {
        let mean = sum / count as f64;
        let (low, high) = wilson(mean, count);
        Score {
            name: name.to_string(),
            mean,
            low,
            high,
            chance,
        }
    }
}

/// What `model` says to each trial; all trials ask in the same way.
pub(super) fn answers(
    trials: &[Trial],
    codec: &dyn Codec,
    model: &mut dyn Predict,
    each: &mut dyn FnMut(f64),
) -> Result<Vec<Said>, Error> {
    let Some(Ask::Greedy { count, .. }) = trials.first().map(|trial| &trial.ask) else {
        let said = model.forced(trials, each)?;
        return Ok(said.into_iter().map(Said::Tokens).collect());
    };
    let prompts: Vec<&[u32]> = trials.iter().map(|t| t.tokens.as_slice()).collect();
    let said = model.greedy(&prompts, *count, each)?;
    let texts = prompts.iter().zip(&said);
    texts
        .map(|(prompt, tokens)| codec.text_after(prompt, tokens).map(Said::Text))
        .collect()
}

/// Wilson's interval at 95 % of a share of `count` trials.
pub fn wilson(share: f64, count: usize) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let n = count as f64;
    let scale = 1.0 / (1.0 + Z * Z / n);
    let centre = scale * (share + Z * Z / (2.0 * n));
    let spread = scale * Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - spread).max(0.0), (centre + spread).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_is_the_published_interval() {
        let (low, high) = wilson(0.5, 100);
        assert!((low - 0.40383).abs() < 1e-5 && (high - 0.59617).abs() < 1e-5);
        let (low, high) = wilson(0.0, 20);
        assert!(low == 0.0 && (high - 0.16113).abs() < 1e-5, "{high}");
    }
}
