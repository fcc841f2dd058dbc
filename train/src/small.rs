//! The small Mamba-2 that the demonstration trains and that plans and the command line lay their own
//! configurations over: minutes on two cores.
//!
//! The setting must be one that fails honestly past its training length: with the published decays
//! (A from 1 to 16) so small a model forgets before it can meet an unknown state, so A is drawn from
//! 0.02 to 0.3, a long memory.

use crate::initial_state::InitialStateConfig;
use crate::models::{BlockConfig, Mamba2Config, ModelConfig};
use crate::optimizer::AdamWConfig;
use crate::schedule::Schedule;
use crate::trainer::TrainConfig;

/// Its training from fresh weights.
pub fn base_config(seed: u64, steps: u64) -> TrainConfig {
    TrainConfig {
        model: ModelConfig {
            vocab_size: 256,
            hidden_size: 128,
            num_hidden_layers: 2,
            layer_norm_epsilon: 1e-5,
            tie_word_embeddings: true,
            block: BlockConfig::Mamba2(Mamba2Config {
                head_dim: 32,
                state_size: 64,
                a_init_range: [0.02, 0.3],
                ..Mamba2Config::default()
            }),
        },
        train_length: 64,
        batch_size: 64,
        parts: 1,
        recompute: false,
        schedule: Schedule {
            peak: 3e-3,
            warmup: 100.min(steps / 10),
            steps,
            floor: 0.1,
        },
        optimizer: AdamWConfig::default(),
        initial_state: InitialStateConfig::Zero,
        seed,
    }
}
