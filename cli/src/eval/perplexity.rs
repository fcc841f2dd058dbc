//! `baton eval perplexity`: perplexity by position.

use super::given::{Given, number};
use super::logits::{at, states};
use crate::context::Context;
use crate::failure::Failure;
use crate::numbers;
use baton_tasks::measures::{ByPosition, Measurement};
use baton_tasks::tokens;
use baton_train::eval::SIDE_BY_SIDE;
use baton_train::eval::logits::initial;
use baton_train::eval::perplexity::{Options, by_position};
use std::path::{Path, PathBuf};

/// How well each token is predicted, by how many were read before it
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton eval perplexity --checkpoint runs/small/checkpoint.safetensors \
    --text book.txt --length 64k --sequences 8 --output runs/small/perplexity.json"
)]
pub struct Perplexity {
    #[command(flatten)]
    given: Given,
    /// Tokens of each sequence, also as 64k or 1m (times 1024), or as 16x the training length
    #[arg(long, default_value = "4096")]
    length: String,
    /// Sequences, evenly spread over the held-out text; fewer when they would overlap
    #[arg(long, default_value = "64", value_parser = numbers::count())]
    sequences: usize,
    /// Tokens that are run at once
    #[arg(long, default_value = "256", value_parser = numbers::segment())]
    segment: usize,
    /// Sequences that are run side by side; ranks take one batch after another
    #[arg(long, default_value_t = SIDE_BY_SIDE, value_parser = numbers::count())]
    batch: usize,
    /// Buckets to each doubling of the position
    #[arg(long, default_value_t = 1)]
    per_octave: usize,
    /// The states that every sequence begins from, as `baton eval logits --states` writes those of
    /// one sequence; zero when absent
    #[arg(long, value_name = "S.safetensors")]
    initial_state: Option<PathBuf>,
}

impl Perplexity {
    pub fn run(mut self, context: &Context) -> Result<(), Failure> {
        self.given.read.extend(self.initial_state.clone());
        let subject = self.given.subject(context)?;
        let (name, text) = self.given.text(&subject)?;
        let known = subject.checkpoint.train_length;
        let length = tokens(&self.length, known)?;
        let options = Options {
            train_length: known.unwrap_or(length),
            length,
            sequences: self.sequences,
            segment: self.segment,
            batch: self.batch,
            per_octave: self.per_octave,
            initial_state: file_name(self.initial_state.as_deref()),
        };
        let work = length.saturating_mul(self.sequences);
        let bar = self.given.bar(context, "perplexity", work)?;
        let mut each = |tokens| bar.inc(tokens as u64);
        if self.initial_state.is_some() && subject.model.has_memory() {
            return Err(Failure::new(
                "--initial-state given with a model of chunks of what it has read, expected none: states in a file hold no chunks",
            ));
        }
        let first = match &self.initial_state {
            Some(path) => Some(
                initial(
                    &subject.config,
                    1,
                    states(path, Some(&subject.checkpoint.weights))?,
                )
                .map_err(|e| at(path, &e.to_string()))?,
            ),
            None => None,
        };
        let result = by_position(
            &subject.model,
            &text,
            &options,
            first,
            &*context.ranks()?,
            &mut each,
        )?;
        bar.finish_and_clear();
        let shown = table(&name, &result);
        let measurement = Measurement::new(
            "perplexity",
            &subject.checkpoint,
            Some(name),
            &options,
            &result,
            context.started.elapsed().as_secs_f64(),
        )?;
        self.given.finish(context, measurement, shown)
    }
}

fn file_name(path: Option<&Path>) -> Option<String> {
    let name = path?.file_name()?;
    Some(name.to_string_lossy().into_owned())
}

fn table(text: &str, result: &ByPosition) -> String {
    let mut shown = format!(
        "{text}, {} sequences\n{:>12}{:>12}   95 % interval\n",
        result.sequences, "up to", "perplexity"
    );
    for (i, (position, loss)) in result.positions.iter().zip(&result.loss).enumerate() {
        shown.push_str(&format!("{position:>12}{:>12}", number(loss.exp(), 3)));
        if let Some(interval) = &result.interval {
            let [low, high] = interval[i].map(|end| number(end.exp(), 3));
            shown.push_str(&format!("   {low} to {high}"));
        }
        shown.push('\n');
    }
    shown
}
