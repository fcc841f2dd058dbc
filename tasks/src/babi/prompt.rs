//! The words around a context, and what counts as a right answer.
//!
//! The form is BABILong's (instruction, examples, reminder, context, question); the sentences and
//! the examples are our own, the latter simulated from a fixed seed.

use super::story;
use baton_data::rng::{Purpose, Rng};
use std::collections::BTreeSet;

/// Facts of an example at most, so that prompts stay short.
const EXAMPLE_FACTS: usize = 8;

const ROOMS: &[&str] = &super::world::ROOMS;
const GIFTS: &[&str] = &["bill", "fred", "jeff", "mary", "apple", "football", "milk"];

/// The answers that a task can have, in lower case.
pub fn labels(qa: usize) -> &'static [&'static str] {
    match qa {
        5 => GIFTS,
        _ => ROOMS,
    }
}

/// The prompt of task `qa` up to the context, with so many examples, and with `words` that say what to do.
pub fn head(qa: usize, shots: usize, words: bool) -> String {
    let mut head = String::new();
    if words {
        head.push_str(instruction(qa));
        head.push_str("\n\n");
    }
    for shot in 0..shots {
        head.push_str(&example(qa, shot));
        head.push_str("\n\n");
    }
    if words {
        head.push_str("Answer with one word and a full stop, as in the examples.\n\n");
    }
    head.push_str("<context>\n");
    head
}

/// The prompt from the context on.
pub fn tail(question: &str) -> String {
    format!("\n</context>\n\nQuestion: {question}")
}

/// A right answer as it follows the prompt.
pub fn answer(answer: &str) -> String {
    format!(" {answer}.")
}

fn example(qa: usize, shot: usize) -> String {
    let mut rng = Rng::at(0, Purpose::Examples, u64::MAX - (100 * qa + shot) as u64);
    let sample = std::iter::repeat_with(|| story::sample(qa, &mut rng))
        .find(|sample| sample.facts.len() <= EXAMPLE_FACTS)
        .expect("short stories come up");
    let (facts, question) = (sample.facts.join(" "), sample.question);
    format!(
        "<example>\n{facts}\nQuestion: {question}{}\n</example>",
        answer(&sample.answer)
    )
}

fn instruction(qa: usize) -> &'static str {
    match qa {
        1 => {
            "The context tells where people go, in sentences that stand among others which do not \
             matter. Say in which room the person is now: the latest sentence about them counts."
        }
        2 => {
            "The context tells where people go and which things they take and drop, in sentences \
             that stand among others which do not matter. Say in which room the thing is now: it \
             goes along with whoever holds it."
        }
        3 => {
            "The context tells where people go and which things they take and drop, in sentences \
             that stand among others which do not matter. Say in which room the thing was just \
             before the room that the question names."
        }
        4 => {
            "The context tells which room lies in which direction of another, in sentences that \
             stand among others which do not matter. Say which room the question asks for."
        }
        _ => {
            "The context tells who takes a thing and who gives it to whom, in sentences that stand \
             among others which do not matter. The question is about the latest gift: name the \
             person or the thing."
        }
    }
}

/// Whether `said` names the right answer and no other that the question does not name itself, up
/// to the first full stop or the first sign of another example.
pub fn is_right(qa: usize, said: &str, question: &str, target: &str) -> bool {
    names_only(target, labels(qa), said, question)
}

/// The same of any answers that a task has, in lower case; of a target that is a list every part is to be named.
pub fn names_only(target: &str, labels: &[impl AsRef<str>], said: &str, question: &str) -> bool {
    let said = said.to_lowercase();
    let ends = [".", "<context>", "<example>", "question"];
    let end = ends.iter().filter_map(|end| said.find(end)).min();
    let said = &said[..end.unwrap_or(said.len())];
    let question = question.to_lowercase();
    let named = labels.iter().map(AsRef::as_ref);
    let named = named.filter(|label| said.contains(label) && !question.contains(label));
    let named: BTreeSet<String> = named.map(str::to_string).collect();
    let target = target.to_lowercase();
    let parts: BTreeSet<String> = parts(&target).into_iter().map(str::to_string).collect();
    named == parts
}

/// The answers that a target is made of, as the published code has it: one with a comma and more than three characters
/// is a list (qa8's `apple,milk`), and `n,e` of qa19 is one answer.
pub(crate) fn parts(target: &str) -> Vec<&str> {
    match target.contains(',') && target.chars().count() > 3 {
        true => target.split(',').map(str::trim).collect(),
        false => vec![target],
    }
}
