//! `baton convert`: a checkpoint in another layout or type.

use crate::context::Context;
use crate::device;
use crate::failure::Failure;
use baton_weights::pretrained::{self, Layout, Precision};
use serde_json::json;
use std::path::PathBuf;

/// Write a checkpoint anew, in any layout
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton convert --from mamba2-130m --to mamba2-130m-hf --layout hugging-face\n  \
    baton convert --from runs/small/checkpoint.safetensors --to small --dtype bf16\n\n\
    Reads a folder of a published layout, a run's folder, or the trainer's checkpoint, of which only the\n\
    weights are kept, and what came with the published checkpoint that it began from. Baton's layout has every block, docs/checkpoints.md says which the others have. The\n\
    folder must not exist."
)]
pub struct Convert {
    /// The checkpoint to read
    #[arg(long)]
    from: PathBuf,
    /// The folder to make
    #[arg(long)]
    to: PathBuf,
    /// The layout; when absent that of the checkpoint, or of the published one that a run began from
    #[arg(long, value_enum)]
    layout: Option<Name>,
    /// The type of the weights
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Name {
    /// As transformers or flash-linear-attention writes a model
    HuggingFace,
    /// As mamba_ssm writes MambaLMHeadModel
    Authors,
    /// Baton's own, for models of any block
    Baton,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Dtype {
    /// 32 bits: nothing is lost
    F32,
    /// Bfloat, 16 bits
    Bf16,
    /// Half, 16 bits
    F16,
}

impl Convert {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let stored = pretrained::read(&self.from)?;
        // Made only to have every weight compared with the configuration.
        let device = device::device(device::Name::Cpu, None)?;
        baton_train::pretrained::model(stored.clone(), device.as_ref())?;
        let layout = match self.layout {
            Some(Name::HuggingFace) => Layout::HuggingFace,
            Some(Name::Authors) => Layout::Authors,
            Some(Name::Baton) => Layout::Baton,
            None => stored.home(),
        };
        let precision = match self.dtype {
            Dtype::F32 => Precision::F32,
            Dtype::Bf16 => Precision::Bf16,
            Dtype::F16 => Precision::F16,
        };
        pretrained::save(&stored, &self.to, layout, precision)?;
        let parameters: usize = stored.weights.values().map(|w| w.data.len()).sum();
        let to = self.to.display().to_string();
        context.output.result(
            || json!({ "output": to, "parameters": parameters }),
            || format!("{parameters} parameters\n{to}\n"),
        )
    }
}
