//! A prompt that grows to the length that is asked for.

use crate::Place;
use baton_data::Error;
use baton_data::rng::Rng;

/// A prompt, the beginning of its answer included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What is read.
    pub prompt: String,
    /// What is to be found in the continuation.
    pub references: Vec<String>,
}

/// A kind of prompt that grows.
pub trait Form: Send + Sync {
    /// Tokens of the continuation, for a tokenizer of words and their parts.
    fn count(&self) -> usize;

    /// The least size, and the greatest if there is one.
    fn sizes(&self) -> (usize, Option<usize>);

    /// Whether the depth decides where something lies.
    fn has_depth(&self) -> bool {
        false
    }

    /// A prompt of `size` (sentences, words: what the form counts in).
    fn write(&self, size: usize, place: Place, rng: &mut Rng) -> Result<Written, Error>;
}
