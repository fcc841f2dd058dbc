//! `baton print`: the canonical text of a recurrence.

use crate::context::Context;
use crate::failure::Failure;
use crate::source::Source;
use serde_json::json;

/// Print the canonical text of a recurrence
#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton print gla\n  baton print my.rec > canonical.rec")]
pub struct Print {
    /// A file, - for the standard input, or the name of a built-in recurrence
    #[arg(value_name = "FILE|NAME")]
    place: String,
}

impl Print {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let recurrence = Source::find(&self.place)?.parse()?;
        let text = baton_ir::text::print(&recurrence);
        context.output.result(
            || json!({ "recurrence": recurrence.name, "text": text }),
            || text.clone(),
        )
    }
}
