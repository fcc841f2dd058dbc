use super::*;
use std::path::PathBuf;
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
