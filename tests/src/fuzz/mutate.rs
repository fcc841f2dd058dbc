//! Inputs from a corpus: bits, bytes, words and whole parts changed, moved and repeated.

use super::Reader;
use crate::Random;

/// Numbers at which sizes and types end, and what opens and closes in the texts that are read.
const WORDS: &[&str] = &[
    "0",
    "-1",
    "1",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e999",
    "NaN",
    "-Infinity",
    "null",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "\\",
    "\n",
    "-",
    "+",
    "*",
    "/",
    ",",
    ";",
    ":",
    "=",
    "\u{e9}",
    "\u{0}",
    "//",
    "/*",
];

/// The parts that are repeated to depth.
const DEEP: &[&str] = &[
    "(", "[", "{", "-", "exp(", "[[", "{\"a\":", "dot(", "1+(", "((-",
];

/// Input number `index`.
pub(super) fn mutate(reader: &Reader, seed: u64, index: u64) -> Vec<u8> {
    let mut random = Random(seed ^ index.wrapping_mul(0xd1b5_4a32_d192_ed03));
    let mut input = of(&mut random, &reader.corpus).clone();
    // Some stay as they are: a corpus that is refused tests little.
    for _ in 0..below(&mut random, 7) {
        change(&mut random, &mut input, reader);
    }
    // A file that begins with the length of its header gets the right one most of the time.
    if reader.corpus[0].get(8) == Some(&b'{') && input.len() > 8 && below(&mut random, 4) > 0 {
        let header = match input.windows(2).rposition(|part| part == b"}}") {
            Some(at) => (at + 2).saturating_sub(8),
            None => input.len() - 8,
        };
        input[..8].copy_from_slice(&(header as u64).to_le_bytes());
    }
    input
}

fn below(random: &mut Random, n: usize) -> usize {
    (random.bits() % n.max(1) as u64) as usize
}

fn of<'a, T>(random: &mut Random, all: &'a [T]) -> &'a T {
    &all[below(random, all.len())]
}

/// A range of at most `most` bytes, short ones being likelier.
fn range(random: &mut Random, length: usize, most: usize) -> std::ops::Range<usize> {
    let start = below(random, length + 1);
    let scale = 1 + below(random, most);
    let end = (start + below(random, scale)).min(length);
    start..end
}

fn change(random: &mut Random, input: &mut Vec<u8>, reader: &Reader) {
    let length = input.len();
    let at = below(random, length + 1);
    match below(random, 11) {
        0 if length > 0 => input[at.min(length - 1)] ^= 1 << below(random, 8),
        1 if length > 0 => input[at.min(length - 1)] = random.bits() as u8,
        2 => {
            input.drain(range(random, length, 64));
        }
        3 => {
            let part = input[range(random, length, 256)].to_vec();
            input.splice(at..at, part);
        }
        4 => {
            let other = of(random, &reader.corpus);
            let part = other[range(random, other.len(), 512)].to_vec();
            let over = at..(at + below(random, part.len() + 1)).min(length);
            input.splice(over, part);
        }
        5 => input.truncate(at),
        6 | 7 => {
            let word = match below(random, 2) {
                0 => of(random, WORDS),
                _ if reader.words.is_empty() => of(random, WORDS),
                _ => of(random, reader.words),
            };
            let over = at..(at + below(random, 9)).min(length);
            input.splice(over, word.bytes());
        }
        8 => number(random, input),
        9 => {
            let deep = of(random, DEEP);
            let count = 1 << below(random, 14);
            let count = count.min((reader.longest() / deep.len()).saturating_sub(length));
            input.splice(at..at, deep.repeat(count).into_bytes());
        }
        _ => {
            let part = input[range(random, length, 64)].to_vec();
            let count = 1 << below(random, 8);
            input.splice(at..at, part.repeat(count));
        }
    }
    input.truncate(reader.longest());
}

/// Puts another number in the place of one.
fn number(random: &mut Random, input: &mut Vec<u8>) {
    let starts = |i: &usize| {
        input[*i].is_ascii_digit() && i.checked_sub(1).is_none_or(|b| !input[b].is_ascii_digit())
    };
    let all: Vec<usize> = (0..input.len()).filter(starts).collect();
    if all.is_empty() {
        return;
    }
    let start = *of(random, &all);
    let digits = input[start..].iter().take_while(|b| b.is_ascii_digit());
    let end = start + digits.count();
    let number = of(random, &WORDS[..14]);
    input.splice(start..end, number.bytes());
}
