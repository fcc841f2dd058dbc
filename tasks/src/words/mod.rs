//! Keys, numbers and words that trials are made of.
//!
//! The lists are the project's own, so trials differ from those made with other lists in their
//! words and in nothing else.

use baton_data::rng::Rng;
use std::sync::LazyLock;

static ADJECTIVES: LazyLock<Vec<&str>> = LazyLock::new(|| list(include_str!("adjectives.txt")));
static NOUNS: LazyLock<Vec<&str>> = LazyLock::new(|| list(include_str!("nouns.txt")));

fn list(text: &'static str) -> Vec<&'static str> {
    text.split_whitespace().collect()
}

/// How many single words there are; beyond them [`words`] makes pairs.
pub fn singles() -> usize {
    ADJECTIVES.len() + NOUNS.len()
}

/// How many words there are in all.
pub fn all() -> usize {
    singles() + pairs()
}

fn pairs() -> usize {
    ADJECTIVES.len() * NOUNS.len()
}

fn pair(number: usize) -> String {
    let (adjective, noun) = (number / NOUNS.len(), number % NOUNS.len());
    format!("{}-{}", ADJECTIVES[adjective], NOUNS[noun])
}

/// `count` different keys, an adjective and a noun each; at most [`all`] less [`singles`].
pub fn keys(count: usize, rng: &mut Rng) -> Vec<String> {
    let numbers = rng.distinct(pairs(), count);
    numbers.into_iter().map(pair).collect()
}

/// `count` different words, at most [`all`]: single ones as long as they last, then pairs.
pub fn words(count: usize, rng: &mut Rng) -> Vec<String> {
    let single = |i: usize| match ADJECTIVES.get(i) {
        Some(word) => word.to_string(),
        None => NOUNS[i - ADJECTIVES.len()].to_string(),
    };
    let single = rng
        .distinct(singles(), count.min(singles()))
        .into_iter()
        .map(single);
    let mut words: Vec<String> = single.collect();
    words.extend(keys(count - words.len(), rng));
    words
}

/// A number of seven digits.
pub fn number(rng: &mut Rng) -> String {
    (1_000_000 + rng.below(9_000_000)).to_string()
}

/// A random UUID (version 4).
pub fn uuid(rng: &mut Rng) -> String {
    let mut digits = String::with_capacity(36);
    for i in 0..32 {
        if matches!(i, 8 | 12 | 16 | 20) {
            digits.push('-');
        }
        let digit = match i {
            12 => 4,
            16 => 8 + rng.below(4),
            _ => rng.below(16),
        };
        digits.push(char::from_digit(digit as u32, 16).expect("a digit below 16"));
    }
    digits
}

/// `length` random letters, from `first` on.
pub fn letters(length: usize, first: char, rng: &mut Rng) -> String {
    let letter = |_| (first as u8 + rng.below(26) as u8) as char;
    (0..length).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_data::rng::Purpose;
    use std::collections::BTreeSet;

    #[test]
    fn words_differ() {
        assert_eq!(
            ADJECTIVES
                .iter()
                .chain(NOUNS.iter())
                .collect::<BTreeSet<_>>()
                .len(),
            singles()
        );
        let mut rng = Rng::at(1, Purpose::Trials, 0);
        let words = words(singles() + 5000, &mut rng);
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
        assert!(words[singles() - 1].chars().all(char::is_alphabetic));
        assert!(words[singles()].contains('-'));
    }

    #[test]
    fn values_have_their_forms() {
        let mut rng = Rng::at(1, Purpose::Trials, 0);
        assert_eq!(number(&mut rng).len(), 7);
        let id = uuid(&mut rng);
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "4");
        assert!(
            letters(5, 'A', &mut rng)
                .chars()
                .all(|c| c.is_ascii_uppercase())
        );
    }
}
