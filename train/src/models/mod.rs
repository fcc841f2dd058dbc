//! Recurrent language models as Burn modules: a stack of blocks over a residual stream in f32.
//!
//! Fields carry the names of the published checkpoints (`backbone.layers.0.mixer.in_proj.weight`),
//! so that a module path *is* a tensor name. Every forward takes the states and returns them:
//! a long text is a chain of segments, and an intervention is a choice of the first state.

mod compiled;
mod config;
mod layers;
mod linear_attention;
mod lm;
#[allow(non_snake_case)] // weights are called as in published checkpoints
mod mamba2;
mod parameters;
mod recompute;
mod states;
#[cfg(test)]
mod tests;

pub use compiled::Compiled;
pub use config::{BlockConfig, LinearAttentionConfig, Mamba2Config, ModelConfig};
pub use layers::{Conv1d, Embedding, Linear, RmsNorm};
pub use linear_attention::LinearAttention;
pub use lm::{Backbone, LanguageModel, Layer, Mixer};
pub use mamba2::Mamba2;
pub(crate) use parameters::each;
pub use parameters::{Parameter, gradients, load, parameters, update};
pub use recompute::{Pass, Passed};
pub use states::{HostState, HostStates, LayerState, States};
