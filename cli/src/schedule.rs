//! `baton schedule`: level 3, the tile program of one kernel.

use crate::context::Context;
use crate::failure::Failure;
use crate::shape::Shape;
use crate::source::Source;
use baton_codegen::{Compiler, Phase};
use baton_ir::text::tile::print;
use serde_json::json;

/// Sizes of dims that were not given.
const SIZE: usize = 64;

/// Print the tile program of a kernel
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton schedule mamba2 --shape N=128,P=64 --chunk 64\n  \
    baton schedule gla --direction backward"
)]
pub struct Schedule {
    /// A file, - for the standard input, or the name of a built-in recurrence
    #[arg(value_name = "FILE|NAME")]
    place: String,

    /// Sizes of the dims; 64 for those not given
    #[arg(long, value_name = "K=64,V=64,..")]
    shape: Option<Shape>,

    /// Steps of a chunk
    #[arg(long, value_name = "C", default_value = "64", value_parser = crate::device::chunk())]
    chunk: usize,

    /// Which kernel
    #[arg(long, value_enum, default_value = "forward")]
    direction: Direction,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Direction {
    /// Outputs and leaving states of whole sequences
    Forward,
    /// Every gradient
    Backward,
    /// Outputs and states of a single step
    Step,
}

impl Schedule {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let source = Source::find(&self.place)?;
        let (recurrence, _) = source.verify()?;
        let names: Vec<&str> = recurrence.dims.iter().map(String::as_str).collect();
        let shape = self.shape.unwrap_or_default();
        shape.only(&names)?;
        let sizes: Vec<usize> = (names.iter())
            .map(|name| shape.get(name).unwrap_or(SIZE))
            .collect();
        let compiler =
            Compiler::of_any(&recurrence, &sizes).map_err(|list| source.failure(list))?;
        let program = match self.direction {
            Direction::Forward => compiler.program(Phase::Forward, self.chunk),
            Direction::Backward => compiler.program(Phase::Backward, self.chunk),
            Direction::Step => compiler.program(Phase::Forward, 1),
        };
        let text = print(&program);
        let sizes: serde_json::Map<_, _> = (names.iter().zip(&sizes))
            .map(|(name, size)| (name.to_string(), json!(size)))
            .collect();
        context.output.result(
            || {
                json!({
                    "recurrence": recurrence.name,
                    "kernel": program.name,
                    "sizes": sizes,
                    "chunk": program.chunk,
                    "text": text,
                })
            },
            || text.clone(),
        )
    }
}
