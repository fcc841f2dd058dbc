//! What is measured: a model without a graph, and what tells it apart from every other.

use crate::Error;
use crate::models::LanguageModel;
use crate::pretrained::model;
use baton_config::{ModelConfig, TrainConfig};
use baton_data::Corpus;
use baton_data::tokenizer::Tokenizer;
use baton_runtime::Device;
use baton_weights::checkpoint::{Progress, fingerprint};
use baton_weights::origin::{self, Known, Origin, Other};
use baton_weights::pretrained;
use burn::module::Module;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Which checkpoint, without a path: folders move, weights do not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The name of the folder that it lies in.
    pub run: String,
    /// A fingerprint of the weights (FNV-1a over names, shapes and bits).
    pub weights: String,
    /// Number of weights.
    pub parameters: usize,
    /// Tokens in a training sequence, where it is known.
    pub train_length: Option<usize>,
    /// How it was trained, where it is known.
    pub config: Option<TrainConfig>,
    /// How far, where it is known.
    pub progress: Option<Progress>,
}

/// A model to measure.
pub struct Subject {
    /// Without a graph.
    pub model: LanguageModel,
    /// Which one.
    pub checkpoint: Checkpoint,
    /// Its shape.
    pub config: ModelConfig,
    /// How its text becomes tokens.
    pub tokenizer: Tokenizer,
    /// Tokens that end a text, or what is wrong with those that are named: a matter of who makes texts.
    pub ends: Result<Vec<u32>, String>,
    /// What is known of the data that it was trained on.
    pub data: Option<Known>,
}

impl Subject {
    /// Opens a checkpoint of any kind.
    pub fn open(path: &Path, device: &dyn Device) -> Result<Self, Error> {
        let stored = pretrained::read(path)?;
        let (config, progress) = stored.run.clone().unzip();
        let checkpoint = Checkpoint {
            run: run_name(path),
            weights: fingerprint(&stored.weights),
            parameters: stored.weights.values().map(|w| w.data.len()).sum(),
            train_length: stored.train_length,
            config,
            progress,
        };
        let (shape, tokenizer) = (stored.config.clone(), stored.tokenizer.clone());
        let ends = stored.ends().map_err(|why| why.to_string());
        let data = stored.data.clone();
        let model = model(stored, device).map_err(|e| Error::file(path, e))?;
        Ok(Subject {
            model: model.valid(),
            checkpoint,
            config: shape,
            tokenizer,
            ends,
            data,
        })
    }

    /// What of `given`, or else of the data of its own run, is held out; with `whole` all that `given` holds.
    /// Given data that the run did not read is refused where a part of it is taken for held out.
    pub fn held_out(&self, given: Option<Origin>, whole: bool) -> Result<Corpus, Error> {
        let other = match whole {
            true => Other::Taken,
            false => Other::Refused("--whole measures all of another"),
        };
        let origin = origin::after(self.data.as_ref(), given, other, &self.tokenizer)?;
        let text = match whole {
            true => origin.whole(&self.tokenizer)?,
            false => origin.open(&self.tokenizer)?.held_out.ok_or_else(|| {
                Error::Config(format!(
                    "{} given, expected data of which a part was held out; another text is measured by \
                     --text FILE --whole",
                    origin.name()
                ))
            })?,
        };
        match text.vocab_size <= self.config.vocab_size {
            true => Ok(text),
            false => Err(Error::Config(format!(
                "tokens of a vocabulary of {} given ({}), expected at most the model's {}",
                text.vocab_size,
                origin.name(),
                self.config.vocab_size
            ))),
        }
    }
}

/// The folder's name.
fn run_name(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let folder = match path.is_dir() {
        true => Some(path.as_path()),
        false => path.parent(),
    };
    let name = folder.and_then(Path::file_name);
    name.map_or(String::new(), |name| name.to_string_lossy().into_owned())
}
