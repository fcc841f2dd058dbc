//! The configuration of `Mamba2ForCausalLM`, of transformers 4 and 5.
//!
//! A key that is absent has the default of transformers' `Mamba2Config`. `norm_before_gate`, which
//! files of version 4 carry as `true`, is not read by transformers' model, which gates first in
//! every version, and so it is not read here. `rescale_prenorm_residual` says how weights begin,
//! but transformers 5.23 divides the out-projections of *loaded* weights by it again, so that true
//! is never written: weights that are saved have begun.

use super::super::settings::{Settings, limit};
use baton_config::{BlockConfig, Error, Mamba2Config, ModelConfig};
use serde_json::{Map, Value, json};

/// What `model_type` says.
pub(super) const MODEL_TYPE: &str = "mamba2";

/// The model that a configuration describes.
pub(super) fn config(from: &Settings) -> Result<ModelConfig, Error> {
    from.only("hidden_act", &["silu".into(), "swish".into()])?;
    from.only("rms_norm", &[true.into()])?;
    let defaults = Mamba2Config::default();
    let size = |key, default| Ok::<_, Error>(from.size(key)?.unwrap_or(default));
    let number = |key, default| Ok::<_, Error>(from.number(key)?.unwrap_or(default));
    let flag = |key, default| Ok::<_, Error>(from.flag(key)?.unwrap_or(default));
    let block = Mamba2Config {
        expand: size("expand", 2)?,
        head_dim: size("head_dim", 64)?,
        state_size: size("state_size", 128)?,
        n_groups: size("n_groups", 8)?,
        conv_kernel: size("conv_kernel", 4)?,
        a_init_range: defaults.a_init_range,
        time_step_range: [
            number("time_step_min", 1e-3)?,
            number("time_step_max", 1e-1)?,
        ],
        time_step_floor: number("time_step_floor", 1e-4)?,
        rescale_prenorm_residual: flag("rescale_prenorm_residual", false)?,
        use_bias: flag("use_bias", false)?,
        use_conv_bias: flag("use_conv_bias", true)?,
        time_step_limit: from.limit("time_step_limit")?,
    };
    let hidden_size = size("hidden_size", 4096)?;
    let heads = size("num_heads", 128)?;
    if heads.checked_mul(block.head_dim) != hidden_size.checked_mul(block.expand) {
        let expected = format!(
            "expand {} * hidden_size {hidden_size} / head_dim {}",
            block.expand, block.head_dim
        );
        return Err(from.wrong("num_heads", heads, &expected));
    }
    Ok(ModelConfig {
        vocab_size: size("vocab_size", 32768)?,
        hidden_size,
        num_hidden_layers: size("num_hidden_layers", 64)?,
        layer_norm_epsilon: number("layer_norm_epsilon", 1e-5)?,
        tie_word_embeddings: flag("tie_word_embeddings", false)?,
        intermediate_size: None,
        output_logit_soft_cap: None,
        block: BlockConfig::Mamba2(block),
    })
}

/// The configuration of a model: `source`, another one of this layout or nothing, with what
/// decides the model replaced.
pub(super) fn settings(
    model: &ModelConfig,
    block: &Mamba2Config,
    mut source: Map<String, Value>,
) -> Map<String, Value> {
    let ours = json!({
        "architectures": ["Mamba2ForCausalLM"],
        "model_type": MODEL_TYPE,
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "num_hidden_layers": model.num_hidden_layers,
        "layer_norm_epsilon": model.layer_norm_epsilon,
        "tie_word_embeddings": model.tie_word_embeddings,
        "hidden_act": "silu",
        "expand": block.expand,
        "num_heads": block.num_heads(model.hidden_size),
        "head_dim": block.head_dim,
        "state_size": block.state_size,
        "n_groups": block.n_groups,
        "conv_kernel": block.conv_kernel,
        "use_bias": block.use_bias,
        "use_conv_bias": block.use_conv_bias,
        "time_step_min": block.time_step_range[0],
        "time_step_max": block.time_step_range[1],
        "time_step_floor": block.time_step_floor,
        "time_step_limit": limit(block.time_step_limit),
        "rescale_prenorm_residual": false,
        "residual_in_fp32": true,
    });
    if let Value::Object(ours) = ours {
        source.extend(ours);
    }
    source
}
