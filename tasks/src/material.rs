//! What tasks are made of beside random numbers: a vocabulary, and a text to hide in.

use crate::{Codec, haystack};
use baton_data::Error;
use baton_data::rng::Rng;
use baton_data::tokenizer::Tokenizer;
use std::sync::Arc;

/// A vocabulary and a haystack.
#[derive(Clone)]
pub struct Material {
    /// The tokenizer.
    pub codec: Arc<dyn Codec>,
    /// The haystack; absent: the task's own noise.
    pub text: Option<Arc<str>>,
}

impl Material {
    /// The tokens of `tokenizer`.
    pub fn new(tokenizer: Tokenizer, text: Option<Arc<str>>) -> Self {
        Material {
            codec: Arc::new(tokenizer),
            text,
        }
    }

    /// Bytes as tokens.
    pub fn bytes(text: Option<Arc<str>>) -> Self {
        Material::new(Tokenizer::Bytes, text)
    }

    /// `count` tokens of the haystack from a random place, or random ones below `ids`.
    pub fn noise(&self, count: usize, ids: usize, rng: &mut Rng) -> Result<Vec<u32>, Error> {
        let Some(text) = &self.text else {
            return Ok((0..count).map(|_| rng.below(ids) as u32).collect());
        };
        let tokens = haystack::tokens(text, count, self.codec.as_ref(), rng)?;
        match tokens.iter().find(|&&token| token as usize >= ids) {
            None => Ok(tokens),
            Some(token) => Err(Error::Config(format!(
                "a haystack with token {token} given, expected tokens below {ids}"
            ))),
        }
    }
}
