//! `baton eval passkey`: a key hidden in noise, over lengths and depths.

use super::asking::{Asking, one_of};
use crate::context::Context;
use crate::failure::Failure;

/// The tasks that are one.
const NAMES: [&str; 2] = ["passkey", "token-passkey"];

/// Find a passkey: a heat map over lengths and depths
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton eval passkey --checkpoint runs/small/checkpoint.safetensors \
    --lengths 1k,4k,16k\n  \
    baton eval passkey --checkpoint runs/key/checkpoint.safetensors \
    --task token-passkey:markers=ids,vocabulary=32,key=2 --lengths 1x,64x --depths 0,0.5,1\n\n\
    The text format is Landmark's, the token format fits any vocabulary (docs/tasks.md)."
)]
pub struct Passkey {
    #[command(flatten)]
    asking: Asking,
    /// `passkey` or `token-passkey`, with settings; when absent the one that the run was trained on, else by the vocabulary
    #[arg(long)]
    task: Option<String>,
    /// Depths of the key, from 0 (start) to 1
    #[arg(long, value_delimiter = ',', default_value = "0.1,0.5,0.9")]
    depths: Vec<f64>,
}

impl Passkey {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let asked = self.asking.open(context)?;
        let task = match (&self.task, asked.own_task(&NAMES)?) {
            (Some(task), _) => one_of(task, &NAMES)?,
            (None, Some(own)) => own,
            (None, None) if asked.reads_text() => "passkey".parse()?,
            (None, None) => {
                let vocabulary = asked.vocabulary();
                format!("token-passkey:markers=ids,vocabulary={vocabulary}").parse()?
            }
        };
        self.asking
            .run(context, "passkey", asked, &[task], &self.depths)
    }
}
