//! From text to tokens and back: bytes, or the byte-pair encoding that a checkpoint brings along.
//!
//! A byte-level model needs no file: a token is a byte. Published checkpoints come with a
//! `tokenizer.json` (GPT-NeoX's, for Mamba-2), read by the library that wrote it. Text goes in as
//! bytes and comes out as bytes, because a cut through a text, or what a model makes up, need not
//! be UTF-8.

use crate::Error;
use std::path::{Path, PathBuf};

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

/// A vocabulary as its file gives it.
#[derive(Clone, Debug)]
pub struct Bpe {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
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
        let bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
        let inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| Error::file(path, format!("no tokenizer: {e}")))?;
        let path = path.to_path_buf();
        Ok(Tokenizer::Bpe(Box::new(Bpe { inner, path })))
    }

    /// Where it was read; bytes have no file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Tokenizer::Bytes => None,
            Tokenizer::Bpe(bpe) => Some(&bpe.path),
        }
    }

    /// Tokens that it knows, added ones included: every token is less.
    pub fn vocab_size(&self) -> usize {
        match self {
            Tokenizer::Bytes => 256,
            Tokenizer::Bpe(bpe) => {
                let last = bpe.inner.get_vocab(true).into_values().max();
                last.map_or(0, |last| last as usize + 1)
            }
        }
    }

    /// The tokens of `text`, no special ones added; a learned vocabulary takes UTF-8 only.
    pub fn encode(&self, text: &[u8]) -> Result<Vec<u32>, Error> {
        match self {
            Tokenizer::Bytes => Ok(text.iter().map(|&byte| byte as u32).collect()),
            Tokenizer::Bpe(bpe) => {
                let text = std::str::from_utf8(text).map_err(|e| {
                    Error::Config(format!(
                        "a text that is no UTF-8 from byte {} on given, expected UTF-8 for {}",
                        e.valid_up_to(),
                        bpe.path.display()
                    ))
                })?;
                let encoded = bpe.inner.encode_fast(text, false);
                let encoded = encoded.map_err(|e| Error::file(&bpe.path, e))?;
                Ok(encoded.get_ids().to_vec())
            }
        }
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
                let known = |token: u32| bpe.inner.id_to_token(token).is_some();
                if let Some(&token) = tokens.iter().find(|&&token| !known(token)) {
                    return Err(unknown(token));
                }
                let text = bpe.inner.decode(tokens, false);
                Ok(text.map_err(|e| Error::file(&bpe.path, e))?.into_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::decoders::byte_level::ByteLevel;
    use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
    use tokenizers::{AddedToken, TokenizerBuilder};

    /// A folder of its own with a byte-level vocabulary of 300, learned from the text.
    fn learned(name: &str, text: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("baton-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size(300)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from("<|endoftext|>", true)])
            .build();
        let mut tokenizer = TokenizerBuilder::default()
            .with_model(BPE::default())
            .with_normalizer(None::<tokenizers::normalizers::NFC>)
            .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
            .with_post_processor(Some(ByteLevel::default()))
            .with_decoder(Some(ByteLevel::default()))
            .build()
            .unwrap();
        tokenizer.train(&mut trainer, [text].into_iter()).unwrap();
        tokenizer.save(folder.join(FILE), false).unwrap();
        folder
    }

    #[test]
    fn bytes_are_their_own_tokens() {
        let tokenizer = Tokenizer::Bytes;
        let text = [0u8, 255, b'a'];
        assert_eq!(tokenizer.encode(&text).unwrap(), [0, 255, 97]);
        assert_eq!(tokenizer.decode(&[0, 255, 97]).unwrap(), text);
        let error = tokenizer.decode(&[256]).unwrap_err().to_string();
        assert_eq!(
            error,
            "token 256 given, expected one of the vocabulary of 256"
        );
    }

    #[test]
    fn a_vocabulary_is_read_and_gives_the_text_back() {
        let folder = learned(
            "bpe",
            "it is a truth universally acknowledged, that a truth is",
        );
        let tokenizer = Tokenizer::of(&folder).unwrap();
        assert!((258..=300).contains(&tokenizer.vocab_size()));
        let text = "a truth é, 1813\n\n  is<|endoftext|>it";
        let tokens = tokenizer.encode(text.as_bytes()).unwrap();
        assert!(tokens.len() < text.len() - "<|endoftext|>".len() + 1);
        assert!(tokens.contains(&0)); // the special token, found in the text
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text.as_bytes());
        let error = tokenizer.encode(&[b'a', 0xff]).unwrap_err().to_string();
        assert!(
            error.starts_with("a text that is no UTF-8 from byte 1 on"),
            "{error}"
        );
        let error = tokenizer.decode(&[5000]).unwrap_err().to_string();
        assert!(error.starts_with("token 5000 given"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_damaged_vocabulary_is_refused() {
        let folder = learned("bpe-damaged", "some text");
        let path = folder.join(FILE);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        let error = Tokenizer::of(&folder).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json: no tokenizer: "), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
