//! What a program can see of the absences that ARCHITECTURE.md promises.
//!
//! Every guard is held twice: it finds nothing in the repository, of which it looks at some file at
//! least, and it finds each breach that is planted for it.

mod absences;
mod crates;
mod documents;
mod figures;
mod repeat;
mod source;

use source::{File, tree};

/// What a guard saw.
struct Found {
    /// Files that it looked at.
    looked: usize,
    breaches: Vec<String>,
}

/// Looks at each file on its own; `breaches` gives what a file does that it must not.
fn each(
    files: &[File],
    looks_at: impl Fn(&File) -> bool,
    breaches: impl Fn(&File) -> Vec<String>,
) -> Found {
    let looked: Vec<&File> = files.iter().filter(|file| looks_at(file)).collect();
    let named = |file: &&File| {
        let all = breaches(file).into_iter();
        all.map(|what| format!("{} {what}", file.path))
            .collect::<Vec<_>>()
    };
    Found {
        looked: looked.len(),
        breaches: looked.iter().flat_map(named).collect(),
    }
}

/// The words among `words` that `text` has: not inside longer words, underscores apart.
fn named(text: &str, words: &[&str]) -> Vec<String> {
    let has = |word: &str| {
        text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            let inside = |c: char| c.is_alphanumeric();
            !(before.is_some_and(inside) || after.is_some_and(inside))
        })
    };
    let there = words.iter().filter(|word| has(word));
    there.map(|word| format!("names {word}")).collect()
}

/// The guard finds nothing in the repository, and each of the planted breaches.
#[track_caller]
fn held(guard: impl Fn(&[File]) -> Found, planted: &[&[(&str, &str)]]) {
    let found = guard(&tree());
    assert!(found.looked > 0, "the guard looks at no file");
    assert!(found.breaches.is_empty(), "{:#?}", found.breaches);
    assert!(!planted.is_empty(), "a guard without a planted breach");
    for planted in planted {
        let files: Vec<File> = (planted.iter())
            .map(|&(path, text)| File::new(path, text))
            .collect();
        assert!(
            !guard(&files).breaches.is_empty(),
            "not noticed: {planted:?}"
        );
    }
}
