//! The configurations of `MambaForCausalLM` and `FalconMambaForCausalLM`, of transformers 4 and 5.
//!
//! A key that is absent has the default of transformers' `MambaConfig`. The inner width is `intermediate_size` where a
//! file has it, and `expand` times the hidden one else: the published FalconMamba says 8192 and 16 times 4096. The two differ in
//! `mixer_rms_eps` alone. Keys of the time step say how weights begin, as `rescale_prenorm_residual`
//! does, which is never written as true (`mamba2.rs` says why).

use super::super::settings::Settings;
use baton_config::{BlockConfig, Error, Mamba1Config, ModelConfig};
use serde_json::{Map, Value, json};

/// What `model_type` says of each.
pub(super) const MODEL_TYPE: &str = "mamba";
pub(super) const FALCON: &str = "falcon_mamba";

/// The model that a configuration describes.
pub(super) fn config(from: &Settings) -> Result<ModelConfig, Error> {
    from.only("hidden_act", &["silu".into(), "swish".into()])?;
    let size = |key, default| Ok::<_, Error>(from.size(key)?.unwrap_or(default));
    let number = |key, default| Ok::<_, Error>(from.number(key)?.unwrap_or(default));
    let flag = |key, default| Ok::<_, Error>(from.flag(key)?.unwrap_or(default));
    let hidden_size = size("hidden_size", 768)?;
    let rank = from.size_or_auto("time_step_rank")?;
    let falcon = from.text("model_type")? == Some(FALCON);
    let block = Mamba1Config {
        expand: match from.size("intermediate_size")? {
            None => size("expand", 2)?,
            Some(inner) if inner > 0 && hidden_size > 0 && inner.is_multiple_of(hidden_size) => {
                inner / hidden_size
            }
            Some(inner) => {
                let expected = format!("a multiple of hidden_size {hidden_size}");
                return Err(from.wrong("intermediate_size", inner, &expected));
            }
        },
        state_size: size("state_size", 16)?,
        conv_kernel: size("conv_kernel", 4)?,
        time_step_rank: Some(rank.unwrap_or(hidden_size.div_ceil(16))),
        time_step_range: [
            number("time_step_min", 1e-3)?,
            number("time_step_max", 1e-1)?,
        ],
        time_step_floor: number("time_step_floor", 1e-4)?,
        rescale_prenorm_residual: flag("rescale_prenorm_residual", false)?,
        use_bias: flag("use_bias", false)?,
        use_conv_bias: flag("use_conv_bias", true)?,
        mixer_rms_eps: match falcon {
            true => Some(number("mixer_rms_eps", 1e-6)?),
            false => None,
        },
    };
    Ok(ModelConfig {
        vocab_size: size("vocab_size", 50280)?,
        hidden_size,
        num_hidden_layers: size("num_hidden_layers", 32)?,
        layer_norm_epsilon: number("layer_norm_epsilon", 1e-5)?,
        tie_word_embeddings: flag("tie_word_embeddings", true)?,
        intermediate_size: None,
        output_logit_soft_cap: None,
        block: BlockConfig::Mamba1(block),
    })
}

/// The configuration of a model: `source`, another one of this class or nothing, with what decides
/// the model replaced.
pub(super) fn settings(
    model: &ModelConfig,
    block: &Mamba1Config,
    mut source: Map<String, Value>,
) -> Map<String, Value> {
    let (class, model_type) = match block.mixer_rms_eps {
        Some(_) => ("FalconMambaForCausalLM", FALCON),
        None => ("MambaForCausalLM", MODEL_TYPE),
    };
    let inner = block.intermediate(model.hidden_size);
    // A file that says its inner width keeps its own `expand`, which is not read beside it.
    let expand = match source.get("intermediate_size") == Some(&inner.into()) {
        true => source.get("expand").cloned(),
        false => None,
    };
    let ours = json!({
        "architectures": [class],
        "model_type": model_type,
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "num_hidden_layers": model.num_hidden_layers,
        "layer_norm_epsilon": model.layer_norm_epsilon,
        "tie_word_embeddings": model.tie_word_embeddings,
        "hidden_act": "silu",
        "expand": expand.unwrap_or(block.expand.into()),
        "intermediate_size": inner,
        "state_size": block.state_size,
        "conv_kernel": block.conv_kernel,
        "time_step_rank": block.rank(model.hidden_size),
        "use_bias": block.use_bias,
        "use_conv_bias": block.use_conv_bias,
        "time_step_min": block.time_step_range[0],
        "time_step_max": block.time_step_range[1],
        "time_step_floor": block.time_step_floor,
        "rescale_prenorm_residual": false,
        "residual_in_fp32": true,
    });
    if let Value::Object(ours) = ours {
        source.extend(ours);
    }
    if let Some(eps) = block.mixer_rms_eps {
        source.insert("mixer_rms_eps".into(), eps.into());
    }
    source
}
