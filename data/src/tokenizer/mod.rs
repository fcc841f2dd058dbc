//! From text to tokens and back: bytes, or the byte-pair encoding that a checkpoint brings along.
//!
//! A byte-level model needs no file: a token is a byte. Published checkpoints come with a
//! `tokenizer.json` (GPT-NeoX's, for Mamba-2), read by the library that wrote it. Text goes in as
//! bytes and comes out as bytes, because a cut through a text, or what a model makes up, need not
//! be UTF-8. Without the feature `tokenizers` that library is not built in, and a vocabulary is
//! refused by name.

#[cfg(not(feature = "tokenizers"))]
mod absent;
#[cfg(feature = "tokenizers")]
mod bpe;
#[cfg(all(test, feature = "tokenizers"))]
mod tests;

#[cfg(not(feature = "tokenizers"))]
pub use absent::Bpe;
#[cfg(feature = "tokenizers")]
pub use bpe::Bpe;

use crate::Error;
use std::path::Path;

/// The file of a byte-pair encoding in a checkpoint's folder.
pub const FILE: &str = "tokenizer.json";

/// How text becomes tokens.
#[derive(Clone, Debug)]
pub enum Tokenizer {
    /// A token is a byte.
    Bytes,
    /// A learned vocabulary.
    Bpe(Box<Bpe>),
}

impl Tokenizer {
    /// The one in `folder`, or bytes where it has none.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        match path.is_file() {
            true => Tokenizer::read(&path),
            false => Ok(Tokenizer::Bytes),
        }
    }

    /// The vocabulary of a `tokenizer.json`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(Tokenizer::Bpe(Box::new(Bpe::read(path)?)))
    }

    /// Where it was read; bytes have no file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Tokenizer::Bytes => None,
            Tokenizer::Bpe(bpe) => Some(bpe.path()),
        }
    }

    /// What its file would do to texts and is not done here, for who gives one; a text is whole.
    pub fn note(&self) -> Option<String> {
        match self {
            Tokenizer::Bpe(bpe) if !bpe.off().is_empty() => Some(format!(
                "{}: its {} is switched off, texts are whole",
                bpe.path().display(),
                bpe.off().join(" and ")
            )),
            _ => None,
        }
    }

    /// What is wrong with it for a model of so many tokens, which no vocabulary of bytes has.
    pub fn stands_in(&self, vocabulary: usize) -> Option<String> {
        let own = matches!(self, Tokenizer::Bpe(_)) || vocabulary <= 2 * 256;
        (!own).then(|| {
            format!(
                "there is no {FILE} beside the checkpoint: texts are read as bytes, of a vocabulary of {vocabulary}"
            )
        })
    }

    /// Tokens that it knows, added ones included: every token is less.
    pub fn vocab_size(&self) -> usize {
        match self {
            Tokenizer::Bytes => 256,
            Tokenizer::Bpe(bpe) => bpe.vocab_size(),
        }
    }

    /// The tokens of `text`, no special ones added; a learned vocabulary takes UTF-8 only.
    pub fn encode(&self, text: &[u8]) -> Result<Vec<u32>, Error> {
        self.tokens(text, false)
    }

    /// The same with the special tokens that its post-processor puts around a whole text, as the Python library does
    /// unless told otherwise; bytes have none.
    pub fn whole(&self, text: &[u8]) -> Result<Vec<u32>, Error> {
        self.tokens(text, true)
    }

    /// The id of a token by its text, an added one's too; of bytes, a text of one.
    pub fn id(&self, token: &str) -> Option<u32> {
        match self {
            Tokenizer::Bytes => match *token.as_bytes() {
                [byte] => Some(byte.into()),
                _ => None,
            },
            Tokenizer::Bpe(bpe) => bpe.id(token),
        }
    }

    fn tokens(&self, text: &[u8], special: bool) -> Result<Vec<u32>, Error> {
        match self {
            Tokenizer::Bytes => Ok(text.iter().map(|&byte| byte as u32).collect()),
            Tokenizer::Bpe(bpe) => {
                let text = std::str::from_utf8(text).map_err(|e| {
                    Error::Config(format!(
                        "a text that is no UTF-8 from byte {} on given, expected UTF-8 for {}",
                        e.valid_up_to(),
                        bpe.path().display()
                    ))
                })?;
                bpe.encode(text, special)
            }
        }
    }

    /// Whether it has a token of this id, which not every id of a model's padded vocabulary is.
    pub fn knows(&self, token: u32) -> bool {
        match self {
            Tokenizer::Bytes => token < 256,
            Tokenizer::Bpe(bpe) => bpe.knows(token),
        }
    }

    /// The text of whatever a model says: ids that no token has are left out.
    pub fn said(&self, tokens: &[u32]) -> Result<Vec<u8>, Error> {
        let known = tokens.iter().copied().filter(|&token| self.knows(token));
        self.decode(&known.collect::<Vec<u32>>())
    }

    /// The text of `tokens`; one that it does not know is refused.
    pub fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, Error> {
        let unknown = |token: u32| {
            Error::Config(format!(
                "token {token} given, expected one of the vocabulary of {}",
                self.vocab_size()
            ))
        };
        match self {
            Tokenizer::Bytes => tokens
                .iter()
                .map(|&token| u8::try_from(token).map_err(|_| unknown(token)))
                .collect(),
            Tokenizer::Bpe(bpe) => {
                if let Some(&token) = tokens.iter().find(|&&token| !bpe.knows(token)) {
                    return Err(unknown(token));
                }
                bpe.decode(tokens)
            }
        }
    }
}
