//! What decides a run, as data: the shape of a model and how its weights begin, where sequences begin, schedule,
//! optimiser, lengths and seed.
//!
//! A [`TrainConfig`] is whole: it is stored with every checkpoint, and compared when a run goes on. People say less, part by
//! part ([`Said`]): a preset, a file, options; [`lay`] lays them over a beginning and finds all that is wrong with them
//! at once. What is checked here is what a configuration alone can say; what comes of it (a tensor, a policy, a step) this
//! crate does not know.

#![deny(missing_docs)]

mod error;
mod initial_state;
mod model;
mod optimizer;
mod recurrence;
mod said;
mod schedule;
pub mod small;
mod train;

pub use error::Error;
pub use initial_state::{Convolution, ForLayers, InitialStateConfig, Share};
pub use model::{
    AttentionConfig, BlockConfig, ChunkingConfig, DeltaConfig, HybridConfig, Landmark, LayerConfig,
    Mamba1Config, Mamba2Config, MlstmConfig, ModelConfig, Per, Positions, RetrievalConfig,
    Rwkv7Config, Weighing,
};
pub use optimizer::AdamWConfig;
pub use recurrence::{
    Act, BlockText, Init, InputPort, MOST_TENSORS, Norm, OutputPort, ParamPort, RecurrenceConfig,
};
pub use said::{
    Beginning, Difference, Laid, PRESETS, Preset, Said, block_name, changed, difference,
    differences, in_full, keys, lay, toml, whole,
};
pub use schedule::{Schedule, Shape};
pub use train::TrainConfig;
