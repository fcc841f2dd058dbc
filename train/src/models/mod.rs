//! Recurrent language models as Burn modules: a stack of blocks over a residual stream in f32.
//!
//! Fields carry the names of the published checkpoints (`backbone.layers.0.mixer.in_proj.weight`),
//! so that a module path *is* a tensor name. Every forward takes the states and returns them:
//! a long text is a chain of segments, and an intervention is a choice of the first state.

mod compiled;
mod config;
mod layers;
mod lm;
#[allow(non_snake_case)] // weights are called as in published checkpoints
mod mamba2;
mod named;
mod parameters;
mod recompute;
mod recurrence;
mod states;
#[cfg(test)]
mod tests;

pub use compiled::Compiled;
pub use config::{BlockConfig, Mamba2Config, ModelConfig, said};
pub use layers::{Conv1d, Embedding, Linear, RmsNorm};
pub use lm::{Backbone, LanguageModel, Layer, Mixer};
pub use mamba2::Mamba2;
pub use named::Named;
pub(crate) use parameters::each;
pub use parameters::{Parameter, gradients, load, parameters, update};
pub use recompute::{Pass, Passed};
pub use recurrence::{
    Act, BlockText, Init, InputPort, Norm, OutputPort, ParamPort, Projection, RecurrenceBlock,
    RecurrenceConfig, Weight,
};
pub use states::{HostState, HostStates, LayerState, States};
