//! Configurations as transformers' `save_pretrained` writes them, one room for each class of models;
//! `model_type` says which.

mod fla;
mod gated_deltanet;
mod gla;
mod mamba;
mod mamba2;
mod rwkv7;
mod xlstm;

use super::names::Names;
use super::settings::Settings;
use baton_config::{BlockConfig, Error, ModelConfig};
use serde_json::{Map, Value};

/// The classes that are read and written.
const CLASSES: [&str; 7] = [
    mamba::MODEL_TYPE,
    mamba::FALCON,
    mamba2::MODEL_TYPE,
    gla::MODEL_TYPE,
    gated_deltanet::MODEL_TYPE,
    xlstm::MODEL_TYPE,
    rwkv7::MODEL_TYPE,
];

/// The model that a configuration of class `model_type` describes; absent for a class that is not
/// known here.
pub(super) fn config(model_type: &str, from: &Settings) -> Result<Option<ModelConfig>, Error> {
    if let Some(given) = from.get("quantization_config") {
        return Err(from.wrong(
            "quantization_config",
            given,
            "weights that are not quantized",
        ));
    }
    let config = match model_type {
        mamba::MODEL_TYPE | mamba::FALCON => mamba::config(from)?,
        mamba2::MODEL_TYPE => mamba2::config(from)?,
        gla::MODEL_TYPE => gla::config(from)?,
        gated_deltanet::MODEL_TYPE => gated_deltanet::config(from)?,
        xlstm::MODEL_TYPE => xlstm::config(from)?,
        rwkv7::MODEL_TYPE => rwkv7::config(from)?,
        _ => return Ok(None),
    };
    Ok(Some(config))
}

/// The classes, as an error lists them.
pub(super) fn known() -> String {
    CLASSES.map(|class| format!("{class:?}")).join(", ")
}

/// The configuration of a model: `source`, another one of its class or nothing, with what decides
/// the model replaced.
pub(super) fn settings(
    model: &ModelConfig,
    dtype: &str,
    mut source: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    source.remove("torch_dtype"); // what version 4 calls `dtype`
    source.insert("dtype".into(), dtype.into());
    if !matches!(model.block, BlockConfig::Mlstm(_)) {
        uncapped(model)?;
    }
    match &model.block {
        BlockConfig::Mamba1(_) | BlockConfig::Mamba2(_) if model.intermediate_size.is_some() => {
            Err(Error::Config(format!(
                "a model of {} with intermediate_size given, expected one without: its published \
                 layouts have no feed-forward",
                model.block.name()
            )))
        }
        BlockConfig::Mamba1(block) => Ok(mamba::settings(model, block, source)),
        BlockConfig::Mamba2(block) => Ok(mamba2::settings(model, block, source)),
        block if block.name() == "gla" => gla::settings(model, source),
        BlockConfig::GatedDeltaNet(block) => gated_deltanet::settings(model, block, source),
        BlockConfig::Mlstm(block) => xlstm::settings(model, block, source),
        BlockConfig::Rwkv7(block) => rwkv7::settings(model, block, source),
        other => Err(Error::Config(format!(
            "a model of {} given, expected another block: the published layouts have none for it",
            other.name()
        ))),
    }
}

/// What the class of a model whose configuration is `source` calls the weights.
pub(super) fn names(model: &ModelConfig, source: &Map<String, Value>) -> Names {
    let fused = source.get("fuse_norm") != Some(&false.into());
    match &model.block {
        block if block.name() == "gla" => gla::names(model, fused),
        BlockConfig::GatedDeltaNet(block) => gated_deltanet::names(model, block),
        BlockConfig::Mlstm(block) => xlstm::names(model, block),
        BlockConfig::Rwkv7(block) => rwkv7::names(model, block),
        _ => Names::default(),
    }
}

/// Refuses a cap on the logits, for layouts that have no words for it.
pub(super) fn uncapped(model: &ModelConfig) -> Result<(), Error> {
    match model.output_logit_soft_cap {
        None => Ok(()),
        Some(cap) => Err(Error::Config(format!(
            "output_logit_soft_cap {cap} given, expected a model without: the layout has no key for it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_config::{DeltaConfig, MlstmConfig};
    use serde_json::json;
    use std::path::Path;

    fn gla(hidden: usize, each: usize) -> BlockConfig {
        let model = json!({
            "vocab_size": 1,
            "hidden_size": hidden,
            "num_hidden_layers": 1,
            "layer_norm_epsilon": 0.0,
            "block": {
                "type": "gla",
                "num_heads": 2,
                "key_dim": each,
                "value_dim": each,
                "gate_rank": 16,
                "gate_normalizer": 16.0,
            },
        });
        serde_json::from_value::<ModelConfig>(model).unwrap().block
    }

    /// Sizes that a class says as factors, among them some whose factor is rounded: 1920 / 704 * 704 is below 1920.
    #[test]
    fn sizes_that_are_written_are_read_back() {
        for hidden in [448, 704, 832, 896, 960, 1000] {
            for width in (64..=2048).step_by(64) {
                let each = width / 2;
                let mlstm = MlstmConfig {
                    num_heads: 2,
                    key_dim: each,
                    value_dim: each,
                    gate_soft_cap: 15.0,
                };
                let delta = DeltaConfig {
                    num_heads: 2,
                    num_v_heads: None,
                    head_dim: hidden,
                    value_dim: width,
                    conv_kernel: 4,
                    allow_neg_eigval: false,
                    sigmoid_gate: false,
                    initializer_range: 0.02,
                };
                for (model_type, cap, block) in [
                    (xlstm::MODEL_TYPE, Some(30.0), BlockConfig::Mlstm(mlstm)),
                    (
                        gated_deltanet::MODEL_TYPE,
                        None,
                        BlockConfig::GatedDeltaNet(delta),
                    ),
                    (gla::MODEL_TYPE, None, gla(hidden, each)),
                ] {
                    let model = ModelConfig {
                        vocab_size: 256,
                        hidden_size: hidden,
                        num_hidden_layers: 1,
                        layer_norm_epsilon: 1e-6,
                        tie_word_embeddings: false,
                        intermediate_size: Some(width),
                        output_logit_soft_cap: cap,
                        block,
                    };
                    let written = settings(&model, "float32", Map::new()).unwrap();
                    let written = Settings::of(written, Path::new("config.json"));
                    let read = config(model_type, &written).unwrap();
                    assert_eq!(read, Some(model), "{model_type}");
                }
            }
        }
    }
}
