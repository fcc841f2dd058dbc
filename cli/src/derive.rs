//! `baton derive`: level 2, the algebra of one chunk, forward and in reverse.

use crate::context::Context;
use crate::failure::Failure;
use crate::source::Source;
use baton_ir::text::chunked::print;
use serde_json::json;

/// Print what is derived from a recurrence: one chunk of steps as tensor algebra
#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton derive mamba2\n  baton derive my.rec --gradient")]
pub struct Derive {
    /// A file, - for the standard input, or the name of a built-in recurrence
    #[arg(value_name = "FILE|NAME")]
    place: String,

    /// Print the reverse program too: every gradient
    #[arg(long)]
    gradient: bool,
}

impl Derive {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let source = Source::find(&self.place)?;
        let (recurrence, facts) = source.verify()?;
        let (forward, steps) = baton_codegen::derive_any(&recurrence, &facts)
            .map_err(|diagnostic| source.failure(vec![diagnostic]))?;
        let reverse = self.gradient.then(|| baton_codegen::grad(&forward));
        let (forward, reverse) = (
            print(&forward),
            reverse.as_ref().map(|program| print(program)),
        );
        let why = baton_codegen::derive(&recurrence, &facts).err();
        let why = why.filter(|_| steps).map(|why| why.message);
        let note = why.as_ref().map_or(String::new(), |why| {
            format!("// No chunked form: what follows is a chunk of one step. {why}.\n")
        });
        context.output.result(
            || {
                json!({
                    "recurrence": recurrence.name,
                    "class": facts.class().name(),
                    "steps": steps,
                    "why": why,
                    "forward": forward,
                    "reverse": reverse,
                })
            },
            || match &reverse {
                Some(reverse) => format!("{note}{forward}\n{reverse}"),
                None => format!("{note}{forward}"),
            },
        )
    }
}
