//! `baton eval passkey`: a key hidden in noise, over lengths and depths.

use super::asking::Asking;
use crate::context::Context;
use crate::failure::Failure;
use baton_tasks::TaskConfig;

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
    /// `passkey` or `token-passkey`, with settings; by the vocabulary when absent
    #[arg(long)]
    task: Option<String>,
    /// Depths of the key, from 0 (start) to 1
    #[arg(long, value_delimiter = ',', default_value = "0.1,0.5,0.9")]
    depths: Vec<f64>,
}

impl Passkey {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let asked = self.asking.open(context)?;
        let task = match (&self.task, asked.reads_text()) {
            (Some(task), _) => task.clone(),
            (None, true) => "passkey".into(),
            (None, false) => {
                format!(
                    "token-passkey:markers=ids,vocabulary={}",
                    asked.vocabulary()
                )
            }
        };
        let task: TaskConfig = super::asking::one_of(&task, &["passkey", "token-passkey"])?;
        self.asking
            .run(context, "passkey", asked, &[task], &self.depths)
    }
}
