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

/// What `data/tests/golden/tokenizers/make.py` wrote: texts in which engines of regular expressions differ, in the
/// tokens that the Python library gives for the patterns of published vocabularies.
#[test]
fn patterns_of_published_vocabularies_give_the_tokens_of_the_python_library() {
    #[derive(serde::Deserialize)]
    struct Golden {
        texts: Vec<String>,
        patterns: std::collections::BTreeMap<String, String>,
        tokens: std::collections::BTreeMap<String, Vec<Vec<u32>>>,
        base: serde_json::Value,
    }
    let golden = include_bytes!("../../tests/golden/tokenizers/tokenizers.json");
    let mut golden: Golden = serde_json::from_slice(golden).unwrap();
    let folder = std::env::temp_dir().join(format!("baton-patterns-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut differ = 0;
    for (name, pattern) in &golden.patterns {
        let bytes = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": false});
        golden.base["pre_tokenizer"] = serde_json::json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}, bytes]});
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, golden.base.to_string()).unwrap();
        let tokenizer = Tokenizer::read(&path).unwrap();
        for (text, expected) in golden.texts.iter().zip(&golden.tokens[name]) {
            let tokens = tokenizer.encode(text.as_bytes()).unwrap();
            assert_eq!(&tokens, expected, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&tokens).unwrap(), text.as_bytes());
        }
        differ += usize::from(golden.tokens[name] != golden.tokens["gpt2"]);
    }
    assert_eq!(
        differ,
        golden.patterns.len() - 1,
        "every pattern cuts elsewhere"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn ids_that_no_token_has_are_left_out_of_what_a_model_says() {
    let folder = learned("bpe-holes", "some text");
    let tokenizer = Tokenizer::of(&folder).unwrap();
    let mut tokens = tokenizer.encode(b"some text").unwrap();
    tokens.insert(1, 5000);
    assert_eq!(tokenizer.said(&tokens).unwrap(), b"some text");
    assert_eq!(Tokenizer::Bytes.said(&[104, 300, 105]).unwrap(), b"hi");
    std::fs::remove_dir_all(folder).unwrap();
}

/// A published folder may lack its vocabulary, and bytes are numbers of it all the same.
#[test]
fn bytes_stand_in_for_a_larger_vocabulary_with_a_word() {
    assert_eq!(Tokenizer::Bytes.stands_in(256), None);
    assert_eq!(Tokenizer::Bytes.stands_in(512), None);
    let said = Tokenizer::Bytes.stands_in(50288).unwrap();
    assert!(
        said.contains("tokenizer.json") && said.contains("50288"),
        "{said}"
    );
}
