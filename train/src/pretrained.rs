//! Checkpoints as they are published and passed on, as models that run.

use crate::Error;
use crate::models::{self, LanguageModel};
use baton_config::ModelConfig;
use baton_data::tokenizer::Tokenizer;
use baton_runtime::Device;
use baton_weights::pretrained::{Stored, read};
use burn::module::Module;
use std::path::Path;

#[cfg(test)]
mod tests;

/// A checkpoint that runs.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// The model, without a graph.
    pub model: LanguageModel,
    /// Its shape.
    pub config: ModelConfig,
    /// Tokens of the sequences that it was trained on, where that is known.
    pub train_length: Option<usize>,
    /// How its text becomes tokens.
    pub tokenizer: Tokenizer,
}

/// Loads a checkpoint of any kind, its recurrences on `device`: a folder of a published layout, a
/// run's folder, or the file of the trainer's checkpoint.
pub fn open(path: &Path, device: &dyn Device) -> Result<Pretrained, Error> {
    let stored = read(path)?;
    let (config, train_length) = (stored.config.clone(), stored.train_length);
    let tokenizer = stored.tokenizer.clone();
    let model = model(stored, device).map_err(|e| Error::file(path, e))?;
    Ok(Pretrained {
        model: model.valid(),
        config,
        train_length,
        tokenizer,
    })
}

/// The model with the weights of a checkpoint, ready to train; a weight that does not fit is refused by name.
pub fn model(stored: Stored, device: &dyn Device) -> Result<LanguageModel, Error> {
    let (names, model) = (
        stored.names(),
        LanguageModel::blank(&stored.config, device)?,
    );
    models::load_called(model, stored.weights, &|ours| {
        names.called(ours).to_string()
    })
}
