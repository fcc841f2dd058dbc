//! `baton eval remembrance`: effective remembrance.

use super::given::{Given, number};
use crate::context::Context;
use crate::failure::Failure;
use crate::numbers;
use baton_tasks::measures::{Measurement, Remembrance as Found};
use baton_tasks::tokens;
use baton_train::eval::remembrance::{Options, Spacing, remembrance};

/// How much the prediction at the end owes to the tokens before each place
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton eval remembrance --checkpoint runs/small/checkpoint.safetensors \
    --text book.txt --output runs/small/remembrance.json"
)]
pub struct Remembrance {
    #[command(flatten)]
    given: Given,
    /// Tokens of each sequence, also as 64k or 1m (times 1024), or as 16x the training length; 4x when absent
    #[arg(long)]
    length: Option<String>,
    /// Sequences, evenly spread over the held-out text; fewer when they would overlap
    #[arg(long, default_value = "64", value_parser = numbers::count())]
    sequences: usize,
    /// About as many places to cut at
    #[arg(long, default_value_t = 25)]
    cuts: usize,
    /// How these are spaced
    #[arg(long, value_enum, default_value = "ends")]
    spacing: Places,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Places {
    /// Evenly
    Linear,
    /// Evenly in the logarithm
    Log,
    /// Evenly in the logarithm of the distance to either end
    Ends,
}

impl Remembrance {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let subject = self.given.subject(context)?;
        let (name, text) = self.given.text(&subject)?;
        let known = subject.checkpoint.train_length;
        let given = self.length.as_deref().map(|text| tokens(text, known));
        let Some(length) = given.transpose()?.or(known.map(|length| 4 * length)) else {
            return Err(Failure::new(
                "no --length given, and the checkpoint does not say its training length: expected one",
            ));
        };
        let options = Options {
            length,
            sequences: self.sequences,
            cuts: self.cuts,
            spacing: match self.spacing {
                Places::Linear => Spacing::Linear,
                Places::Log => Spacing::Log,
                Places::Ends => Spacing::Ends,
            },
        };
        let bar = self
            .given
            .bar(context, "remembrance", options.work(self.sequences))?;
        let mut each = |tokens| bar.inc(tokens as u64);
        let result = remembrance(
            &subject.model,
            &text,
            &options,
            &*context.ranks()?,
            &mut each,
        )?;
        bar.finish_and_clear();
        let shown = table(&name, length, &result);
        let measurement = Measurement::new(
            "remembrance",
            &subject.checkpoint,
            Some(name),
            &options,
            &result,
            context.started.elapsed().as_secs_f64(),
        )?;
        self.given.finish(context, measurement, shown)
    }
}

fn table(text: &str, length: usize, result: &Found) -> String {
    let mut shown = format!(
        "{text}, {} sequences of {length}\n{:>12}{:>12}   95 % interval\n",
        result.sequences, "cut at", "distance"
    );
    for (i, (cut, distance)) in result.cuts.iter().zip(&result.distance).enumerate() {
        shown.push_str(&format!("{cut:>12}{:>12}", number(*distance, 4)));
        if let Some(interval) = &result.interval {
            let [low, high] = interval[i].map(|end| number(end, 4));
            shown.push_str(&format!("   {low} to {high}"));
        }
        shown.push('\n');
    }
    shown
}
