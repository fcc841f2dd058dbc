//! What answers are hidden in: the grass sentences, or any text.

use super::Codec;
use baton_data::Error;
use baton_data::rng::Rng;

/// The noise of the passkey and RULER formats.
pub const GRASS: &str =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/// Titles whose full stop ends no sentence.
const TITLES: [&str; 8] = ["Mr", "Mrs", "Ms", "Dr", "St", "Mme", "M", "Rev"];

/// The sentences of a text: each ends with `.`, `!` or `?`, closing quotes included, before white
/// space, unless the stop belongs to a title or an initial. White space around them is dropped.
pub fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let end = end(rest);
        let (sentence, after) = rest.split_at(end);
        rest = after;
        Some(sentence.trim_end())
    })
}

fn end(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if !matches!(c, '.' | '!' | '?') || (c == '.' && is_abbreviation(&text[..at])) {
            continue;
        }
        let closing = |c: char| matches!(c, '"' | '\'' | ')' | '\u{201d}' | '\u{2019}');
        while characters.next_if(|&(_, c)| closing(c)).is_some() {}
        match characters.peek() {
            Some((next, c)) if c.is_whitespace() => return *next,
            _ => {}
        }
    }
    text.len()
}

fn is_abbreviation(before: &str) -> bool {
    let word = before.rsplit(|c: char| !c.is_alphabetic()).next();
    word.is_some_and(|word| {
        TITLES.contains(&word)
            || (word.chars().count() == 1 && word.chars().all(char::is_uppercase) && word != "I")
    })
}

/// A place in a text where a character begins.
fn start(text: &str, rng: &mut Rng) -> usize {
    let at = rng.below(text.len().max(1));
    (0..=at)
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0)
}

/// `count` tokens of `text` from a random place on, beginning again at its end.
pub fn tokens(
    text: &str,
    count: usize,
    codec: &dyn Codec,
    rng: &mut Rng,
) -> Result<Vec<u32>, Error> {
    let mut found = Vec::with_capacity(count);
    let mut at = start(text, rng);
    while found.len() < count {
        let wanted = at.saturating_add(8 * (count - found.len()) + 64);
        let end = (wanted..text.len()).find(|&i| text.is_char_boundary(i));
        let end = end.unwrap_or(text.len());
        let part = codec.tokens(&text[at..end])?;
        if part.is_empty() && at == 0 && end == text.len() {
            return Err(Error::Config("a haystack without any token given".into()));
        }
        found.extend(part);
        at = if end == text.len() { 0 } else { end };
    }
    found.truncate(count);
    Ok(found)
}

/// Sentences of `text` from a random place on as tokens, each with a space before it, `count`
/// tokens in all: the last is cut. Sentences of fewer than ten tokens and the one cut by the random
/// place are left out, as in BABILong.
pub fn encoded_sentences(
    text: &str,
    count: usize,
    codec: &dyn Codec,
    rng: &mut Rng,
) -> Result<Vec<Vec<u32>>, Error> {
    const SHORTEST: usize = 10;
    let mut found = Vec::new();
    let mut left = count;
    let mut from = start(text, rng);
    let mut skip = 1;
    let mut any = false;
    while left > 0 {
        for sentence in sentences(&text[from..]).skip(skip) {
            let mut tokens = codec.tokens(&format!(" {sentence}"))?;
            if tokens.len() < SHORTEST {
                continue;
            }
            any = true;
            tokens.truncate(left);
            left -= tokens.len();
            found.push(tokens);
            if left == 0 {
                break;
            }
        }
        if !any && skip == 0 {
            return Err(Error::Config(format!(
                "a haystack without a sentence of {SHORTEST} tokens given"
            )));
        }
        (from, skip) = (0, 0);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_data::rng::Purpose;
    use baton_data::tokenizer::Tokenizer;

    #[test]
    fn sentences_end_where_they_should() {
        let text = "Mr. Darcy came. \u{201c}Who?\u{201d} asked\nE. Bennet. It cost 3.5 pounds! So";
        let all: Vec<&str> = sentences(text).collect();
        assert_eq!(
            all,
            [
                "Mr. Darcy came.",
                "\u{201c}Who?\u{201d}",
                "asked\nE. Bennet.",
                "It cost 3.5 pounds!",
                "So"
            ]
        );
        assert_eq!(sentences(GRASS).count(), 5);
    }

    #[test]
    fn exactly_as_many_tokens_as_asked_for_also_past_the_end() {
        let text = "A sentence that is long. No. \u{e9}t\u{e9} is summer in France.";
        for seed in 0..50 {
            let mut rng = Rng::at(seed, Purpose::Trials, 0);
            assert_eq!(
                tokens(text, 301, &Tokenizer::Bytes, &mut rng)
                    .unwrap()
                    .len(),
                301
            );
            let parts = encoded_sentences(text, 301, &Tokenizer::Bytes, &mut rng).unwrap();
            assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 301);
            let text = Tokenizer::Bytes.text(&parts.concat()).unwrap();
            assert!(!text.contains("No.") && text.starts_with(' '));
        }
        let mut rng = Rng::at(1, Purpose::Trials, 0);
        assert!(encoded_sentences("No. Yes.", 5, &Tokenizer::Bytes, &mut rng).is_err());
        assert!(tokens("", 5, &Tokenizer::Bytes, &mut rng).is_err());
    }
}
