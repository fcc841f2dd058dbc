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

/// Heads times `expand` times what a head is expanded from, as whole channels of a head. The product may lie above
/// the whole number by the rounding of one multiplication: not every whole number is a product, and the published
/// classes cut it to one.
pub(super) fn expanded(
    from: &Settings,
    key: &str,
    default: f64,
    width: usize,
    heads: usize,
) -> Result<usize, Error> {
    let expand = from.number(key)?.unwrap_or(default);
    let all = expand * width as f64;
    let whole = all.floor();
    let each = whole / heads.max(1) as f64;
    let rounded = all - whole <= whole * f64::EPSILON;
    match rounded && each.fract() == 0.0 && (1.0..1e9).contains(&each) {
        true => Ok(each as usize),
        false => {
            let expected = format!("a factor that makes {width} a multiple of {heads} heads");
            Err(from.wrong(key, expand, &expected))
        }
    }
}

/// The factor that makes `channels` of `width` for a reader that cuts the product to a whole number: a quotient
/// whose product was rounded to less would lose one.
pub(super) fn factor(channels: usize, width: usize) -> f64 {
    let (channels, width) = (channels as f64, width as f64);
    let mut factor = channels / width;
    while factor * width < channels {
        factor = factor.next_up();
    }
    factor
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(factor: f64, width: usize, heads: usize) -> Result<usize, Error> {
        let map = Map::from_iter([("expand".to_string(), Value::from(factor))]);
        let settings = Settings::of(map, Path::new("config.json"));
        expanded(&settings, "expand", 1.0, width, heads)
    }

    #[test]
    fn a_factor_is_read_as_the_channels_that_it_was_written_for() {
        let small = (1..=200).flat_map(|width| (1..=400).map(move |each| (width, each)));
        for (width, each) in small.chain([(704, 480), (832, 432), (448, 464)]) {
            for heads in [1, 4] {
                let channels = heads * each;
                let factor = factor(channels, width);
                let said = format!("{channels} of {width}: {factor}");
                assert_eq!((factor * width as f64) as usize, channels, "{said}");
                let found = read(factor, width, heads).map_err(|e| e.to_string());
                assert_eq!(found, Ok(each), "{said}");
            }
        }
        for (factor, width, heads) in [(1.5, 3, 1), (1.0, 6, 4), (0.29, 100, 1)] {
            let error = read(factor, width, heads).unwrap_err().to_string();
            assert!(error.contains("expected a factor that makes"), "{error}");
        }
    }
}
