//! A checkpoint in memory.

use super::described::names;
use super::layout::Layout;
use super::names::Names;
use super::published::Published;
use crate::checkpoint::Progress;
use crate::origin::Known;
use baton_config::{Error, ModelConfig, TrainConfig};
use baton_data::tokenizer::Tokenizer;
use baton_runtime::Tensor;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// The key of tokens that end a text.
const ENDS: &str = "eos_token_id";

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
    pub(super) published: Option<Published>,
}

impl Stored {
    /// A model of Baton's own layout that reads bytes, with these weights; nothing is known of where it is from.
    pub fn new(config: ModelConfig, weights: BTreeMap<String, Tensor>) -> Self {
        Stored {
            config,
            weights,
            train_length: None,
            run: None,
            data: None,
            tokenizer: Tokenizer::Bytes,
            layout: Layout::Baton,
            published: None,
        }
    }

    /// Tokens that end a text: `eos_token_id` of `generation_config.json`, or else of its configuration. What is no
    /// token of the model is refused.
    pub fn ends(&self) -> Result<Vec<u32>, Error> {
        let Some(published) = &self.published else {
            return Ok(Vec::new());
        };
        let Some((path, named)) = published.generation(ENDS)? else {
            return Ok(Vec::new());
        };
        let vocabulary = self.config.vocab_size;
        let token = |value: &Value| {
            let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
            let known = token.filter(|&token| (token as usize) < vocabulary);
            known.ok_or_else(|| {
                let what = format!(
                    "`{ENDS}` is {named}, expected tokens of the model's vocabulary of {vocabulary}, one or a list"
                );
                Error::file(&path, what)
            })
        };
        match &named {
            Value::Array(all) => all.iter().map(token).collect(),
            one => Ok(vec![token(one)?]),
        }
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

    /// What names of weights go by beside the model: the configuration that it came with, in its own layout.
    pub fn source(&self) -> Map<String, Value> {
        let own = self
            .published
            .as_ref()
            .filter(|from| from.layout == self.layout);
        own.map(|from| from.config.clone()).unwrap_or_default()
    }

    /// What its layout calls the weights of the model.
    pub fn names(&self) -> Names {
        names(self.layout, &self.config, &self.source())
    }

    /// Tensors that are called and shaped as the model's weights, under the names that its own
    /// layout has for them.
    pub fn named(&self, weights: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
        let names = self.names();
        let named = names.write(weights).into_iter();
        named
            .map(|(name, tensor)| (name.to_string(), tensor.into_owned()))
            .collect()
    }
}
