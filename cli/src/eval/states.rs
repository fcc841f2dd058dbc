//! `baton eval states`: statistics of the states over time.

use super::given::{Given, number};
use crate::context::Context;
use crate::failure::Failure;
use crate::numbers;
use baton_tasks::measures::{Measurement, OverTime};
use baton_tasks::tokens;
use baton_train::eval::states::{Options, over_time};

/// How the states' statistics change over time, of each layer and head
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton eval states --checkpoint runs/small/checkpoint.safetensors \
    --text book.txt --length 16384 --output runs/small/states.json"
)]
pub struct States {
    #[command(flatten)]
    given: Given,
    /// Tokens of each sequence, also as 64k or 1m (times 1024), or as 16x the training length
    #[arg(long, default_value = "4096")]
    length: String,
    /// Sequences, evenly spread over the held-out text; fewer when they would overlap
    #[arg(long, default_value = "16", value_parser = numbers::count())]
    sequences: usize,
    /// About as many times, evenly spaced in their logarithm
    #[arg(long, default_value_t = 25)]
    times: usize,
    /// Tokens that are run at once
    #[arg(long, default_value = "256", value_parser = numbers::segment())]
    segment: usize,
}

impl States {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let subject = self.given.subject(context)?;
        let (name, text) = self.given.text(&subject)?;
        let known = subject.checkpoint.train_length;
        let length = tokens(&self.length, known)?;
        let options = Options {
            train_length: known.unwrap_or(length),
            length,
            sequences: self.sequences,
            times: self.times,
            segment: self.segment,
        };
        let work = length.saturating_mul(self.sequences);
        let bar = self.given.bar(context, "states", work)?;
        let mut each = |tokens| bar.inc(tokens as u64);
        let result = over_time(
            &subject.model,
            &text,
            &options,
            &*context.ranks()?,
            &mut each,
        )?;
        bar.finish_and_clear();
        let shown = table(&name, &result);
        let measurement = Measurement::new(
            "states",
            &subject.checkpoint,
            Some(name),
            &options,
            &result,
            context.started.elapsed().as_secs_f64(),
        )?;
        self.given.finish(context, measurement, shown)
    }
}

fn table(text: &str, result: &OverTime) -> String {
    let mut shown = format!(
        "standard deviation of the states, {text}, {} sequences\n{:>12}{:>12}",
        result.sequences, "tokens read", "all layers"
    );
    for layer in &result.layers {
        let name = format!("layer {}.{}", layer.layer, layer.state);
        shown.push_str(&format!("{name:>12}"));
    }
    shown.push('\n');
    for (i, time) in result.times.iter().enumerate() {
        shown.push_str(&format!("{time:>12}{:>12}", number(result.std[i], 4)));
        for layer in &result.layers {
            shown.push_str(&format!("{:>12}", number(layer.std[i], 4)));
        }
        shown.push('\n');
    }
    shown
}
