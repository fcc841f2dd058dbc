//! `baton eval babi`: questions about facts among the sentences of a text.

use super::asking::Asking;
use crate::context::Context;
use crate::failure::Failure;

/// Answer questions about facts in a haystack, as BABILong asks them
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton eval babi --checkpoint runs/small/checkpoint.safetensors \
    --haystack book.txt --lengths 0,4k,16k\n\n\
    Stories are simulated, not those of the released files (docs/tasks.md). Length 0 is a story\n\
    without a haystack."
)]
pub struct Babi {
    #[command(flatten)]
    asking: Asking,
    /// Tasks, 1 to 5
    #[arg(long, value_delimiter = ',', default_value = "1,2,3,4,5")]
    qa: Vec<usize>,
    /// Solved examples before the context
    #[arg(long, default_value_t = 2)]
    shots: usize,
    /// Leave the instruction out
    #[arg(long)]
    no_instruction: bool,
}

impl Babi {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let asked = self.asking.open(context)?;
        let (shots, instruction) = (self.shots, !self.no_instruction);
        let task = |qa| format!("babi:qa={qa},shots={shots},instruction={instruction}");
        let tasks = self.qa.iter().map(|qa| task(qa).parse());
        let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
        self.asking.run(context, "babi", asked, &tasks, &[])
    }
}
