//! Between text and tokens, as far as tasks need it.

use baton_data::Error;
use baton_data::tokenizer::Tokenizer;

/// A vocabulary of text.
pub trait Codec: Send + Sync {
    /// The tokens of a text, nothing added.
    fn tokens(&self, text: &str) -> Result<Vec<u32>, Error>;

    /// The text of tokens, whatever a model makes up: what is no UTF-8 becomes U+FFFD, and ids that no token has (a model's
    /// vocabulary may be padded) are left out.
    fn text(&self, tokens: &[u32]) -> Result<String, Error>;

    /// Tokens in the vocabulary.
    fn vocabulary(&self) -> usize;
}

impl Codec for Tokenizer {
    fn tokens(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.encode(text.as_bytes())
    }

    fn text(&self, tokens: &[u32]) -> Result<String, Error> {
        let bytes = self.said(tokens)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn vocabulary(&self) -> usize {
        self.vocab_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_model_says_is_text() {
        let bytes = Tokenizer::Bytes;
        assert_eq!(bytes.tokens("h\u{e9}").unwrap(), [104, 195, 169]);
        assert_eq!(
            bytes.text(&[104, 300, 195, 169, 195]).unwrap(),
            "h\u{e9}\u{fffd}"
        );
    }
}
