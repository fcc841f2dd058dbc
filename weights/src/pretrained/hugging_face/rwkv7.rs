//! The configuration of flash-linear-attention's `RWKV7ForCausalLM`.
//!
//! A key that is absent has the default of its `RWKV7Config`; ranks that are absent follow from the
//! width. `fuse_norm` decides how keys are divided by their length. `use_l2warp` is about a training's
//! loss and is not read.

use super::super::names::Names;
use super::super::settings::Settings;
use super::fla;
use baton_config::{BlockConfig, Error, ModelConfig, Rwkv7Config};
use serde_json::{Map, Value, json};

/// What `model_type` says.
pub(super) const MODEL_TYPE: &str = "rwkv7";

/// The model that a configuration describes.
pub(super) fn config(from: &Settings) -> Result<ModelConfig, Error> {
    from.only("hidden_act", &["sqrelu".into()])?;
    from.only("attn", &[])?;
    from.only("norm_first", &[true.into()])?;
    let size = |key, default| Ok::<_, Error>(from.size(key)?.unwrap_or(default));
    let flag = |key, default| Ok::<_, Error>(from.flag(key)?.unwrap_or(default));
    let hidden_size = size("hidden_size", 2048)?;
    let num_hidden_layers = size("num_hidden_layers", 24)?;
    let head_dim = match (from.size("head_dim")?, from.size("num_heads")?) {
        (None, Some(heads)) => hidden_size / heads.max(1),
        (given, _) => given.unwrap_or(64),
    };
    from.only("num_heads", &[(hidden_size / head_dim.max(1)).into()])?;
    if let Some(widths) = from.get("value_dim") {
        let same = |width: &Value| *width == json!(hidden_size);
        let each =
            |widths: &Vec<Value>| widths.len() == num_hidden_layers && widths.iter().all(same);
        if !same(widths) && !widths.as_array().is_some_and(each) {
            let expected = format!("{hidden_size}, the hidden_size, in every layer");
            return Err(from.wrong("value_dim", widths, &expected));
        }
    }
    let root = (hidden_size as f64).sqrt();
    let factor = head_dim as f64 / 64.0;
    let rank = |key, of: f64| {
        let follows = ((of * root / 32.0).round() * 32.0).max(32.0) as usize;
        Ok::<_, Error>(from.size(key)?.unwrap_or(follows))
    };
    let block = Rwkv7Config {
        head_dim,
        decay_rank: rank("decay_low_rank_dim", 2.5 * factor)?,
        rate_rank: rank("a_low_rank_dim", 2.5 * factor)?,
        value_rank: rank("v_low_rank_dim", 1.7 * factor)?,
        gate_rank: rank("gate_low_rank_dim", 5.0)?,
        fuse_norm: flag("fuse_norm", true)?,
        norm_bias: flag("norm_bias", true)?,
    };
    let ratio = from.number("hidden_ratio")?.unwrap_or(4.0);
    let width = ((hidden_size as f64 * ratio) as usize).div_ceil(32);
    Ok(ModelConfig {
        vocab_size: size("vocab_size", 32000)?,
        hidden_size,
        num_hidden_layers,
        layer_norm_epsilon: from.number("norm_eps")?.unwrap_or(1e-5),
        tie_word_embeddings: flag("tie_word_embeddings", false)?,
        intermediate_size: Some(size("intermediate_size", width.saturating_mul(32))?),
        output_logit_soft_cap: None,
        block: BlockConfig::Rwkv7(block),
    })
}

/// The configuration of a model: `source`, another one of this class or nothing, with what decides
/// the model replaced.
pub(super) fn settings(
    model: &ModelConfig,
    block: &Rwkv7Config,
    mut source: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    source.insert("hidden_act".into(), "sqrelu".into());
    let mut all = fla::settings(model, ["RWKV7ForCausalLM", MODEL_TYPE], source)?;
    if let Value::Object(ours) = json!({
        "head_dim": block.head_dim,
        "num_heads": block.num_heads(model.hidden_size),
        "value_dim": vec![model.hidden_size; model.num_hidden_layers],
        "decay_low_rank_dim": block.decay_rank,
        "a_low_rank_dim": block.rate_rank,
        "v_low_rank_dim": block.value_rank,
        "gate_low_rank_dim": block.gate_rank,
        "fuse_norm": block.fuse_norm,
        "norm_bias": block.norm_bias,
        "norm_first": true,
    }) {
        all.extend(ours);
    }
    Ok(all)
}

/// What the class calls the weights.
pub(super) fn names(model: &ModelConfig, block: &Rwkv7Config) -> Names {
    let mut names = Names::default();
    let mut rename = |ours: String, theirs: String| names.rename(ours, theirs);
    let kinds: &[&str] = match block.norm_bias {
        true => &["weight", "bias"],
        false => &["weight"],
    };
    rename(
        "backbone.embeddings.weight".into(),
        "model.embeddings.weight".into(),
    );
    for kind in kinds {
        rename(
            format!("backbone.norm_f.{kind}"),
            format!("model.norm.{kind}"),
        );
        rename(
            format!("backbone.pre_norm.{kind}"),
            format!("model.layers.0.pre_norm.{kind}"),
        );
    }
    for layer in 0..model.num_hidden_layers {
        let (ours, theirs) = (
            format!("backbone.layers.{layer}"),
            format!("model.layers.{layer}"),
        );
        for kind in kinds {
            rename(
                format!("{ours}.norm.{kind}"),
                format!("{theirs}.attn_norm.{kind}"),
            );
            rename(
                format!("{ours}.mlp_norm.{kind}"),
                format!("{theirs}.ffn_norm.{kind}"),
            );
        }
        for name in ["x_k", "key.weight", "value.weight"] {
            rename(format!("{ours}.mlp.{name}"), format!("{theirs}.ffn.{name}"));
        }
        for name in [
            "x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "k_k", "k_a", "r_k",
        ] {
            rename(
                format!("{ours}.mixer.{name}"),
                format!("{theirs}.attn.{name}"),
            );
        }
        for name in ["r_proj", "k_proj", "v_proj", "o_proj", "g_norm"] {
            rename(
                format!("{ours}.mixer.{name}.weight"),
                format!("{theirs}.attn.{name}.weight"),
            );
        }
        rename(
            format!("{ours}.mixer.g_norm.bias"),
            format!("{theirs}.attn.g_norm.bias"),
        );
        for name in ["w_lora", "v_lora", "a_lora", "g_lora"] {
            for [our, their] in [
                ["down.weight", "lora.0.weight"],
                ["up.weight", "lora.2.weight"],
                ["up.bias", "lora.2.bias"],
            ] {
                rename(
                    format!("{ours}.mixer.{name}.{our}"),
                    format!("{theirs}.attn.{name}.{their}"),
                );
            }
        }
    }
    names
}
