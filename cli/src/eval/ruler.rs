//! `baton eval ruler`: RULER's synthetic tasks.

use super::asking::{Asking, one_of};
use crate::context::Context;
use crate::failure::Failure;
use baton_tasks::ruler::Name;

/// RULER's synthetic tasks: needles, variable tracing, common and frequent words
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton eval ruler --checkpoint runs/small/checkpoint.safetensors \
    --tasks niah_single_1,vt --lengths 4k,16k\n  \
    baton eval ruler --checkpoint runs/niah/checkpoint.safetensors \
    --tasks token-ruler:task=niah,vocabulary=64 --lengths 1x,64x\n\n\
    Essays are replaced by --haystack, or by grass without one (docs/tasks.md)."
)]
pub struct Ruler {
    #[command(flatten)]
    asking: Asking,
    /// Names of tasks, or one `token-ruler` with settings; all of the text format when absent
    #[arg(long)]
    tasks: Option<String>,
    /// Depths of the needle, from 0 (start) to 1, where there is one; anywhere when absent
    #[arg(long, value_delimiter = ',')]
    depths: Vec<f64>,
}

impl Ruler {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let asked = self.asking.open(context)?;
        let tasks = match &self.tasks {
            Some(line) if line.starts_with("token-ruler") => {
                vec![one_of(line, &["token-ruler"])?]
            }
            names => {
                let all = Name::ALL.map(Name::text).join(",");
                let names = names.as_deref().unwrap_or(&all).split(',');
                let tasks = names.map(|name| format!("ruler:task={name}").parse());
                tasks.collect::<Result<Vec<_>, _>>()?
            }
        };
        self.asking
            .run(context, "ruler", asked, &tasks, &self.depths)
    }
}
