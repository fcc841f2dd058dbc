//! Facts among the sentences of a text, as BABILong spreads them.

use crate::Material;
use crate::haystack;
use baton_data::Error;
use baton_data::rng::Rng;

/// The text of `noise` tokens of sentences from the haystack with `facts` in order among them:
/// each before a sentence (or the end) drawn evenly, with replacement.
pub fn spread(
    facts: Vec<Vec<u32>>,
    noise: usize,
    material: &Material,
    rng: &mut Rng,
) -> Result<String, Error> {
    let sentences = match (&material.text, noise) {
        (_, 0) => Vec::new(),
        (Some(text), _) => haystack::encoded_sentences(text, noise, material.codec.as_ref(), rng)?,
        (None, _) => {
            return Err(Error::Config(
                "babi: no haystack given, expected a text to hide facts in (--haystack of `baton eval`, --text of `baton \
                 train`; length 0 needs none)".into(),
            ));
        }
    };
    let mut places: Vec<usize> = facts
        .iter()
        .map(|_| rng.below(sentences.len() + 1))
        .collect();
    places.sort_unstable();
    let mut facts = places.into_iter().zip(facts).peekable();
    let mut tokens = Vec::new();
    for (at, sentence) in sentences.iter().enumerate() {
        while let Some((_, fact)) = facts.next_if(|(place, _)| *place <= at) {
            tokens.extend(fact);
        }
        tokens.extend(sentence);
    }
    tokens.extend(facts.flat_map(|(_, fact)| fact));
    let text = material.codec.text(&tokens)?;
    Ok(text.trim().trim_end_matches('\u{fffd}').to_string())
}
