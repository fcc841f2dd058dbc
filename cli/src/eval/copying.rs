//! `baton eval copying`: how much of a string a model copies.

use super::asking::Asking;
use crate::context::Context;
use crate::failure::Failure;

/// Copy a string: characters and whole strings under teacher forcing
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton train --folder runs/copy --task copying:max=20 --length 128\n  \
    baton eval copying --checkpoint runs/copy/checkpoint.safetensors --lengths 10,20,40,80\n\n\
    A length is the characters of the string (docs/tasks.md)."
)]
pub struct Copying {
    #[command(flatten)]
    asking: Asking,
}

impl Copying {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let asked = self.asking.open(context)?;
        let task = match asked.reads_text() {
            true => "copying:ids=bytes",
            false => "copying",
        };
        let tasks = [task.parse()?];
        self.asking.run(context, "copying", asked, &tasks, &[])
    }
}
