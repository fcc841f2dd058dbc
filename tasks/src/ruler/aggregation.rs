//! Common and frequent words: what must be counted rather than found.

use super::form::{Form, Written};
use crate::{Place, words};
use baton_data::Error;
use baton_data::rng::Rng;
use std::collections::BTreeSet;

/// Words that are common.
const COMMON: usize = 10;

/// Ten words come thirty times, the others three times, in a numbered list. A small solved example
/// stands before it.
pub struct Common;

/// A list with `size` different words up to the beginning of its answer, and the common ones.
fn list(size: usize, [often, seldom]: [usize; 2], rng: &mut Rng) -> (String, Vec<String>) {
    let mut words = words::words(size, rng);
    rng.shuffle(&mut words);
    let (common, rare) = words.split_at(COMMON);
    let times = |words: &[String], n| words.iter().flat_map(move |w| vec![w.clone(); n]).collect();
    let mut all: Vec<String> = times(common, often);
    all.extend::<Vec<String>>(times(rare, seldom));
    rng.shuffle(&mut all);
    let numbered = all.iter().enumerate();
    let numbered = numbered.map(|(i, word)| format!("{}. {word}", i + 1));
    let numbered: Vec<String> = numbered.collect();
    let prompt = format!(
        "The numbered list below has words that come more often than the others.\n{}\nQuestion: Which \
         {COMMON} words come most often? Answer: The {COMMON} words that come most often are:",
        numbered.join(" ")
    );
    (prompt, common.to_vec())
}

impl Form for Common {
    fn count(&self) -> usize {
        120
    }

    fn sizes(&self) -> (usize, Option<usize>) {
        (COMMON + 1, Some(words::all()))
    }

    fn write(&self, size: usize, _: Place, rng: &mut Rng) -> Result<Written, Error> {
        let (example, solution) = list(2 * COMMON, [3, 1], rng);
        let (prompt, references) = list(size, [30, 3], rng);
        Ok(Written {
            prompt: format!("{example} {}.\n\n{prompt}", solution.join(", ")),
            references,
        })
    }
}

/// Made-up words whose counts fall with the square of their rank; the most frequent is dots, and
/// the three next are asked for.
pub struct Frequent;

/// The fewest words at which the second to fifth rank have different counts.
const FEWEST: usize = 200;

/// How often rank `rank` comes among `size` words in all.
pub fn times(size: usize, rank: usize) -> usize {
    let zeta = std::f64::consts::PI.powi(2) / 6.0;
    (size as f64 / (rank * rank) as f64 / zeta) as usize
}

impl Form for Frequent {
    fn count(&self) -> usize {
        50
    }

    fn sizes(&self) -> (usize, Option<usize>) {
        (FEWEST, None)
    }

    fn write(&self, size: usize, place: Place, rng: &mut Rng) -> Result<Written, Error> {
        let kinds = (place.length.saturating_sub(50) / 50).max(5);
        let mut known = BTreeSet::new();
        let mut vocabulary = vec!["...".to_string()];
        while vocabulary.len() < kinds {
            let word = words::letters(6, 'a', rng);
            if known.insert(word.clone()) {
                vocabulary.push(word);
            }
        }
        let counts = vocabulary.iter().enumerate();
        let mut text: Vec<&str> = counts
            .flat_map(|(i, word)| std::iter::repeat_n(word.as_str(), times(size, i + 1)))
            .collect();
        rng.shuffle(&mut text);
        let prompt = format!(
            "The text below is coded; count its words and do not mind the dots.\n{}\nQuestion: Which \
             three coded words come most often? Answer: The three coded words that come most often \
             are:",
            text.join(" ")
        );
        Ok(Written {
            prompt,
            references: vocabulary[1..4].to_vec(),
        })
    }
}
