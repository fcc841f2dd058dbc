//! A learned vocabulary, by the library that writes its file.

use crate::Error;
use crate::files;
use std::path::{Path, PathBuf};

/// A vocabulary as its file gives it.
#[derive(Clone, Debug)]
pub struct Bpe {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    /// What it would have done to texts, and does not do here.
    off: Vec<String>,
}

impl Bpe {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = files::text(path)?;
        let wrong = |e: &dyn std::fmt::Display| {
            let why = e.to_string().replace("struct Tokenizer", "an object");
            Error::file(path, format!("no tokenizer: {why}"))
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(text).map_err(|e| wrong(&e))?;
        let mut off = Vec::new();
        if let Some(cut) = inner.get_truncation() {
            off.push(format!("truncation to {} tokens", cut.max_length));
        }
        if inner.get_padding().is_some() {
            off.push("padding".into());
        }
        inner.with_truncation(None).map_err(|e| wrong(&e))?;
        inner.with_padding(None);
        let path = path.to_path_buf();
        Ok(Bpe { inner, path, off })
    }

    pub(super) fn off(&self) -> &[String] {
        &self.off
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn vocab_size(&self) -> usize {
        let last = self.inner.get_vocab(true).into_values().max();
        last.map_or(0, |last| last as usize + 1)
    }

    pub(super) fn knows(&self, token: u32) -> bool {
        self.inner.id_to_token(token).is_some()
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub(super) fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, Error> {
        let encoded = self.inner.encode_fast(text, special);
        let encoded = encoded.map_err(|e| Error::file(&self.path, e))?;
        Ok(encoded.get_ids().to_vec())
    }

    pub(super) fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, Error> {
        let text = self.inner.decode(tokens, false);
        Ok(text.map_err(|e| Error::file(&self.path, e))?.into_bytes())
    }
}
