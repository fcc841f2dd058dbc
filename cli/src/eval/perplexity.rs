//! `baton eval perplexity`: perplexity by position.

use super::Given;
use crate::Context;
use crate::failure::Failure;
use baton_train::eval::Measurement;
use baton_train::eval::perplexity::{ByPosition, Options, by_position};

/// How well each token is predicted, by how many were read before it
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton eval perplexity --checkpoint runs/small/checkpoint.safetensors \
    --text book.txt --length 65536 --sequences 8 --output runs/small/perplexity.json"
)]
pub struct Perplexity {
    #[command(flatten)]
    given: Given,
    /// Tokens of each sequence
    #[arg(long, default_value_t = 4096)]
    length: usize,
    /// Sequences, evenly spread over the held-out text; fewer when they would overlap
    #[arg(long, default_value_t = 64)]
    sequences: usize,
    /// Tokens that are run at once
    #[arg(long, default_value_t = 256)]
    segment: usize,
    /// Buckets to each doubling of the position
    #[arg(long, default_value_t = 1)]
    per_octave: usize,
}

impl Perplexity {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let (subject, text) = (self.given.subject()?, self.given.text()?);
        let options = Options {
            train_length: subject.checkpoint.train_length.unwrap_or(self.length),
            length: self.length,
            sequences: self.sequences,
            segment: self.segment,
            per_octave: self.per_octave,
        };
        let bar = self.given.bar("perplexity", self.length * self.sequences);
        let mut each = |tokens| bar.inc(tokens as u64);
        let held_out = &text.held_out[..];
        let result = by_position(&subject.model, held_out, &options, None, &mut each)?;
        bar.finish_and_clear();
        let shown = table(&text.name, &result);
        let measurement = Measurement::new(
            "perplexity",
            &subject.checkpoint,
            Some(text.name),
            &options,
            &result,
            context.started.elapsed().as_secs_f64(),
        )?;
        self.given.finish(context, measurement, shown)
    }
}

fn table(text: &str, result: &ByPosition) -> String {
    let mut shown = format!(
        "{text}, {} sequences\n{:>12}{:>12}   95 % interval\n",
        result.sequences, "up to", "perplexity"
    );
    for (i, (position, loss)) in result.positions.iter().zip(&result.loss).enumerate() {
        shown.push_str(&format!("{position:>12}{:>12.3}", loss.exp()));
        if let Some(interval) = &result.interval {
            let [low, high] = interval[i].map(f64::exp);
            shown.push_str(&format!("   {low:.3} to {high:.3}"));
        }
        shown.push('\n');
    }
    shown
}
