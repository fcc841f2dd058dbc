//! Variable tracing: a chain of assignments hidden in noise, and the question which variables have
//! the first one's value. A short solved example stands before it.

use super::form::{Form, Written};
use crate::haystack::GRASS;
use crate::{Place, words};
use baton_data::Error;
use baton_data::rng::Rng;

/// Assignments after the first.
const HOPS: usize = 4;
/// Lines of noise in the example.
const EXAMPLE: usize = 5;

/// One chain of five variables.
pub struct Tracing;

/// A question of `size` lines of noise up to the beginning of its answer; value and variables.
fn question(size: usize, rng: &mut Rng) -> (String, Vec<String>) {
    let mut variables: Vec<String> = Vec::new();
    while variables.len() <= HOPS {
        let name = words::letters(5, 'A', rng);
        if !variables.contains(&name) {
            variables.push(name);
        }
    }
    let value = 10_000 + rng.below(90_000);
    let mut lines: Vec<String> = vec![GRASS.to_string(); size];
    let mut places = rng.distinct(size.max(HOPS + 1), HOPS + 1);
    places.sort_unstable();
    for (i, place) in places.into_iter().enumerate().rev() {
        let line = match i {
            0 => format!("VAR {} = {value}", variables[0]),
            _ => format!("VAR {} = VAR {} ", variables[i], variables[i - 1]),
        };
        lines.insert(place.min(lines.len()), line);
    }
    let count = variables.len();
    let prompt = format!(
        "The text below hides assignments to variables. Follow them.\n\n{}\nQuestion: Which variables \
         have the value {value}? Answer: By the assignments in the text, {count} variables have the \
         value {value}:",
        lines.join("\n")
    );
    (prompt, variables)
}

impl Form for Tracing {
    fn count(&self) -> usize {
        30
    }

    fn sizes(&self) -> (usize, Option<usize>) {
        (HOPS + 1, None)
    }

    fn write(&self, size: usize, _: Place, rng: &mut Rng) -> Result<Written, Error> {
        let (example, solution) = question(EXAMPLE, rng);
        let (prompt, references) = question(size, rng);
        Ok(Written {
            prompt: format!("{example} {}.\n\n{prompt}", solution.join(", ")),
            references,
        })
    }
}
