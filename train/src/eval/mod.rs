//! Measures of a language model far past its training length.
//!
//! Every measure reads its sequences through a [`Stream`]: segments, all states carried, so memory
//! does not grow with the length. What it found is plain data ([`baton_tasks::measures`]), one JSON file that says
//! what was measured, on which checkpoint and with which options; the report reads nothing else. Tasks ask a model
//! through a [`Reader`].
//!
//! A measure is a file here (options, one function of a model and tokens), a type of results there, and a verb of
//! `baton eval`. Definitions: docs/evaluation.md.

mod bar;
pub mod logits;
mod named;
pub mod perplexity;
mod reader;
pub mod remembrance;
pub mod states;
mod stream;
mod subject;

pub use bar::progress;
pub(crate) use named::remembered;
pub use reader::Reader;
pub use stream::{Stream, argmax};
pub use subject::{Checkpoint, Subject};

use crate::Error;

/// A text as tokens, read at any place.
pub trait Tokens: Sync {
    /// Number of tokens.
    fn len(&self) -> usize;

    /// Token number `at`.
    fn token(&self, at: usize) -> u32;

    /// What it is called in messages.
    fn called(&self) -> &str {
        "a text"
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens `from .. from + count` of each of `starts`, [B, count] in row order.
    fn rows(&self, starts: &[usize], from: usize, count: usize) -> Vec<u32> {
        let row = |start: &usize| {
            let begin = start + from;
            (begin..begin + count).map(|at| self.token(at))
        };
        starts.iter().flat_map(row).collect()
    }
}

impl Tokens for baton_data::Corpus {
    fn len(&self) -> usize {
        self.tokens.len()
    }

    fn token(&self, at: usize) -> u32 {
        self.tokens.read(at..at + 1)[0]
    }

    fn called(&self) -> &str {
        &self.name
    }

    fn rows(&self, starts: &[usize], from: usize, count: usize) -> Vec<u32> {
        let row = |start: &usize| self.tokens.read(start + from..start + from + count);
        starts.iter().flat_map(row).collect()
    }
}

impl Tokens for [u8] {
    fn len(&self) -> usize {
        self.len()
    }

    fn token(&self, at: usize) -> u32 {
        self[at] as u32
    }
}

impl Tokens for [u32] {
    fn len(&self) -> usize {
        self.len()
    }

    fn token(&self, at: usize) -> u32 {
        self[at]
    }
}

/// Sequences that are run side by side where nothing else is asked for.
pub const SIDE_BY_SIDE: usize = 16;

pub(crate) fn side_by_side() -> usize {
    SIDE_BY_SIDE
}

pub(crate) fn is_usual(batch: &usize) -> bool {
    *batch == SIDE_BY_SIDE
}

/// Where up to `sequences` windows of `length` tokens of `text` begin: evenly spread from the first place to
/// the last, none overlapping another; fewer than asked for when the text is too short for more.
pub fn starts(
    text: &(impl Tokens + ?Sized),
    length: usize,
    sequences: usize,
) -> Result<Vec<usize>, Error> {
    let (name, text) = (text.called(), text.len());
    if length == 0 || sequences == 0 {
        return Err(Error::Config(format!(
            "{sequences} sequences of {length} tokens given, expected at least 1 of each"
        )));
    }
    let batch = sequences.min(text / length);
    if batch == 0 {
        return Err(Error::Config(format!(
            "{name}, {text} tokens given, expected at least {length} for one sequence: a longer text, or shorter sequences"
        )));
    }
    let spare = text - length;
    let place = |i| (i as u128 * spare as u128 / (batch as u128 - 1).max(1)) as usize;
    Ok((0..batch).map(place).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::models::LanguageModel;
    use baton_config::{BlockConfig, Mamba2Config, ModelConfig};
    use baton_runtime::device::interpreter::Interpreter;
    use burn::module::Module;

    /// A Mamba-2 of two layers.
    pub fn micro_config() -> ModelConfig {
        ModelConfig {
            vocab_size: 256,
            hidden_size: 16,
            num_hidden_layers: 2,
            layer_norm_epsilon: 1e-5,
            tie_word_embeddings: true,
            intermediate_size: None,
            output_logit_soft_cap: None,
            block: BlockConfig::Mamba2(Mamba2Config {
                head_dim: 8,
                state_size: 8,
                ..Mamba2Config::default()
            }),
        }
    }

    /// The same with fresh weights, without a graph.
    pub fn micro() -> LanguageModel {
        let model = LanguageModel::new(&micro_config(), &Interpreter, 1).unwrap();
        model.valid()
    }

    #[test]
    fn windows_spread_and_do_not_overlap() {
        let text = [0u8; 100];
        assert_eq!(starts(&text[..], 10, 3).unwrap(), [0, 45, 90]);
        assert_eq!(starts(&text[..29], 10, 5).unwrap(), [0, 19]);
        assert_eq!(starts(&text[..10], 10, 5).unwrap(), [0]);
        let error = starts(&text[..9], 10, 5).unwrap_err().to_string();
        assert!(
            error.starts_with("a text, 9 tokens given, expected at least 10 for one sequence: ")
        );
    }
}
