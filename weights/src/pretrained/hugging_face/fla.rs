//! What the classes of flash-linear-attention have in common: the names around the block, the gated
//! feed-forward, and what none of them computes here.

use super::super::names::Names;
use super::super::settings::Settings;
use baton_config::{Error, ModelConfig};
use serde_json::{Map, Value, json};

/// Configurations are rounded to this many columns of a feed-forward where they name none.
const MULTIPLE: usize = 256;

/// Keys whose value decides what a model computes, with the one value that is computed here.
pub(super) fn only(from: &Settings) -> Result<(), Error> {
    from.only("hidden_act", &["swish".into(), "silu".into()])?;
    for key in ["attn", "attnres_block_size"] {
        from.only(key, &[])?;
    }
    Ok(())
}

/// Heads times `expand` times what a head is expanded from, as whole channels of a head.
pub(super) fn expanded(
    from: &Settings,
    key: &str,
    default: f64,
    width: usize,
    heads: usize,
) -> Result<usize, Error> {
    let expand = from.number(key)?.unwrap_or(default);
    let all = expand * width as f64;
    let each = all / heads.max(1) as f64;
    match each.fract() == 0.0 && (1.0..1e9).contains(&each) {
        true => Ok(each as usize),
        false => {
            let expected = format!("a factor that makes {width} a multiple of {heads} heads");
            Err(from.wrong(key, expand, &expected))
        }
    }
}

/// The width of the feed-forward.
pub(super) fn intermediate(from: &Settings, hidden: usize) -> Result<usize, Error> {
    if let Some(given) = from.size("intermediate_size")? {
        return Ok(given);
    }
    let ratio = from.number("hidden_ratio")?.unwrap_or(4.0);
    let width = (hidden as f64 * ratio * 2.0 / 3.0) as usize;
    Ok(width.div_ceil(MULTIPLE).saturating_mul(MULTIPLE))
}

/// The width of a model's feed-forward; one without is refused.
pub(super) fn width(model: &ModelConfig) -> Result<usize, Error> {
    model.intermediate_size.ok_or_else(|| {
        Error::Config(format!(
            "a model of {} without intermediate_size given, expected one with a feed-forward: its \
             published class has one",
            model.block.name()
        ))
    })
}

/// What every class says of a model.
pub(super) fn settings(
    model: &ModelConfig,
    [class, model_type]: [&str; 2],
    mut source: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    if let Value::Object(ours) = json!({
        "architectures": [class],
        "model_type": model_type,
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "num_hidden_layers": model.num_hidden_layers,
        "norm_eps": model.layer_norm_epsilon,
        "tie_word_embeddings": model.tie_word_embeddings,
        "intermediate_size": width(model)?,
        "attn": null,
    }) {
        source.extend(ours);
    }
    source.entry("hidden_act").or_insert("swish".into());
    Ok(source)
}

/// The names around the blocks, and those that `block` gives for the paths [ours, theirs] of a
/// layer's.
pub(super) fn names(model: &ModelConfig, block: impl Fn(&mut Names, &str, &str)) -> Names {
    let mut names = Names::default();
    names.rename("backbone.embeddings.weight", "model.embeddings.weight");
    names.rename("backbone.norm_f.weight", "model.norm.weight");
    for layer in 0..model.num_hidden_layers {
        let (ours, theirs) = (
            format!("backbone.layers.{layer}"),
            format!("model.layers.{layer}"),
        );
        for [our, their] in [
            ["norm", "attn_norm"],
            ["mlp_norm", "mlp_norm"],
            ["mlp.gate_proj", "mlp.gate_proj"],
            ["mlp.up_proj", "mlp.up_proj"],
            ["mlp.down_proj", "mlp.down_proj"],
        ] {
            names.rename(
                format!("{ours}.{our}.weight"),
                format!("{theirs}.{their}.weight"),
            );
        }
        block(
            &mut names,
            &format!("{ours}.mixer"),
            &format!("{theirs}.attn"),
        );
    }
    names
}
