//! The configuration of mamba_ssm's `MambaLMHeadModel` with `Mamba1` or `Mamba2` blocks; one that
//! does not say which has the first.
//!
//! The keys of `ssm_cfg` are arguments of the block's constructor; a key that is absent has the
//! constructor's default, and one that is not known here could change what the block computes, so
//! it is refused. The vocabulary is padded to a multiple: the weights have the padded size, and so
//! has the model here, as in mamba_ssm, whose logits include the padding.

use super::hugging_face;
use super::settings::Settings;
use baton_config::{BlockConfig, Error, Mamba1Config, Mamba2Config, ModelConfig};
use serde_json::{Map, Value, json};

/// The epsilon of every norm, which the layout cannot say.
const EPSILON: f64 = 1e-5;

/// Arguments that say how weights begin or how they are computed with, not what is computed.
const NEUTRAL: [&str; 7] = [
    "chunk_size",
    "conv_init",
    "use_mem_eff_path",
    "sequence_parallel",
    "dt_init",
    "dt_scale",
    "use_fast_path",
];

/// Arguments of either block that are read.
const READ: [&str; 9] = [
    "layer",
    "d_state",
    "d_conv",
    "expand",
    "dt_min",
    "dt_max",
    "dt_init_floor",
    "bias",
    "conv_bias",
];

/// Arguments of Mamba-1 alone that are read.
const READ1: [&str; 1] = ["dt_rank"];

/// Arguments of Mamba-2 alone that are read.
const READ2: [&str; 8] = [
    "headdim",
    "ngroups",
    "d_ssm",
    "A_init_range",
    "D_has_hdim",
    "rmsnorm",
    "norm_before_gate",
    "dt_limit",
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
        intermediate_size: None,
        output_logit_soft_cap: None,
        block,
    })
}

fn block(ssm: &Settings, hidden: usize) -> Result<BlockConfig, Error> {
    let (name, own): (_, &[&str]) = match ssm.text("layer")? {
        None | Some("Mamba1") => ("Mamba1", &READ1),
        Some("Mamba2") => ("Mamba2", &READ2),
        Some(given) => {
            return Err(ssm.wrong("layer", json!(given), "\"Mamba1\" or \"Mamba2\""));
        }
    };
    let known = |key: &&str| READ.contains(key) || own.contains(key) || NEUTRAL.contains(key);
    if let Some(key) = ssm.keys().find(|key| !known(key)) {
        let given = ssm.get(key).map(Value::to_string).unwrap_or_default();
        let expected = format!("an argument of {name} that this program knows");
        return Err(ssm.wrong(key, given, &expected));
    }
    match name {
        "Mamba1" => mamba1(ssm, hidden).map(BlockConfig::Mamba1),
        _ => mamba2(ssm, hidden).map(BlockConfig::Mamba2),
    }
}

fn mamba1(ssm: &Settings, hidden: usize) -> Result<Mamba1Config, Error> {
    let rank = ssm.size_or_auto("dt_rank")?;
    Ok(Mamba1Config {
        expand: ssm.size("expand")?.unwrap_or(2),
        state_size: ssm.size("d_state")?.unwrap_or(16),
        conv_kernel: ssm.size("d_conv")?.unwrap_or(4),
        time_step_rank: Some(rank.unwrap_or(hidden.div_ceil(16))),
        time_step_range: time_steps(ssm)?,
        time_step_floor: ssm.number("dt_init_floor")?.unwrap_or(1e-4),
        rescale_prenorm_residual: true,
        use_bias: ssm.flag("bias")?.unwrap_or(false),
        use_conv_bias: ssm.flag("conv_bias")?.unwrap_or(true),
        mixer_rms_eps: None,
    })
}

/// The range that time steps are drawn from.
fn time_steps(ssm: &Settings) -> Result<[f64; 2], Error> {
    Ok([
        ssm.number("dt_min")?.unwrap_or(1e-3),
        ssm.number("dt_max")?.unwrap_or(1e-1),
    ])
}

fn mamba2(ssm: &Settings, hidden: usize) -> Result<Mamba2Config, Error> {
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
        time_step_range: time_steps(ssm)?,
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
    mut source: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    if model.layer_norm_epsilon != EPSILON {
        return Err(Error::Config(format!(
            "layer_norm_epsilon {} given, expected {EPSILON}: the authors' layout has no key for it",
            model.layer_norm_epsilon
        )));
    }
    let mut ssm = match source.remove("ssm_cfg") {
        Some(Value::Object(ssm)) => ssm,
        _ => Map::new(),
    };
    hugging_face::uncapped(model)?;
    if model.intermediate_size.is_some() {
        return Err(Error::Config(
            "a model with intermediate_size given, expected one without: the authors' layout is \
             written without MLPs"
                .into(),
        ));
    }
    let ours = match &model.block {
        BlockConfig::Mamba1(block) if block.mixer_rms_eps.is_none() => ssm1(block, &ssm),
        BlockConfig::Mamba2(block) => ssm2(block),
        other => {
            let given = match other {
                BlockConfig::Mamba1(_) => "falcon_mamba",
                other => other.name(),
            };
            return Err(Error::Config(format!(
                "a model of {given} given, expected Mamba or Mamba-2: the authors' layout has no other"
            )));
        }
    };
    ssm.remove("dt_limit");
    if let Value::Object(ours) = ours {
        ssm.extend(ours);
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

/// The arguments of Mamba-1; where none says otherwise, the first published files say no layer.
fn ssm1(block: &Mamba1Config, source: &Map<String, Value>) -> Value {
    let mut ours = json!({
        "d_state": block.state_size,
        "d_conv": block.conv_kernel,
        "expand": block.expand,
        "dt_rank": block.time_step_rank.map_or(json!("auto"), Value::from),
        "dt_min": block.time_step_range[0],
        "dt_max": block.time_step_range[1],
        "dt_init_floor": block.time_step_floor,
        "bias": block.use_bias,
        "conv_bias": block.use_conv_bias,
    });
    if source.contains_key("layer") {
        ours["layer"] = "Mamba1".into();
    }
    ours
}

/// The arguments of Mamba-2.
fn ssm2(block: &Mamba2Config) -> Value {
    let [low, high] = block.time_step_limit;
    let mut ours = json!({
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
    });
    if block.time_step_limit != [None, None] {
        // Nothing stands for infinity in JSON; the largest f32 bounds as little.
        let high = high.unwrap_or(f32::MAX as f64);
        ours["dt_limit"] = json!([low.unwrap_or(0.0), high]);
    }
    ours
}
