//! Text from a model, token by token, from any state and to any state.
//!
//! A recurrence keeps its past in a state of fixed size, so a text may be of any length: it ends, and goes on
//! from the state on another day, with the bits that it would have had. What this takes is a [`Place`]:
//! the states after all tokens that were read, the tokens that were said and not read, how many were
//! read, and which have been there. What is drawn for a token depends on the seed, its sequence and its
//! place alone. Sequences go on side by side in one [`Stream`].

mod place;
mod sampling;
#[cfg(test)]
mod tests;
mod text;

pub use place::Place;
pub use sampling::Sampling;
pub use text::Growing;

use crate::Error;
use crate::eval::{Stream, Subject};
use crate::initial_state::sequences;
use crate::models::HostStates;
use baton_data::rng::{Purpose, Rng};
use serde::Serialize;
use std::ops::ControlFlow;

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It has as many tokens as were asked for, or nobody wanted more.
    Length,
    /// A token that ends a text, or a text that was to end it.
    Stop,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The most tokens of a sequence.
    pub tokens: usize,
    /// Tokens that end a sequence; they are none of its text.
    pub ends: Vec<u32>,
    /// Texts that end a sequence; they are none of its text.
    pub stops: Vec<String>,
}

/// A sequence that has read its prompt.
#[derive(Clone, Debug)]
pub struct Begun {
    place: Place,
    /// After the last token, [V].
    logits: Vec<f32>,
}

/// A sequence that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its tokens, those that ended it among them.
    pub tokens: Vec<u32>,
    /// Its text.
    pub text: Vec<u8>,
    /// Why it ended.
    pub end: End,
    /// Where it stands.
    pub place: Place,
}

/// Reads a prompt from `place`, [`Place::default`] for zero states; `each` hears the tokens done.
pub fn begin(
    subject: &Subject,
    mut place: Place,
    prompt: &[u32],
    each: &mut dyn FnMut(usize),
) -> Result<Begun, Error> {
    let logits = place.read(subject, prompt, each)?;
    Ok(Begun { place, logits })
}

/// One sequence while it is made.
struct Row<'a> {
    past: place::Past,
    /// The states before the last token of its prompt.
    before: Option<HostStates>,
    text: Growing<'a>,
    tokens: Vec<u32>,
    end: Option<End>,
    place: Option<Place>,
}

/// Goes on with all of `begun` side by side until every sequence has ended or `each`, which hears what is new
/// in the text of which, wants no more.
pub fn go_on(
    subject: &Subject,
    begun: Vec<Begun>,
    options: &Options,
    each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
) -> Result<Vec<Made>, Error> {
    options.sampling.check()?;
    let states = begun.iter().map(|begun| begun.place.states.clone());
    let states = states
        .collect::<Option<Vec<HostStates>>>()
        .map(sequences::join);
    let mut logits: Vec<f32> = begun
        .iter()
        .flat_map(|begun| begun.logits.clone())
        .collect();
    let mut stream = Stream::new(&subject.model, begun.len(), states)?;
    let mut before: Option<Stream> = None;
    let row = |begun: Begun| Row {
        past: begun.place.past.clone(),
        before: begun.place.before.clone(),
        text: Growing::after(&subject.tokenizer, &options.stops, &begun.place.past.last),
        tokens: Vec::new(),
        end: None,
        place: (options.tokens == 0).then_some(begun.place),
    };
    let mut rows: Vec<Row> = begun.into_iter().map(row).collect();
    let width = logits.len() / rows.len();
    let mut wanted = true;
    for number in 1..=options.tokens {
        for (i, row) in rows
            .iter_mut()
            .enumerate()
            .filter(|(_, row)| row.end.is_none())
        {
            row.choose(i, &logits[i * width..(i + 1) * width], options)?;
            if row.end.is_none() {
                let news = row.text.push(row.tokens[row.tokens.len() - 1])?;
                wanted &= each(i, news).is_continue();
                row.end = row.text.stopped().then_some(End::Stop);
            }
        }
        let last = number == options.tokens || !wanted;
        for (i, row) in rows.iter_mut().enumerate() {
            if row.place.is_none() && (last || row.end.is_some()) {
                row.place = Some(row.stands(i, &stream, before.as_ref()));
            }
        }
        if rows.iter().all(|row| row.place.is_some()) {
            break;
        }
        let next: Vec<u32> = rows
            .iter()
            .map(|row| row.tokens[row.tokens.len() - 1])
            .collect();
        before = Some(stream.clone());
        logits = stream.feed_last(&next)?;
        rows.iter_mut().for_each(|row| row.past.read += 1);
    }
    let made = rows.into_iter().enumerate().map(|(i, mut row)| {
        let news = row.text.finish()?;
        if !news.is_empty() {
            let _ = each(i, news);
        }
        Ok(Made {
            text: row.text.text().to_vec(),
            tokens: row.tokens,
            end: row.end.unwrap_or(End::Length),
            place: row.place.unwrap_or_default(),
        })
    });
    made.collect()
}

impl Row<'_> {
    /// Chooses its next token.
    fn choose(&mut self, number: usize, logits: &[f32], options: &Options) -> Result<(), Error> {
        if logits.iter().any(|x| !x.is_finite()) {
            return Err(Error::Config(format!(
                "logits that are not finite after {} tokens of sequence {}: the model has left the numbers \
                 that f32 holds",
                self.past.read,
                number + 1
            )));
        }
        let seed = options.sampling.seed.wrapping_add(number as u64);
        let mut rng = Rng::at(seed, Purpose::Generation, self.past.read);
        let seen = self.past.seen.iter().copied();
        let token = options.sampling.next(logits, seen, &mut rng);
        self.past.seen.insert(token);
        self.tokens.push(token);
        self.end = options.ends.contains(&token).then_some(End::Stop);
        Ok(())
    }

    /// Where it stands: its last token is read when it goes on.
    fn stands(&self, number: usize, stream: &Stream, before: Option<&Stream>) -> Place {
        let own = |states: HostStates| sequences::rows(&states, number..number + 1);
        let read = &self.tokens[..self.tokens.len().saturating_sub(1)];
        Place {
            states: stream.states().map(own),
            before: match before {
                Some(stream) => stream.states().map(own),
                None => self.before.clone(),
            },
            past: place::Past {
                last: self.past.last_with(read),
                unread: self.tokens.last().copied().into_iter().collect(),
                ..self.past.clone()
            },
        }
    }
}
