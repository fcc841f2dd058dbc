//! The configuration of flash-linear-attention's `GLAForCausalLM`.
//!
//! A key that is absent has the default of its `GLAConfig`; the rank of the decay's projection and what
//! its log-sigmoid is divided by have no key, and are sixteen. `fuse_norm` decides a name.

use super::super::names::Names;
use super::super::settings::Settings;
use super::fla;
use baton_config::{BlockConfig, Error, ModelConfig};
use serde_json::{Map, Value, json};

/// What `model_type` says.
pub(super) const MODEL_TYPE: &str = "gla";

/// What no key says.
const RANK: usize = 16;
const NORMALIZER: f64 = 16.0;

/// The model that a configuration describes.
pub(super) fn config(from: &Settings) -> Result<ModelConfig, Error> {
    fla::only(from)?;
    for (key, value) in [
        ("use_gk", true),
        ("use_gv", false),
        ("use_output_gate", true),
        ("use_short_conv", false),
        ("elementwise_affine", true),
    ] {
        from.only(key, &[value.into()])?;
    }
    for key in ["feature_map", "clamp_min"] {
        from.only(key, &[])?;
    }
    let size = |key, default| Ok::<_, Error>(from.size(key)?.unwrap_or(default));
    let (hidden_size, num_heads) = (size("hidden_size", 2048)?, size("num_heads", 4)?);
    from.only("num_kv_heads", &[num_heads.into()])?;
    let key_dim = fla::expanded(from, "expand_k", 0.5, hidden_size, num_heads)?;
    let value_dim = fla::expanded(from, "expand_v", 1.0, hidden_size, num_heads)?;
    let vocab_size = size("vocab_size", 32000)?;
    let num_hidden_layers = size("num_hidden_layers", 24)?;
    Ok(ModelConfig {
        vocab_size,
        hidden_size,
        num_hidden_layers,
        layer_norm_epsilon: from.number("norm_eps")?.unwrap_or(1e-6),
        tie_word_embeddings: from.flag("tie_word_embeddings")?.unwrap_or(false),
        intermediate_size: Some(fla::intermediate(from, hidden_size)?),
        output_logit_soft_cap: None,
        block: block([num_heads, key_dim, value_dim], hidden_size)?,
    })
}

/// The block of so many heads, keys and values, in the form that configurations of a model have.
fn block([num_heads, key_dim, value_dim]: [usize; 3], hidden: usize) -> Result<BlockConfig, Error> {
    let model = json!({
        "vocab_size": 1,
        "hidden_size": hidden,
        "num_hidden_layers": 1,
        "layer_norm_epsilon": 0.0,
        "block": {
            "type": "gla",
            "num_heads": num_heads,
            "key_dim": key_dim,
            "value_dim": value_dim,
            "gate_rank": RANK,
            "gate_normalizer": NORMALIZER,
        },
    });
    let model = serde_json::from_value::<ModelConfig>(model);
    model
        .map(|model| model.block)
        .map_err(|e| Error::Config(e.to_string()))
}

/// Heads, keys and values of a model's blocks.
fn sizes(model: &ModelConfig) -> Result<[usize; 3], Error> {
    let state = model.state_sizes().into_iter().flatten().next();
    let sizes = state.and_then(|state| <[usize; 3]>::try_from(state).ok());
    sizes.ok_or_else(|| Error::Config("a model of gla without layers given, expected some".into()))
}

/// The configuration of a model: `source`, another one of this class or nothing, with what decides
/// the model replaced.
pub(super) fn settings(
    model: &ModelConfig,
    source: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    let [heads, keys, values] = sizes(model)?;
    let published = block([heads, keys, values], model.hidden_size)?;
    if model.block != published {
        let said = |block: &BlockConfig| match block {
            BlockConfig::Recurrence(block) => block.to_string(),
            other => other.name().to_string(),
        };
        return Err(Error::Config(format!(
            "{}\ngiven, expected a block that the published class has keys for:\n{}",
            said(&model.block),
            said(&published)
        )));
    }
    let mut all = fla::settings(model, ["GLAForCausalLM", MODEL_TYPE], source)?;
    let expand = |width: usize| fla::factor(heads * width, model.hidden_size);
    if let Value::Object(ours) = json!({
        "num_heads": heads,
        "expand_k": expand(keys),
        "expand_v": expand(values),
        "use_gk": true,
        "use_gv": false,
        "use_output_gate": true,
        "use_short_conv": false,
        "elementwise_affine": true,
    }) {
        all.extend(ours);
    }
    Ok(all)
}

/// What the class calls the weights, with `fuse_norm` or without.
pub(super) fn names(model: &ModelConfig, fused: bool) -> Names {
    let norm = match fused {
        true => "g_norm_swish_gate.weight",
        false => "g_norm.weight",
    };
    let [heads, keys, values] = sizes(model).unwrap_or_default();
    let [keys, values] = [heads * keys, heads * values];
    fla::names(model, |names, ours, theirs| {
        let rows = |name: &str, rows| {
            let shape = vec![rows, model.hidden_size];
            (format!("{theirs}.{name}_proj.weight"), shape)
        };
        names.join(
            format!("{ours}.in_proj.weight"),
            vec![
                rows("q", keys),
                rows("k", keys),
                rows("v", values),
                rows("g", values),
            ],
        );
        for [our, their] in [
            ["gk_down.weight", "gk_proj.0.weight"],
            ["gk_up.weight", "gk_proj.1.weight"],
            ["gk_bias", "gk_proj.1.bias"],
            ["norm.weight", norm],
            ["out_proj.weight", "o_proj.weight"],
        ] {
            names.rename(format!("{ours}.{our}"), format!("{theirs}.{their}"));
        }
    })
}
