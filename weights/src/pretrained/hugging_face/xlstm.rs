//! The configuration of transformers' `xLSTMForCausalLM`, the architecture of xLSTM 7B.
//!
//! A key that is absent has the default of transformers' `xLSTMConfig`. `num_blocks` is how many blocks
//! transformers makes, and `num_hidden_layers` stands for it where it is absent: a file whose author gave
//! `num_blocks` alone has the default beside it. `embedding_dim` repeats `hidden_size`. Projections are stored
//! apart there ("single"; transformers 5.23 cannot make a model of the other mode) and joined here. Keys of
//! kernels and chunks say how, not what.

use super::super::names::Names;
use super::super::settings::Settings;
use super::fla;
use baton_config::{BlockConfig, Error, MlstmConfig, ModelConfig};
use serde_json::{Map, Value, json};

/// What `model_type` says.
pub(super) const MODEL_TYPE: &str = "xlstm";

/// What the recurrence adds to its denominator, which no configuration here can change.
const EPSILON: f64 = 1e-6;

/// The model that a configuration describes.
pub(super) fn config(from: &Settings) -> Result<ModelConfig, Error> {
    from.only("use_bias", &[false.into()])?;
    from.only("eps", &[EPSILON.into()])?;
    from.only("weight_mode", &["single".into()])?;
    let size = |key, default| Ok::<_, Error>(from.size(key)?.unwrap_or(default));
    let number = |key, default| Ok::<_, Error>(from.number(key)?.unwrap_or(default));
    let either = |first, second, default| {
        Ok::<_, Error>(from.size(first)?.or(from.size(second)?).unwrap_or(default))
    };
    let hidden_size = either("hidden_size", "embedding_dim", 4096)?;
    from.only("embedding_dim", &[hidden_size.into()])?;
    let num_heads = size("num_heads", 8)?;
    let block = MlstmConfig {
        num_heads,
        key_dim: fla::expanded(from, "qk_dim_factor", 0.5, hidden_size, num_heads)?,
        value_dim: fla::expanded(from, "v_dim_factor", 1.0, hidden_size, num_heads)?,
        gate_soft_cap: number("gate_soft_cap", 15.0)?,
    };
    let multiple = size("ffn_round_up_to_multiple_of", 64)?.max(1);
    let width = number("ffn_proj_factor", 2.667)? * hidden_size as f64;
    Ok(ModelConfig {
        vocab_size: size("vocab_size", 50304)?,
        hidden_size,
        num_hidden_layers: either("num_blocks", "num_hidden_layers", 32)?,
        layer_norm_epsilon: number("norm_eps", 1e-6)?,
        tie_word_embeddings: from.flag("tie_word_embeddings")?.unwrap_or(false),
        intermediate_size: Some((width as usize).div_ceil(multiple).saturating_mul(multiple)),
        output_logit_soft_cap: Some(number("output_logit_soft_cap", 30.0)?),
        block: BlockConfig::Mlstm(block),
    })
}

/// The configuration of a model: `source`, another one of this class or nothing, with what decides
/// the model replaced.
pub(super) fn settings(
    model: &ModelConfig,
    block: &MlstmConfig,
    mut source: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    let hidden = model.hidden_size;
    let width = fla::width(model)?;
    let cap = model.output_logit_soft_cap.ok_or_else(|| {
        Error::Config(
            "a model of mlstm without output_logit_soft_cap given, expected one with it: its \
             published class has it"
                .into(),
        )
    })?;
    let factor = |width: usize| fla::factor(block.num_heads * width, hidden);
    // The width of the feed-forward is said by two keys, which stay where they say it.
    let said = |key: &str| source.get(key).and_then(Value::as_f64);
    let same = said("ffn_proj_factor").zip(said("ffn_round_up_to_multiple_of"));
    let same = same.is_some_and(|(factor, multiple)| {
        let (raw, multiple) = ((factor * hidden as f64) as usize, multiple as usize);
        raw.div_ceil(multiple.max(1)) * multiple == width
    });
    if !same {
        source.insert("ffn_proj_factor".into(), fla::factor(width, hidden).into());
        source.insert("ffn_round_up_to_multiple_of".into(), 1.into());
    }
    if let Value::Object(ours) = json!({
        "architectures": ["xLSTMForCausalLM"],
        "model_type": MODEL_TYPE,
        "vocab_size": model.vocab_size,
        "hidden_size": hidden,
        "embedding_dim": hidden,
        "num_hidden_layers": model.num_hidden_layers,
        "num_blocks": model.num_hidden_layers,
        "num_heads": block.num_heads,
        "norm_eps": model.layer_norm_epsilon,
        "eps": EPSILON,
        "tie_word_embeddings": model.tie_word_embeddings,
        "qk_dim_factor": factor(block.key_dim),
        "v_dim_factor": factor(block.value_dim),
        "gate_soft_cap": block.gate_soft_cap,
        "output_logit_soft_cap": cap,
        "use_bias": false,
        "weight_mode": "single",
    }) {
        source.extend(ours);
    }
    Ok(source)
}

/// What the class calls the weights.
pub(super) fn names(model: &ModelConfig, block: &MlstmConfig) -> Names {
    let hidden = model.hidden_size;
    let h = block.num_heads;
    let (keys, values) = (h * block.key_dim, h * block.value_dim);
    let mut names = Names::default();
    names.rename("backbone.norm_f.weight", "backbone.out_norm.weight");
    for layer in 0..model.num_hidden_layers {
        let (ours, theirs) = (
            format!("backbone.layers.{layer}"),
            format!("backbone.blocks.{layer}"),
        );
        for [our, their] in [
            ["norm.weight", "norm_mlstm.weight"],
            ["mlp_norm.weight", "norm_ffn.weight"],
            ["mlp.gate_proj.weight", "ffn.proj_up_gate.weight"],
            ["mlp.up_proj.weight", "ffn.proj_up.weight"],
            ["mlp.down_proj.weight", "ffn.proj_down.weight"],
            ["mixer.norm.weight", "mlstm_layer.multihead_norm.weight"],
            ["mixer.out_proj.weight", "mlstm_layer.out_proj.weight"],
        ] {
            names.rename(format!("{ours}.{our}"), format!("{theirs}.{their}"));
        }
        let rows = |name: &str, rows| (format!("{theirs}.{name}.weight"), vec![rows, hidden]);
        let bias = |name: &str, rows| (format!("{theirs}.{name}.bias"), vec![rows]);
        names.join(
            format!("{ours}.mixer.in_proj.weight"),
            vec![
                rows("mlstm_layer.q", keys),
                rows("mlstm_layer.k", keys),
                rows("mlstm_layer.v", values),
                rows("mlstm_layer.ogate_preact", values),
            ],
        );
        let [i, f] = ["mlstm_layer.igate_preact", "mlstm_layer.fgate_preact"];
        let gates = format!("{ours}.mixer.gates");
        names.join(format!("{gates}.weight"), vec![rows(i, h), rows(f, h)]);
        names.join(format!("{gates}.bias"), vec![bias(i, h), bias(f, h)]);
    }
    names
}
