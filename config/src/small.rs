//! The small Mamba-2 that the demonstration trains and that plans and the command line lay their own
//! configurations over: minutes on two cores.
//!
//! The setting must be one that fails honestly past its training length: with the published decays
//! (A from 1 to 16) so small a model forgets before it can meet an unknown state, so A is drawn from
//! 0.02 to 0.3, a long memory. Other published blocks come with what their authors put around them, at the
//! same width.

use crate::initial_state::InitialStateConfig;
use crate::model::{
    AttentionConfig, BlockConfig, ChunkingConfig, DeltaConfig, HybridConfig, Landmark, LayerConfig,
    Mamba1Config, Mamba2Config, MlstmConfig, ModelConfig, Per, Positions, RetrievalConfig,
    Rwkv7Config, Weighing,
};
use crate::optimizer::AdamWConfig;
use crate::schedule::{Schedule, Shape};
use crate::train::TrainConfig;

/// Its training from fresh weights.
pub fn base_config(seed: u64, steps: u64) -> TrainConfig {
    TrainConfig {
        model: model(),
        train_length: 64,
        batch_size: 64,
        parts: 1,
        segments: 1,
        recompute: false,
        schedule: Schedule {
            shape: Shape::Cosine,
            peak: 3e-3,
            warmup: warmup(steps),
            steps,
            floor: 0.1,
            decay: None,
        },
        optimizer: AdamWConfig::default(),
        initial_state: InitialStateConfig::Zero,
        seed,
    }
}

/// Steps of warm-up of a training of so many steps.
pub fn warmup(steps: u64) -> u64 {
    100.min(steps / 10)
}

fn model() -> ModelConfig {
    ModelConfig {
        vocab_size: 256,
        hidden_size: 128,
        num_hidden_layers: 2,
        layer_norm_epsilon: 1e-5,
        tie_word_embeddings: true,
        intermediate_size: None,
        output_logit_soft_cap: None,
        block: BlockConfig::Mamba2(Mamba2Config {
            head_dim: 32,
            state_size: 64,
            a_init_range: [0.02, 0.3],
            ..Mamba2Config::default()
        }),
    }
}

/// The blocks that come as their authors publish them, with what these put around them; the first is this training's.
pub const PUBLISHED: [&str; 6] = [
    "mamba2",
    "mamba1",
    "gated_delta_net",
    "kda",
    "mlstm",
    "rwkv7",
];

/// Models of several kinds of layers, at the width of this training.
pub const HYBRID: [&str; 3] = ["drt", "ramba", "window"];

/// The layers of a [`HYBRID`]: DRT's in short (Hu et al., arXiv 2410.01651: attention with a window below, chunks
/// with a position for their landmark, grouped cross attention above), RAMba's (arXiv 2504.16795: Mamba-2 with
/// sparse attention), or nothing but attention with a window.
fn hybrid(name: &str, hidden: usize, mamba2: &BlockConfig) -> Option<HybridConfig> {
    let heads = 4;
    let each = hidden / heads;
    let attention = AttentionConfig {
        heads,
        kv_heads: heads,
        window: 64,
        positions: Positions::Alibi,
    };
    let mlp = 2 * hidden;
    let window = LayerConfig::Attention {
        attention: attention.clone(),
        mlp: Some(mlp),
    };
    let chunking = |retrieval| {
        LayerConfig::Chunking(ChunkingConfig {
            encoder: 1,
            heads,
            mlp,
            kv_heads: heads,
            head_dim: each,
            retrieval,
        })
    };
    let choice = RetrievalConfig {
        per: Per::Chunk,
        top: 8,
        heads: 1,
        weights: Weighing::Softmax,
        noise: true,
    };
    let (landmark, layers) = match name {
        "drt" => {
            let grouped = LayerConfig::Grouped {
                attention,
                queries: heads,
                one: true,
                bypass: true,
                mlp,
            };
            let layers = vec![
                window.clone(),
                window,
                chunking(None),
                LayerConfig::Retrieval(choice),
                grouped.clone(),
                grouped,
            ];
            (Landmark::Position, layers)
        }
        "ramba" => {
            let recurrent = LayerConfig::Recurrent {
                block: mamba2.clone(),
                mlp: None,
            };
            let sparse = LayerConfig::Sparse {
                queries: heads,
                one: false,
                bypass: false,
                mlp: None,
            };
            let choice = RetrievalConfig {
                per: Per::Token,
                weights: Weighing::StickBreaking,
                noise: false,
                ..choice
            };
            let layers = vec![
                recurrent.clone(),
                chunking(Some(hidden)),
                LayerConfig::Retrieval(choice),
                sparse,
                recurrent,
            ];
            (Landmark::Encoder, layers)
        }
        "window" => (Landmark::Encoder, vec![window; 4]),
        _ => return None,
    };
    Some(HybridConfig {
        chunk: 64,
        landmark,
        layers,
    })
}

/// The same training of a model with the block `name` and what stands around it as published; a name
/// that is not known here is a recurrence's, whose block stands alone and is left as it is.
pub fn with(mut config: TrainConfig, name: &str) -> TrainConfig {
    let stand = ModelConfig {
        vocab_size: config.model.vocab_size,
        hidden_size: config.model.hidden_size,
        num_hidden_layers: config.model.num_hidden_layers,
        ..model()
    };
    let delta = || DeltaConfig {
        num_heads: 4,
        num_v_heads: None,
        head_dim: 32,
        value_dim: 32,
        conv_kernel: 4,
        allow_neg_eigval: false,
        sigmoid_gate: name == "kda",
        initializer_range: 0.02,
    };
    let around = |block, width, eps| ModelConfig {
        block,
        intermediate_size: Some(width),
        layer_norm_epsilon: eps,
        tie_word_embeddings: false,
        ..stand.clone()
    };
    config.model = match name {
        "mamba2" => stand,
        "mamba1" => ModelConfig {
            block: BlockConfig::Mamba1(Mamba1Config::default()),
            ..stand
        },
        "gated_delta_net" => around(BlockConfig::GatedDeltaNet(delta()), 384, 1e-6),
        "kda" => around(BlockConfig::Kda(delta()), 384, 1e-6),
        "mlstm" => {
            let block = MlstmConfig {
                num_heads: 4,
                key_dim: 16,
                value_dim: 32,
                gate_soft_cap: 15.0,
            };
            ModelConfig {
                output_logit_soft_cap: Some(30.0),
                ..around(BlockConfig::Mlstm(block), 384, 1e-6)
            }
        }
        "rwkv7" => {
            let block = Rwkv7Config {
                head_dim: 32,
                decay_rank: 32,
                rate_rank: 32,
                value_rank: 32,
                gate_rank: 64,
                fuse_norm: true,
                norm_bias: true,
            };
            around(BlockConfig::Rwkv7(block), 512, 1e-5)
        }
        _ => match hybrid(name, stand.hidden_size, &model().block) {
            Some(hybrid) => ModelConfig {
                num_hidden_layers: hybrid.layers.len(),
                block: BlockConfig::Hybrid(hybrid),
                ..stand
            },
            None => ModelConfig {
                block: config.model.block,
                ..stand
            },
        },
    };
    config
}
