//! Between text and tokens, as far as tasks need it.

use crate::Error;

/// A tokenizer.
pub trait Codec: Send + Sync {
    /// The tokens of a text, nothing added.
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error>;

    /// The text of tokens; what is no text becomes U+FFFD.
    fn decode(&self, tokens: &[u32]) -> Result<String, Error>;

    /// Tokens in the vocabulary.
    fn vocabulary(&self) -> usize;
}

/// One token a byte.
#[derive(Clone, Copy, Debug)]
pub struct Bytes;

impl Codec for Bytes {
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, Error> {
        let bytes: Vec<u8> = tokens
            .iter()
            .map(|&t| u8::try_from(t).unwrap_or(b'?'))
            .collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn vocabulary(&self) -> usize {
        256
    }
}
