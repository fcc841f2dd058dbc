//! `baton tokenize`: texts to shards of tokens that training maps into memory.

use crate::context::Context;
use crate::failure::Failure;
use baton_data::files::{self, write_whole};
use baton_data::shards::{self, Part, SHARD_TOKENS};
use baton_data::tokenizer::{self, Tokenizer};
use baton_data::{Corpus, HELD_OUT, documents};
use serde_json::json;
use std::path::PathBuf;

/// Write texts as shards of tokens, once, for many runs
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton tokenize --text books/ --output tokens/ \
    --tokenizer mamba2-130m/tokenizer.json --separator '<|endoftext|>'\n\n\
    A file is a document, a folder is all files below it. `baton train --data tokens/` reads the\n\
    train-*.safetensors of the folder by memory map; the held-out part stands beside them."
)]
pub struct Tokenize {
    /// A text, or a folder of them
    #[arg(long)]
    text: PathBuf,
    /// The field that holds the text, of JSONL, JSON and parquet
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Where the shards are written; a folder that has some is refused
    #[arg(long)]
    output: PathBuf,
    /// A tokenizer.json; a token is a byte without one
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// A token to put after every document, by its id or its text
    #[arg(long, value_name = "TOKEN")]
    separator: Option<String>,
    /// The share at the end that is held out
    #[arg(long, default_value_t = HELD_OUT)]
    held_out: f64,
    /// The most tokens of a file
    #[arg(long, default_value_t = SHARD_TOKENS)]
    shard_tokens: usize,
}

impl Tokenize {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        if !(0.0..1.0).contains(&self.held_out) {
            return Err(Failure::new(format!(
                "--held-out {} given, expected at least 0 and less than 1",
                self.held_out
            )));
        }
        if self.shard_tokens == 0 {
            return Err(Failure::new("--shard-tokens 0 given, expected at least 1"));
        }
        // Of whatever part there is, a vocabulary beside it says what its tokens are.
        for part in [Part::Train, Part::HeldOut] {
            shards::lacks(&self.output, part)?;
        }
        let (tokenizer, called) = match &self.tokenizer {
            Some(path) => (Tokenizer::read(path)?, path.display().to_string()),
            None => (Tokenizer::Bytes, "bytes".to_string()),
        };
        context.output.notes(&tokenizer);
        let name = self.text.file_name().unwrap_or_default().to_string_lossy();
        let found = documents(&self.text, self.field.as_deref())?;
        let separator = self.separator.as_deref();
        let separator = separator
            .map(|given| token(given, &tokenizer))
            .transpose()?;
        let corpus = Corpus::new(&name, &found, &tokenizer, separator)?;
        let (documents, empty) = (corpus.documents.len(), found.len() - corpus.documents.len());
        let (train, held_out) = corpus.split(self.held_out);
        let vocabulary = tokenizer.path().map(files::read).transpose()?;
        // The training part last: it says that the folder is done.
        let write = |corpus: &Corpus, part| match corpus.tokens.is_empty() {
            true => Ok(0),
            false => shards::write(corpus, &called, &self.output, part, self.shard_tokens),
        };
        let held = write(&held_out, Part::HeldOut)?;
        let undone = |error| {
            shards::remove(&self.output, Part::HeldOut, 0..held);
            error
        };
        let kept = match &vocabulary {
            Some(text) => write_whole(&self.output.join(tokenizer::FILE), text),
            None => Ok(()),
        };
        let files = kept
            .and_then(|()| write(&train, Part::Train))
            .map_err(undone)?
            + held;
        let (tokens, held) = (train.tokens.len(), held_out.tokens.len());
        context.output.result(
            || {
                json!({
                    "documents": documents, "empty": empty, "tokens": tokens, "held_out": held,
                    "vocab_size": tokenizer.vocab_size(), "files": files,
                })
            },
            || {
                let left = match empty {
                    0 => String::new(),
                    n => format!(" ({n} more without tokens left out)"),
                };
                format!(
                    "{documents} documents{left}: {tokens} tokens to train on, {held} held out, {files} files\n{}\n",
                    self.output.display()
                )
            },
        )
    }
}

/// A token by its id, or else by its text.
fn token(given: &str, tokenizer: &Tokenizer) -> Result<u32, Failure> {
    let found = given.parse().ok().or_else(|| tokenizer.id(given));
    found.ok_or_else(|| {
        let what = match tokenizer.path() {
            Some(path) => format!("the text of a token of {}", path.display()),
            None => "a text of one byte: a token is a byte without --tokenizer".into(),
        };
        Failure::new(format!(
            "--separator {given} given, expected the id of a token or {what}"
        ))
    })
}
