//! From tokens to text while they come: what is sure is given out, what a later token could still change
//! is held back.
//!
//! Two things are held back: the beginning of a character whose bytes are not all there, and the beginning
//! of a text that ends the generation. A decoder of a vocabulary joins tokens in ways of its own, so
//! it is asked for a window of them, once with and once without the new ones, and the difference is the news. The first
//! window is the end of what was read: SentencePiece's decoder takes off a space where its tokens begin.

use crate::Error;
use baton_data::tokenizer::Tokenizer;

/// The mark that stands for bytes that are no character.
const NONE: &[u8] = "\u{fffd}".as_bytes();
/// The most tokens of a character.
const LONGEST: usize = 4;

/// A text that grows.
pub struct Growing<'a> {
    tokenizer: &'a Tokenizer,
    stops: &'a [String],
    tokens: Vec<u32>,
    /// The window: tokens before its first have been given out long ago, those before its second
    /// have been decoded.
    window: [usize; 2],
    /// Decoded and not given out.
    held: Vec<u8>,
    /// Given out.
    text: Vec<u8>,
    stopped: bool,
}

impl<'a> Growing<'a> {
    /// Nothing yet; it ends before any of `stops`.
    pub fn new(tokenizer: &'a Tokenizer, stops: &'a [String]) -> Self {
        Growing::after(tokenizer, stops, &[])
    }

    /// The same of a text that goes on after the tokens `read`, the last of which are enough.
    pub fn after(tokenizer: &'a Tokenizer, stops: &'a [String], read: &[u32]) -> Self {
        let known = read.iter().copied().filter(|&token| tokenizer.knows(token));
        let tokens: Vec<u32> = known.collect();
        // What begins inside of a character would be read with bytes that are none.
        let whole = |&at: &usize| {
            let text = tokenizer.said(&tokens[at..]);
            text.is_ok_and(|text| !text.starts_with(NONE))
        };
        let first = (0..tokens.len().min(LONGEST)).find(whole).unwrap_or(0);
        Growing {
            tokenizer,
            stops,
            window: [first, tokens.len()],
            tokens,
            held: Vec::new(),
            text: Vec::new(),
            stopped: false,
        }
    }

    /// Whether one of the stops was there.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Everything given out.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Takes a token; gives what is sure now.
    pub fn push(&mut self, token: u32) -> Result<&[u8], Error> {
        if self.tokenizer.knows(token) {
            self.tokens.push(token);
            let news = self.decoded(false)?;
            self.held.extend(news);
        }
        let sure = match self.stop() {
            Some(at) => {
                self.held.truncate(at);
                self.stopped = true;
                at
            }
            None => self.held.len() - self.beginning(),
        };
        Ok(self.give(sure))
    }

    /// Gives what was held back: nothing more will come.
    pub fn finish(&mut self) -> Result<&[u8], Error> {
        if !self.stopped {
            let news = self.decoded(true)?;
            self.held.extend(news);
        }
        Ok(self.give(self.held.len()))
    }

    fn give(&mut self, sure: usize) -> &[u8] {
        let from = self.text.len();
        self.text.extend(self.held.drain(..sure));
        &self.text[from..]
    }

    /// The text of the tokens that were not decoded, unless a character is not whole yet.
    fn decoded(&mut self, last: bool) -> Result<Vec<u8>, Error> {
        let [first, second] = self.window;
        let before = self.tokenizer.said(&self.tokens[first..second])?;
        let now = self.tokenizer.said(&self.tokens[first..])?;
        let cut = match self.tokenizer {
            Tokenizer::Bytes => false,
            Tokenizer::Bpe(_) => now.ends_with(NONE),
        };
        if cut && !last {
            return Ok(Vec::new());
        }
        self.window = [second, self.tokens.len()];
        Ok(beyond(&before, &now).to_vec())
    }

    /// Where the first stop begins in what is held.
    fn stop(&self) -> Option<usize> {
        let stops = self.stops.iter().map(|stop| stop.as_bytes());
        let places = stops.filter_map(|stop| {
            let mut windows = self.held.windows(stop.len().max(1));
            windows.position(|window| window == stop)
        });
        places.min()
    }

    /// Bytes at the end of what is held that a stop could begin with.
    fn beginning(&self) -> usize {
        let could = |&count: &usize| {
            let end = &self.held[self.held.len() - count..];
            self.stops
                .iter()
                .any(|stop| stop.as_bytes().starts_with(end))
        };
        (1..=self.held.len()).rev().find(could).unwrap_or(0)
    }
}

/// What `now` has beyond `before`: where a character of that was not whole, from this one on.
fn beyond<'t>(before: &[u8], now: &'t [u8]) -> &'t [u8] {
    if let Some(news) = now.strip_prefix(before) {
        return news;
    }
    let same = before.iter().zip(now).take_while(|(a, b)| a == b).count();
    let begins = |&at: &usize| now.get(at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let from = (0..=same).rev().find(begins).unwrap_or(0);
    &now[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_is_whole_now_is_news() {
        let of = |before: &str, now: &str| {
            let news = beyond(before.as_bytes(), now.as_bytes());
            String::from_utf8(news.to_vec()).unwrap()
        };
        assert_eq!(of("a b", "a b c"), " c");
        assert_eq!(of("a\u{fffd}", "a\u{fffd} b"), " b");
        assert_eq!(of("a\u{fffd}", "a\u{e9} b"), "\u{e9} b");
        assert_eq!(of("a\u{fffd}", "a\u{ff01}"), "\u{ff01}");
        assert_eq!(of("", "a"), "a");
    }

    fn said(stops: &[&str], text: &str) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| stop.to_string()).collect();
        let mut growing = Growing::new(&Tokenizer::Bytes, &stops);
        let mut pieces = Vec::new();
        let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for byte in text.bytes() {
            pieces.push(string(growing.push(byte as u32).unwrap()));
            if growing.stopped() {
                break;
            }
        }
        pieces.push(string(growing.finish().unwrap()));
        assert_eq!(string(growing.text()), pieces.concat());
        (pieces, growing.stopped())
    }

    #[test]
    fn what_could_begin_a_stop_is_held_back_and_a_stop_ends_the_text_before_it() {
        let (pieces, stopped) = said(&["\n\n", "end"], "a\nb\n\nc");
        assert_eq!((pieces.concat().as_str(), stopped), ("a\nb", true));
        assert_eq!(pieces[..3], ["a", "", "\nb"]);
        let (pieces, stopped) = said(&["end"], "men en");
        assert_eq!((pieces.concat().as_str(), stopped), ("men en", false));
        assert_eq!(pieces.last().unwrap(), "en");
        let (pieces, _) = said(&["aab"], "aaab");
        assert_eq!(pieces.concat(), "a");
        let (pieces, stopped) = said(&[], "as it is");
        assert_eq!((pieces.concat().as_str(), stopped), ("as it is", false));
    }
}
