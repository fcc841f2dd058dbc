//! `baton eval`: one verb for each measure.
//!
//! All of them take a checkpoint and answer with a [`Measurement`]; what they share is `given`.
//! A new measure is its file, its `mod` line and its line in [`Measure`].

mod asking;
mod babi;
mod copying;
mod given;
mod logits;
mod passkey;
mod perplexity;
mod prompts;
mod reading;
mod recall;
mod remembrance;
mod ruler;
mod samples;
mod states;
mod table;

pub use given::parts;

use crate::context::Context;
use crate::failure::Failure;
use clap::Subcommand;

/// Evaluate a checkpoint far past its training length
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton eval perplexity --checkpoint runs/small/checkpoint.safetensors \
    --text book.txt --length 4096\n\n\
    Sequences are read in streaming segments, all states carried, in memory that does not grow\n\
    with the length. What is measured, and how: docs/evaluation.md."
)]
pub struct Eval {
    #[command(subcommand)]
    measure: Measure,
}

macro_rules! measures {
    ($($variant:ident($arguments:ty),)*) => {
        #[derive(Subcommand)]
        enum Measure { $($variant($arguments),)* }

        impl Eval {
            pub fn run(self, context: &Context) -> Result<(), Failure> {
                match self.measure {
                    $(Measure::$variant(arguments) => arguments.run(context),)*
                }
            }
        }
    };
}

measures! {
    Perplexity(perplexity::Perplexity),
    Logits(logits::Logits),
    States(states::States),
    Remembrance(remembrance::Remembrance),
    Prompts(prompts::Prompts),
    Passkey(passkey::Passkey),
    Babi(babi::Babi),
    Ruler(ruler::Ruler),
    Recall(recall::Recall),
    Copying(copying::Copying),
}
