//! Text to tokens.
//!
//! Names are ASCII; numbers are unsigned decimals (a minus is an operator); `//` starts a comment.
//! A character without a meaning is reported and left out, so the parser never sees it. The list
//! always ends with one [`Kind::End`].

use crate::diag::Diagnostic;
use crate::span::Span;

/// What a token is; its text is the source under its span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    /// A number.
    Number(f64),
    /// One of the language's marks; at level 1 `{ } [ ] ( ) : ; , = + - * / < >`.
    Mark(char),
    /// The end of the text.
    End,
}

/// A token and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Span,
}

const MARKS: &str = "{}[]():;,=+-*/<>";

/// The tokens of level 1.
pub(super) fn lex(source: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Token> {
    lex_marks(source, MARKS, diagnostics)
}

/// The tokens of a language with these marks.
pub(super) fn lex_marks(
    source: &str,
    marks: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Token> {
    let mut tokens = Vec::new();
    if u32::try_from(source.len()).is_err() {
        let whole = Span::new(0, 0);
        diagnostics.push(Diagnostic::new("R001", whole, "the text is over 4 GiB"));
        return vec![Token {
            kind: Kind::End,
            span: whole,
        }];
    }
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let len = if first.is_whitespace() {
            run(rest, char::is_whitespace)
        } else if rest.starts_with("//") {
            run(rest, |c| c != '\n')
        } else {
            let (kind, len) = token(first, rest, at, marks, diagnostics);
            if let Some(kind) = kind {
                let span = Span::new(at, at + len);
                tokens.push(Token { kind, span });
            }
            len
        };
        at += len;
    }
    tokens.push(Token {
        kind: Kind::End,
        span: Span::new(at, at),
    });
    tokens
}

fn token(
    first: char,
    rest: &str,
    at: usize,
    marks: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Option<Kind>, usize) {
    if first.is_ascii_alphabetic() || first == '_' {
        return (Some(Kind::Word), run(rest, is_word));
    }
    if first.is_ascii_digit()
        || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
    {
        let len = number_len(rest);
        let text = &rest[..len];
        let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
        if value.is_none() {
            let span = Span::new(at, at + len);
            diagnostics.push(
                Diagnostic::new("R002", span, format!("`{text}` is not a number"))
                    .found(format!("`{text}`"))
                    .expected("a decimal within the range of f64")
                    .remedy("write a decimal such as `0.5` or `1e-6`, without suffix"),
            );
        }
        // A bad number still holds its place in the grammar.
        return (Some(Kind::Number(value.unwrap_or(0.0))), len);
    }
    if marks.contains(first) {
        return (Some(Kind::Mark(first)), 1);
    }
    let unknown = |c: char| !(c.is_whitespace() || is_word(c) || marks.contains(c) || c == '.');
    let len = run(rest, unknown).max(first.len_utf8());
    let text = &rest[..len];
    let span = Span::new(at, at + len);
    let spaced: Vec<String> = marks.chars().map(String::from).collect();
    let spaced = spaced.join(" ");
    // What other languages have for it; levels 2 and 3 have their own marks.
    let remedy = match text {
        "^" if marks == MARKS => "a power is `pow(a, 2)`",
        "@" if marks == MARKS => "a product that contracts a dimension is `dot(a, b)`",
        "#" if marks == MARKS => "a comment begins with `//`",
        _ => "remove it",
    };
    diagnostics.push(
        Diagnostic::new("R001", span, format!("`{text}` has no meaning here"))
            .found(format!("`{text}`"))
            .expected(format!("ASCII names, numbers and `{spaced}`"))
            .remedy(remedy),
    );
    (None, len)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Bytes at the start of `text` whose characters all satisfy `wanted`.
fn run(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    text.find(|c| !wanted(c)).unwrap_or(text.len())
}

/// Digits, dots and letters, with a sign only just after an exponent's `e`: too much rather than
/// too little, so that `1.5f32` is one bad number and not two tokens.
fn number_len(text: &str) -> usize {
    let mut last = ' ';
    let mut mantissa = true;
    for (i, c) in text.char_indices() {
        let sign = matches!(c, '+' | '-') && mantissa && matches!(last, 'e' | 'E');
        if !(is_word(c) || c == '.' || sign) {
            return i;
        }
        mantissa &= c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E');
        last = c;
    }
    text.len()
}
