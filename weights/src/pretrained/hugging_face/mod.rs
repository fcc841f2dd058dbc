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
