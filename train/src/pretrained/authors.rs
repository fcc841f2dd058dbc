//! The configuration of mamba_ssm's `MambaLMHeadModel` with `Mamba2` blocks.
//!
//! The keys of `ssm_cfg` are arguments of the block's constructor; a key that is absent has the
//! constructor's default, and one that is not known here could change what the block computes, so
//! it is refused. The vocabulary is padded to a multiple: the weights have the padded size, and so
//! has the model here, as in mamba_ssm, whose logits include the padding.

use super::settings::Settings;
use crate::Error;
use crate::models::{BlockConfig, Mamba2Config, ModelConfig};
use serde_json::{Map, Value, json};

/// The epsilon of every norm, which the layout cannot say.
const EPSILON: f64 = 1e-5;

/// Arguments that say how weights begin or how they are computed with, not what is computed.
const NEUTRAL: [&str; 4] = [
    "chunk_size",
    "conv_init",
    "use_mem_eff_path",
    "sequence_parallel",
];

/// Arguments that are read.
const READ: [&str; 17] = [
    "layer",
    "d_state",
    "d_conv",
    "expand",
    "headdim",
    "ngroups",
    "d_ssm",
    "A_init_range",
    "D_has_hdim",
    "rmsnorm",
    "norm_before_gate",
    "dt_min",
    "dt_max",
    "dt_init_floor",
    "dt_limit",
    "bias",
    "conv_bias",
];

/// The model that a configuration describes.
pub(super) fn config(from: &Settings) -> Result<ModelConfig, Error> {
    from.only("rms_norm", &[true.into()])?;
    from.only("d_intermediate", &[0.into()])?;
    from.only("attn_layer_idx", &[json!([])])?;
    let required = |key: &str| {
        let given = from.size(key)?;
        given.ok_or_else(|| from.wrong(key, "nothing", "a whole number"))
    };
    let hidden_size = required("d_model")?;
    let multiple = from.size("pad_vocab_size_multiple")?.unwrap_or(8).max(1);
    let block = block(&from.object("ssm_cfg")?, hidden_size)?;
    Ok(ModelConfig {
        vocab_size: required("vocab_size")?
            .div_ceil(multiple)
            .saturating_mul(multiple),
        hidden_size,
        num_hidden_layers: required("n_layer")?,
        layer_norm_epsilon: EPSILON,
        tie_word_embeddings: from.flag("tie_embeddings")?.unwrap_or(true),
        block: BlockConfig::Mamba2(block),
    })
}

fn block(ssm: &Settings, hidden: usize) -> Result<Mamba2Config, Error> {
    if let Some(key) = ssm
        .keys()
        .find(|key| !READ.contains(key) && !NEUTRAL.contains(key))
    {
        let given = ssm.get(key).map(Value::to_string).unwrap_or_default();
        return Err(ssm.wrong(key, given, "an argument of Mamba2 that this program knows"));
    }
    if ssm.text("layer")? != Some("Mamba2") {
        let given = ssm.get("layer").map_or("nothing".into(), Value::to_string);
        return Err(ssm.wrong("layer", given, "\"Mamba2\""));
    }
    ssm.only("D_has_hdim", &[false.into()])?;
    ssm.only("rmsnorm", &[true.into()])?;
    ssm.only("norm_before_gate", &[false.into()])?;
    let expand = ssm.size("expand")?.unwrap_or(2);
    ssm.only("d_ssm", &[expand.saturating_mul(hidden).into()])?;
    let defaults = Mamba2Config::default();
    Ok(Mamba2Config {
        expand,
        head_dim: ssm.size("headdim")?.unwrap_or(64),
        state_size: ssm.size("d_state")?.unwrap_or(128),
        n_groups: ssm.size("ngroups")?.unwrap_or(1),
        conv_kernel: ssm.size("d_conv")?.unwrap_or(4),
        a_init_range: ssm.range("A_init_range")?.unwrap_or(defaults.a_init_range),
        time_step_range: [
            ssm.number("dt_min")?.unwrap_or(1e-3),
            ssm.number("dt_max")?.unwrap_or(1e-1),
        ],
        time_step_floor: ssm.number("dt_init_floor")?.unwrap_or(1e-4),
        rescale_prenorm_residual: true,
        use_bias: ssm.flag("bias")?.unwrap_or(false),
        use_conv_bias: ssm.flag("conv_bias")?.unwrap_or(true),
        time_step_limit: ssm.limit("dt_limit")?,
    })
}

/// The configuration of a model: `source`, another one of this layout or nothing, with what
/// decides the model replaced.
pub(super) fn settings(
    model: &ModelConfig,
    block: &Mamba2Config,
    mut source: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    if model.layer_norm_epsilon != EPSILON {
        return Err(Error::Config(format!(
            "layer_norm_epsilon {} given, expected {EPSILON}: the authors' layout has no key for it",
            model.layer_norm_epsilon
        )));
    }
    let [low, high] = block.time_step_limit;
    let mut ssm = match source.remove("ssm_cfg") {
        Some(Value::Object(ssm)) => ssm,
        _ => Map::new(),
    };
    if let Value::Object(ours) = json!({
        "layer": "Mamba2",
        "d_state": block.state_size,
        "d_conv": block.conv_kernel,
        "expand": block.expand,
        "headdim": block.head_dim,
        "ngroups": block.n_groups,
        "A_init_range": block.a_init_range,
        "dt_min": block.time_step_range[0],
        "dt_max": block.time_step_range[1],
        "dt_init_floor": block.time_step_floor,
        "bias": block.use_bias,
        "conv_bias": block.use_conv_bias,
    }) {
        ssm.extend(ours);
    }
    ssm.remove("dt_limit");
    if block.time_step_limit != [None, None] {
        // Nothing stands for infinity in JSON; the largest f32 bounds as little.
        let high = high.unwrap_or(f32::MAX as f64);
        ssm.insert("dt_limit".into(), json!([low.unwrap_or(0.0), high]));
    }
    let padded = |map: &Map<String, Value>| {
        let of = |key: &str| map.get(key).and_then(Value::as_u64);
        Some(of("vocab_size")?.next_multiple_of(of("pad_vocab_size_multiple")?.max(1)))
    };
    if padded(&source) != Some(model.vocab_size as u64) {
        source.insert("vocab_size".into(), model.vocab_size.into());
        source.insert("pad_vocab_size_multiple".into(), 1.into());
    }
    if let Value::Object(ours) = json!({
        "d_model": model.hidden_size,
        "d_intermediate": 0,
        "n_layer": model.num_hidden_layers,
        "ssm_cfg": ssm,
        "attn_layer_idx": [],
        "attn_cfg": {},
        "rms_norm": true,
        "tie_embeddings": model.tie_word_embeddings,
    }) {
        source.extend(ours);
    }
    for key in ["residual_in_fp32", "fused_add_norm"] {
        source.entry(key).or_insert(true.into());
    }
    Ok(source)
}
