//! Between text and tokens, as far as tasks need it.

use baton_data::Error;
use baton_data::tokenizer::Tokenizer;

/// Tokens in whose sight others are decoded.
const BEFORE: usize = 16;

/// A vocabulary of text.
pub trait Codec: Send + Sync {
    /// The tokens of a text, nothing added.
    fn tokens(&self, text: &str) -> Result<Vec<u32>, Error>;

    /// The text of tokens, whatever a model makes up: what is no UTF-8 becomes U+FFFD, and ids that no token has (a model's
    /// vocabulary may be padded) are left out.
    fn text(&self, tokens: &[u32]) -> Result<String, Error>;

    /// The same of tokens that follow those `read`: a decoder may drop the first space of what it is given.
    fn text_after(&self, read: &[u32], tokens: &[u32]) -> Result<String, Error> {
        let last = &read[read.len().saturating_sub(BEFORE)..];
        let (before, all) = (self.text(last)?, self.text(&[last, tokens].concat())?);
        match all.strip_prefix(&before) {
            Some(new) => Ok(new.to_string()),
            None => self.text(tokens),
        }
    }

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

    /// Words with spaces between.
    struct Words;

    impl Codec for Words {
        fn tokens(&self, text: &str) -> Result<Vec<u32>, Error> {
            Ok(text.split(' ').flat_map(str::parse::<u32>).collect())
        }

        fn text(&self, tokens: &[u32]) -> Result<String, Error> {
            let words: Vec<String> = tokens.iter().map(u32::to_string).collect();
            Ok(words.join(" "))
        }

        fn vocabulary(&self) -> usize {
            100
        }
    }

    #[test]
    fn what_follows_is_what_the_text_has_beyond() {
        let read: Vec<u32> = (10..40).collect();
        assert_eq!(Words.text_after(&read, &[7, 8]).unwrap(), " 7 8");
        assert_eq!(Words.text_after(&[], &[7, 8]).unwrap(), "7 8");
        assert_eq!(Words.text_after(&read, &[]).unwrap(), "");
        let bytes = Tokenizer::Bytes;
        let e = [104, 195, 169];
        assert_eq!(bytes.text_after(&e[..2], &e[2..]).unwrap(), "\u{fffd}");
        assert_eq!(bytes.text_after(&e, &e).unwrap(), "h\u{e9}");
    }

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
