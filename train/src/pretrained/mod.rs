//! Checkpoints as they are published and passed on: weights and their configuration, nothing of
//! the run that made them.
//!
//! Three layouts are read and written, each a folder of `config.json` and weights:
//! Hugging Face's (`hugging_face`), that of the authors of Mamba (`authors.rs`), and Baton's
//! own, which any model has ([`Layout::Baton`]). The trainer's checkpoint is read too, so that a
//! verb that takes a checkpoint takes them all: [`open`]. Whatever the layout, weights are called
//! here as in Hugging Face's, which are the paths of the model's fields, and are f32.
//!
//! Two rules: what a configuration says and this program cannot compute is refused by its name,
//! never passed over; and saving makes a new folder, whole or not at all.

mod authors;
mod hugging_face;
mod names;
mod place;
mod published;
mod save;
mod settings;
mod tensors;
#[cfg(test)]
mod tests;
mod torch;

pub use save::{Precision, save};

use crate::Error;
use crate::checkpoint::{Checkpoint, Progress};
use crate::files::folder;
use crate::models::{self, LanguageModel, ModelConfig};
use crate::origin::Known;
use crate::tokenizer::Tokenizer;
use crate::trainer::TrainConfig;
use baton_runtime::{Device, Tensor};
use burn::module::Module;
use names::Names;
use place::{At, place};
use published::Published;
use serde_json::{Map, Value};
use settings::Settings;
use std::collections::BTreeMap;
use std::path::Path;

/// The configuration of every layout.
const CONFIG: &str = "config.json";
/// What `model_type` says in Baton's own.
const BATON: &str = "baton";
/// Names that only Hugging Face's layout and only the authors' have.
const EMBEDDING: [&str; 2] = ["backbone.embeddings.weight", "backbone.embedding.weight"];
const HEAD: &str = "lm_head.weight";
/// A model of so many weights is made whatever is held, to say by name what is wrong with each.
const SMALL: f64 = 1e7;

/// How a checkpoint lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As transformers writes a class of models that a block here has.
    HuggingFace,
    /// As mamba_ssm writes `MambaLMHeadModel`.
    Authors,
    /// A model of any block: its configuration as the trainer has it, and the weights.
    Baton,
}

/// A checkpoint in memory.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The shape of the model.
    pub config: ModelConfig,
    /// Every weight by name.
    pub weights: BTreeMap<String, Tensor>,
    /// Tokens of the sequences that it was trained on, where that is known.
    pub train_length: Option<usize>,
    /// The run that it is from and how far that had come, if it is the trainer's own.
    pub run: Option<(TrainConfig, Progress)>,
    /// What is known of the data of that run.
    pub data: Option<Known>,
    /// How its text becomes tokens.
    pub tokenizer: Tokenizer,
    /// How it lay on the disk.
    pub layout: Layout,
    /// What came with the published checkpoint that it is, or that it was made from.
    published: Option<Published>,
}

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
    let model = stored.model(device).map_err(|e| Error::file(path, e))?;
    Ok(Pretrained {
        model: model.valid(),
        config,
        train_length,
        tokenizer,
    })
}

/// Reads what [`open`] loads; that the weights fit the configuration is known once a
/// [`model`](Stored::model) is made of them.
pub fn read(path: &Path) -> Result<Stored, Error> {
    match place(path)? {
        At::Folder(config) => published(path, &config),
        At::Run(file) => trained(&file, folder(&file)),
    }
}

impl Stored {
    /// Tokens that end a text, as its configuration says (`eos_token_id`).
    pub fn ends(&self) -> Vec<u32> {
        let token = |value: &Value| value.as_u64().and_then(|t| u32::try_from(t).ok());
        let named = self
            .published
            .as_ref()
            .and_then(|from| from.config.get("eos_token_id"));
        let all: Vec<u32> = match named {
            Some(Value::Array(all)) => all.iter().filter_map(token).collect(),
            Some(one) => token(one).into_iter().collect(),
            None => Vec::new(),
        };
        let known = |&token: &u32| (token as usize) < self.config.vocab_size;
        all.into_iter().filter(known).collect()
    }

    /// The layout that it came from, or else that of others which it was made from.
    pub fn home(&self) -> Layout {
        self.published
            .as_ref()
            .map_or(self.layout, |from| from.layout)
    }

    /// Holds in `folder`, a run's, what came with a published checkpoint and is not trained.
    pub fn keep(&self, folder: &Path) -> Result<(), Error> {
        match &self.published {
            Some(published) => published.keep(folder),
            None => Ok(()),
        }
    }

    /// What names of weights go by beside the model.
    fn source(&self) -> Map<String, Value> {
        let own = self
            .published
            .as_ref()
            .filter(|from| from.layout == self.layout);
        own.map(|from| from.config.clone()).unwrap_or_default()
    }

    /// The model with these weights, ready to train; a weight that does not fit is refused by name.
    pub fn model(self, device: &dyn Device) -> Result<LanguageModel, Error> {
        let (names, model) = (
            names(self.layout, &self.config, &self.source()),
            LanguageModel::blank(&self.config, device)?,
        );
        models::load_called(model, self.weights, &|ours| names.called(ours).to_string())
    }

    /// Tensors that are called and shaped as the model's weights, under the names that its own
    /// layout has for them.
    pub fn named(&self, weights: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
        let names = names(self.layout, &self.config, &self.source());
        let named = names.write(weights).into_iter();
        named
            .map(|(name, tensor)| (name.to_string(), tensor.into_owned()))
            .collect()
    }
}

fn published(folder: &Path, config: &Path) -> Result<Stored, Error> {
    let settings = Settings::read(config)?;
    let (layout, config, train_length) = described(&settings)?;
    let mut weights = tensors::read(folder)?;
    let held: usize = weights.values().map(|weight| weight.data.len()).sum();
    let about = config.about_weights();
    if about > 2.0 * held as f64 + SMALL {
        let what = format!(
            "it describes a model of about {about:.1e} weights, expected one of the {held} that are \
             beside it"
        );
        return Err(Error::file(settings.path(), what));
    }
    let names = names(layout, &config, settings.map());
    names
        .unwrapped(&weights)
        .and_then(|()| names.read(&mut weights))
        .and_then(|()| canonical(&mut weights, config.tie_word_embeddings))
        .map_err(|e| Error::file(folder, e))?;
    let published = match layout {
        Layout::Baton => Published::kept(folder)?,
        _ => Some(Published::new(layout, settings, folder)?),
    };
    Ok(Stored {
        config,
        weights,
        train_length,
        run: None,
        data: None,
        tokenizer: Tokenizer::of(folder)?,
        layout,
        published,
    })
}

/// The layout, the model and the length of training that a configuration says.
fn described(settings: &Settings) -> Result<(Layout, ModelConfig, Option<usize>), Error> {
    let (layout, config, train_length) = match settings.text("model_type")? {
        Some(BATON) => {
            let (config, train_length) = own(settings)?;
            (Layout::Baton, config, train_length)
        }
        None if settings.has("d_model") => (Layout::Authors, authors::config(settings)?, None),
        given => {
            let class = given.map(|class| hugging_face::config(class, settings));
            match class.transpose()?.flatten() {
                Some(config) => (Layout::HuggingFace, config, None),
                None => {
                    let expected = format!(
                        "one of {} (or the authors' layout, which has `d_model`)",
                        hugging_face::known()
                    );
                    let given = given.map_or("nothing".into(), |given| format!("{given:?}"));
                    return Err(settings.wrong("model_type", given, &expected));
                }
            }
        }
    };
    config
        .check()
        .map_err(|e| Error::file(settings.path(), e))?;
    Ok((layout, config, train_length))
}

/// What a layout calls the weights of a model.
fn names(layout: Layout, config: &ModelConfig, source: &Map<String, Value>) -> Names {
    match layout {
        Layout::HuggingFace => hugging_face::names(config, source),
        Layout::Authors | Layout::Baton => Names::default(),
    }
}

/// Calls weights as Hugging Face's layout does; a head that repeats the embedding goes, and one that stands for it
/// becomes it.
fn canonical(weights: &mut BTreeMap<String, Tensor>, tied: bool) -> Result<(), Error> {
    let [ours, theirs] = EMBEDDING;
    if let Some(embedding) = weights.remove(theirs)
        && weights.insert(ours.into(), embedding).is_some()
    {
        return Err(Error::Tensor(format!(
            "both tensor `{ours}` and `{theirs}` are given, expected one of them"
        )));
    }
    if tied && let Some(head) = weights.remove(HEAD) {
        let same = *weights.entry(ours.into()).or_insert_with(|| head.clone()) == head;
        return same.then_some(()).ok_or_else(|| {
            Error::Tensor(format!(
                "tensor `{HEAD}` differs from `{ours}`, expected the same values as the \
                 configuration ties them"
            ))
        });
    }
    Ok(())
}

/// What a folder of Baton's own layout says.
fn own(settings: &Settings) -> Result<(ModelConfig, Option<usize>), Error> {
    let model = settings.get("model").cloned().unwrap_or_default();
    let config = serde_json::from_value(model)
        .map_err(|e| Error::file(settings.path(), format!("`model` is no model: {e}")))?;
    Ok((config, settings.size("train_length")?))
}

/// A checkpoint of the trainer.
fn trained(file: &Path, folder: &Path) -> Result<Stored, Error> {
    let checkpoint = Checkpoint::read(file)?;
    let (config, data) = TrainConfig::of(&checkpoint, file)?;
    let origin = checkpoint.origin;
    let known = |fingerprint| Known {
        fingerprint,
        origin,
    };
    Ok(Stored {
        config: config.model.clone(),
        weights: checkpoint.weights,
        train_length: Some(config.train_length),
        run: Some((config, checkpoint.progress)),
        data: data.map(known),
        tokenizer: Tokenizer::of(folder)?,
        layout: Layout::Baton,
        published: Published::kept(folder)?,
    })
}
