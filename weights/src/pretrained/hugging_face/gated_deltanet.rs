//! The configuration of flash-linear-attention's `GatedDeltaNetForCausalLM`.
//!
//! A key that is absent has the default of its `GatedDeltaNetConfig`. Queries, keys and values are
//! projected and convolved by weights of their own there, rows of one weight here.

use super::super::names::Names;
use super::super::settings::Settings;
use super::fla;
use baton_config::{BlockConfig, DeltaConfig, Error, ModelConfig};
use serde_json::{Map, Value, json};

/// What `model_type` says.
pub(super) const MODEL_TYPE: &str = "gated_deltanet";

/// The model that a configuration describes.
pub(super) fn config(from: &Settings) -> Result<ModelConfig, Error> {
    fla::only(from)?;
    from.only("use_gate", &[true.into()])?;
    from.only("use_short_conv", &[true.into()])?;
    let size = |key, default| Ok::<_, Error>(from.size(key)?.unwrap_or(default));
    let number = |key, default| Ok::<_, Error>(from.number(key)?.unwrap_or(default));
    let flag = |key, default| Ok::<_, Error>(from.flag(key)?.unwrap_or(default));
    let activation = from.text("output_gate_activation")?.unwrap_or("swish");
    from.only(
        "output_gate_activation",
        &["swish".into(), "silu".into(), "sigmoid".into()],
    )?;
    let (hidden_size, head_dim) = (size("hidden_size", 2048)?, size("head_dim", 256)?);
    let block = DeltaConfig {
        num_heads: size("num_heads", 6)?,
        num_v_heads: from.size("num_v_heads")?,
        head_dim,
        value_dim: fla::expanded(from, "expand_v", 2.0, head_dim, 1)?,
        conv_kernel: size("conv_size", 4)?,
        allow_neg_eigval: flag("allow_neg_eigval", false)?,
        sigmoid_gate: activation == "sigmoid",
        initializer_range: number("initializer_range", 0.02)?,
    };
    Ok(ModelConfig {
        vocab_size: size("vocab_size", 32000)?,
        hidden_size,
        num_hidden_layers: size("num_hidden_layers", 21)?,
        layer_norm_epsilon: number("norm_eps", 1e-6)?,
        tie_word_embeddings: flag("tie_word_embeddings", false)?,
        intermediate_size: Some(fla::intermediate(from, hidden_size)?),
        output_logit_soft_cap: None,
        block: BlockConfig::GatedDeltaNet(block),
    })
}

/// The configuration of a model: `source`, another one of this class or nothing, with what decides
/// the model replaced.
pub(super) fn settings(
    model: &ModelConfig,
    block: &DeltaConfig,
    source: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    let mut all = fla::settings(model, ["GatedDeltaNetForCausalLM", MODEL_TYPE], source)?;
    if let Value::Object(ours) = json!({
        "num_heads": block.num_heads,
        "num_v_heads": block.num_v_heads,
        "head_dim": block.head_dim,
        "expand_v": fla::factor(block.value_dim, block.head_dim),
        "conv_size": block.conv_kernel,
        "use_gate": true,
        "use_short_conv": true,
        "allow_neg_eigval": block.allow_neg_eigval,
        "output_gate_activation": if block.sigmoid_gate { "sigmoid" } else { "swish" },
        "initializer_range": block.initializer_range,
    }) {
        all.extend(ours);
    }
    Ok(all)
}

/// What the class calls the weights.
pub(super) fn names(model: &ModelConfig, block: &DeltaConfig) -> Names {
    let hidden = model.hidden_size;
    let (keys, values, heads) = (block.keys(), block.values(), block.value_heads());
    fla::names(model, |names, ours, theirs| {
        let rows = |name: &str, rows| (format!("{theirs}.{name}_proj.weight"), vec![rows, hidden]);
        names.join(
            format!("{ours}.in_proj.weight"),
            vec![
                rows("q", keys),
                rows("k", keys),
                rows("v", values),
                rows("g", values),
                rows("b", heads),
                rows("a", heads),
            ],
        );
        let taps = |name: &str, channels| {
            let shape = vec![channels, 1, block.conv_kernel];
            (format!("{theirs}.{name}_conv1d.weight"), shape)
        };
        names.join(
            format!("{ours}.conv1d.weight"),
            vec![taps("q", keys), taps("k", keys), taps("v", values)],
        );
        for [our, their] in [
            ["A_log", "A_log"],
            ["dt_bias", "dt_bias"],
            ["norm.weight", "o_norm.weight"],
            ["out_proj.weight", "o_proj.weight"],
        ] {
            names.rename(format!("{ours}.{our}"), format!("{theirs}.{their}"));
        }
    })
}
