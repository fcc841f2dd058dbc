//! `baton eval recall`: multi-query associative recall.

use super::asking::Asking;
use crate::context::Context;
use crate::failure::Failure;

/// Recall the values of keys: many pairs first, each key once more later
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton train --folder runs/recall --task recall:vocabulary=256,pairs=4\n  \
    baton eval recall --checkpoint runs/recall/checkpoint.safetensors --pairs 4,8 --lengths 64,1k"
)]
pub struct Recall {
    #[command(flatten)]
    asking: Asking,
    /// Pairs of key and value
    #[arg(long, value_delimiter = ',', default_value = "8")]
    pairs: Vec<usize>,
    /// The exponent of the gaps before a key comes back; 1 is uniform
    #[arg(long, default_value_t = 0.01)]
    power: f64,
}

impl Recall {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let asked = self.asking.open(context)?;
        let (vocabulary, power) = (asked.vocabulary(), self.power);
        let task = |pairs| format!("recall:vocabulary={vocabulary},pairs={pairs},power={power}");
        let tasks = self.pairs.iter().map(|pairs| task(pairs).parse());
        let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
        self.asking.run(context, "recall", asked, &tasks, &[])
    }
}
