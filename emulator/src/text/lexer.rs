//! Text to tokens. A word may hold dots, dollars, percent signs and `::`, so that a whole mnemonic, a
//! special register (`%tid.x`) or a cache hint (`.L2::128B`) is one token.

use crate::error::{Error, Result};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Word(String),
    Integer(u64),
    /// `0f` and eight digits: the bits of an f32.
    Single(u32),
    /// `0d` and sixteen digits, or a decimal: the bits of an f64.
    Double(u64),
    Text(String),
    Sign(char),
}

#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub token: Token,
    pub line: u32,
}

fn starts_word(c: u8) -> bool {
    c.is_ascii_alphabetic() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

fn in_word(c: u8) -> bool {
    starts_word(c) || c.is_ascii_digit()
}

pub(crate) fn lex(text: &str) -> Result<Vec<Lexeme>> {
    let bytes = text.as_bytes();
    let mut lexemes = vec![];
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let c = bytes[at];
        let start = at;
        let token = match c {
            b'\n' => {
                line += 1;
                at += 1;
                continue;
            }
            _ if c.is_ascii_whitespace() || c == 0 => {
                at += 1;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let end = text[at + 2..]
                    .find("*/")
                    .ok_or_else(|| Error::at(line, "a comment opened with /* is never closed"))?;
                let inside = &bytes[at..at + 2 + end];
                line += inside.iter().filter(|&&b| b == b'\n').count() as u32;
                at += end + 4;
                continue;
            }
            b'"' => {
                let end = text[at + 1..]
                    .find(['"', '\n'])
                    .filter(|&end| bytes[at + 1 + end] == b'"')
                    .ok_or_else(|| Error::at(line, "a string is never closed"))?;
                at += end + 2;
                Token::Text(text[start + 1..at - 1].to_string())
            }
            _ if c.is_ascii_digit() => {
                at = number_end(bytes, at);
                number(&text[start..at]).ok_or_else(|| {
                    Error::at(line, format!("`{}` is no number", &text[start..at]))
                })?
            }
            _ if starts_word(c) => {
                while at < bytes.len() {
                    if in_word(bytes[at]) {
                        at += 1;
                    } else if bytes[at..].starts_with(b"::")
                        && bytes.get(at + 2).is_some_and(u8::is_ascii_alphanumeric)
                    {
                        at += 2;
                    } else {
                        break;
                    }
                }
                Token::Word(text[start..at].to_string())
            }
            b'{' | b'}' | b'[' | b']' | b'(' | b')' | b'<' | b'>' | b',' | b';' | b':' | b'@'
            | b'!' | b'+' | b'-' | b'=' | b'|' | b'*' | b'/' => {
                at += 1;
                Token::Sign(c as char)
            }
            _ => {
                let odd = text[at..].chars().next().unwrap_or('?');
                return Err(Error::at(line, format!("`{odd}` has no place in PTX text")));
            }
        };
        lexemes.push(Lexeme { token, line });
    }
    Ok(lexemes)
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let hexadecimal = bytes.get(start + 1).is_some_and(|c| b"xXfFdD".contains(c));
    let mut at = start;
    while at < bytes.len() {
        let exponent_sign = matches!(bytes[at], b'+' | b'-')
            && !hexadecimal
            && matches!(bytes[at - 1], b'e' | b'E');
        if bytes[at].is_ascii_alphanumeric() || bytes[at] == b'.' || exponent_sign {
            at += 1;
        } else {
            break;
        }
    }
    at
}

fn number(word: &str) -> Option<Token> {
    let digits = |prefix: [&str; 2]| {
        prefix
            .iter()
            .find_map(|p| word.strip_prefix(p))
            .filter(|rest| !rest.starts_with('+'))
    };
    if let Some(rest) = digits(["0f", "0F"]) {
        let bits = (rest.len() == 8).then(|| u32::from_str_radix(rest, 16));
        return bits?.ok().map(Token::Single);
    }
    if let Some(rest) = digits(["0d", "0D"]) {
        let bits = (rest.len() == 16).then(|| u64::from_str_radix(rest, 16));
        return bits?.ok().map(Token::Double);
    }
    let integer = word.strip_suffix('U').unwrap_or(word);
    let radix = |prefix: [&str; 2], radix| {
        let rest = prefix.iter().find_map(|p| integer.strip_prefix(p))?;
        Some(u64::from_str_radix(rest, radix).ok().map(Token::Integer))
    };
    if let Some(token) = radix(["0x", "0X"], 16).or_else(|| radix(["0b", "0B"], 2)) {
        return token;
    }
    if integer.len() > 1 && integer.starts_with('0') && integer.bytes().all(|c| c.is_ascii_digit())
    {
        return u64::from_str_radix(integer, 8).ok().map(Token::Integer);
    }
    match integer.parse::<u64>() {
        Ok(value) => Some(Token::Integer(value)),
        Err(_) => word
            .parse::<f64>()
            .ok()
            .map(|value| Token::Double(value.to_bits())),
    }
}
