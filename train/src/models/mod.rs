//! Recurrent language models as Burn modules: a stack of blocks over a residual stream in f32.
//!
//! Fields carry the names of the published checkpoints (`backbone.layers.0.mixer.in_proj.weight`),
//! so that a module path *is* a tensor name. Every forward takes the states and returns them:
//! a long text is a chain of segments, and an intervention is a choice of the first state.

mod around;
mod compiled;
#[allow(non_snake_case)] // weights are called as in published checkpoints
mod delta;
pub mod hybrid;
mod layer;
mod layers;
mod lm;
#[allow(non_snake_case)]
mod mamba1;
#[allow(non_snake_case)]
mod mamba2;
mod mlp;
mod mlstm;
mod named;
mod parameters;
mod passage;
mod recompute;
mod recurrence;
mod recurrent;
mod rwkv7;
pub mod segments;
mod states;
#[cfg(test)]
mod tests;

pub use compiled::Compiled;
pub use delta::Delta;
pub use layer::{FeedForward, Layer, Mixer};
pub use layers::{Conv1d, Embedding, LayerNorm, Linear, Norm as StreamNorm, RmsNorm};
pub use lm::{Backbone, LanguageModel};
pub use mamba1::Mamba1;
pub use mamba2::Mamba2;
pub use mlp::Mlp;
pub use mlstm::Mlstm;
pub use named::Named;
pub(crate) use parameters::each;
pub use parameters::{Parameter, gradients, load, load_called, parameters, update};
pub use passage::{Borders, Passage, Whole};
pub use recompute::{Pass, Passed};
pub use recurrence::{Projection, RecurrenceBlock, Weight};
pub use recurrent::Recurrent;
pub use rwkv7::{ChannelMix, Rwkv7};
pub use states::{HostState, HostStates, LayerState, States};
