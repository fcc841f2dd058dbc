//! Answers are worked out again from the words alone, by rules that share nothing with the
//! simulator; facts keep their order in the haystack; scores are as published.

use super::story::{Sample, sample};
use super::*;
use crate::Codec;
use crate::grid::{Plan, run};
use crate::predict::Rule;
use baton_data::rng::Purpose;
use baton_data::tokenizer::Tokenizer;
use std::collections::BTreeMap;

/// The answer to `question` after `facts`, by reading the words.
fn solve(facts: &[&str], question: &str) -> String {
    let mut room: BTreeMap<&str, &str> = BTreeMap::new();
    let mut holder: BTreeMap<&str, &str> = BTreeMap::new();
    let mut lies: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut gift = ["", "", ""];
    let mut sides: Vec<[&str; 3]> = Vec::new();
    for fact in facts {
        let words: Vec<&str> = fact.trim_end_matches('.').split(' ').collect();
        let (first, last) = (words[0], words[words.len() - 1]);
        if words.contains(&"is") {
            sides.push([words[1], words[3], last]);
            sides.push([last, opposite(words[3]), words[1]]);
            continue;
        }
        let verb = words[1..].join(" ");
        let is = |verbs: &[&str]| verbs.iter().any(|v| verb.starts_with(v));
        if is(&["went", "journeyed", "travelled", "moved"]) {
            room.insert(first, last);
        } else if is(&["grabbed", "took", "got", "picked"]) {
            holder.insert(last, first);
        } else if is(&["dropped", "put", "let", "discarded"]) {
            assert_eq!(holder.remove(last), Some(first), "{fact}");
            lies.insert(last, room.get(first).copied());
        } else if is(&["gave", "passed", "handed"]) {
            let object = words[3];
            assert_eq!(holder.insert(object, last), Some(first), "{fact}");
            gift = [first, object, last];
        } else {
            panic!("no rule for {fact}");
        }
        for object in ["apple", "football", "milk"] {
            let at = match holder.get(object) {
                Some(who) => room.get(who).copied(),
                None => lies.get(object).copied().flatten(),
            };
            let seen = seen.entry(object).or_default();
            if let Some(at) = at
                && seen.last() != Some(&at)
            {
                seen.push(at);
            }
        }
    }
    let words: Vec<&str> = question.trim_end_matches('?').split(' ').collect();
    let last = words[words.len() - 1];
    match words[..2] {
        ["Where", "is"] if words[2] != "the" => room[last].into(),
        ["Where", "is"] => seen[last][seen[last].len() - 1].into(),
        ["Where", "was"] => {
            let seen = &seen[words[3]];
            assert_eq!(seen[seen.len() - 1], last);
            seen[seen.len() - 2].into()
        }
        ["What", "is"] if words[2] == "the" => {
            let side = sides.iter().find(|s| s[0] == words[3] && s[1] == words[4]);
            side.unwrap()[2].into()
        }
        ["What", "is"] => {
            let side = sides.iter().find(|s| s[2] == last && s[1] == words[2]);
            side.unwrap()[0].into()
        }
        ["What", "did"] => {
            assert_eq!([words[2], words[5]], [gift[0], gift[2]]);
            gift[1].into()
        }
        ["Who", "did"] | ["Who", "received"] => gift[2].into(),
        ["Who", "gave"] => gift[0].into(),
        _ => panic!("no rule for {question}"),
    }
}

fn opposite(way: &str) -> &'static str {
    match way {
        "north" => "south",
        "south" => "north",
        "east" => "west",
        _ => "east",
    }
}

fn samples(qa: usize, count: u64) -> Vec<Sample> {
    let one = |i| sample(qa, &mut Rng::at(1, Purpose::Trials, i));
    (0..count).map(one).collect()
}

#[test]
fn answers_follow_from_the_words() {
    for qa in 1..=5 {
        let samples = samples(qa, 2000);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for Sample {
            facts,
            question,
            answer,
        } in &samples
        {
            let facts: Vec<&str> = facts.iter().map(String::as_str).collect();
            assert_eq!(&solve(&facts, question), answer, "{facts:#?} {question}");
            *counts.entry(answer).or_default() += 1;
        }
        let all = prompt::labels(qa).len();
        assert_eq!(counts.len(), all, "qa{qa}: {counts:?}");
        assert!(
            counts.values().all(|&n| n > 2000 / all / 3),
            "qa{qa}: {counts:?}"
        );
    }
}

#[test]
fn numbers_of_facts_are_as_published() {
    let range = |qa| {
        let facts = samples(qa, 2000).into_iter().map(|s| s.facts.len());
        let facts: Vec<usize> = facts.collect();
        (*facts.iter().min().unwrap(), *facts.iter().max().unwrap())
    };
    assert_eq!(range(1), (2, 10));
    assert_eq!(range(4), (2, 2));
    for qa in [2, 3, 5] {
        let (least, most) = range(qa);
        assert!(least >= 2 && most > 20, "qa{qa}: {least} to {most}");
    }
}

#[test]
fn one_sample_of_each_is_kept() {
    let line = |qa| {
        let samples = samples(qa, 40).into_iter();
        let shortest = samples.min_by_key(|s| s.facts.len()).unwrap();
        let (facts, question) = (shortest.facts.join(" "), shortest.question);
        format!("{facts} {question} {}", shortest.answer)
    };
    let all: Vec<String> = (1..=5).map(line).collect();
    assert_eq!(all.join("\n"), include_str!("snapshot.txt").trim_end());
}

fn haystack() -> Material {
    let text: String = (0..200)
        .map(|i| format!("Sentence number {i} says nothing of any use.\n"))
        .collect();
    Material::bytes(Some(text.into()))
}

/// The facts of a context, each from the name that it begins with: the sentence before it may be
/// cut short.
fn facts_in(context: &str) -> Vec<&str> {
    let starts = [
        "John ", "Mary ", "Sandra ", "Daniel ", "Fred ", "Jeff ", "Bill ", "The ",
    ];
    let sentences = crate::haystack::sentences(context);
    let facts = sentences.filter(|s| s.ends_with('.') && !s.ends_with("of any use."));
    facts
        .filter_map(|s| Some(&s[starts.iter().filter_map(|start| s.find(start)).min()?..]))
        .collect()
}

#[test]
fn facts_stand_in_order_among_whole_sentences() {
    for qa in 1..=5 {
        let task = Babi {
            qa,
            ..Babi::default()
        };
        let task = task.build(&haystack()).unwrap();
        let place = Place {
            length: 6000,
            depth: None,
        };
        for i in 0..20 {
            let mut rng = Rng::at(2, Purpose::Trials, i);
            let trial = task.trial(place, &mut rng).unwrap();
            let Ask::Greedy {
                question,
                references,
                ..
            } = &trial.ask
            else {
                panic!("bAbI is greedy")
            };
            let text = Tokenizer::Bytes.text(&trial.tokens).unwrap();
            let context = text.split("<context>\n").nth(1).unwrap();
            let (context, rest) = context.split_once("\n</context>").unwrap();
            assert_eq!(rest, format!("\n\nQuestion: {question}"));
            let facts = facts_in(context);
            assert_eq!(solve(&facts, question), references[0], "{context}");
            let spare = 6000 - COUNT - trial.tokens.len();
            assert!(spare <= 2, "{spare} tokens of room left");
        }
    }
}

#[test]
fn a_reader_is_right_and_a_constant_as_often_as_its_word_is() {
    let plan = Plan {
        lengths: vec![0, 4000],
        depths: vec![],
        trials: 100,
        batch: 3,
        seed: 1,
    };
    for qa in 1..=5 {
        let task = Babi {
            qa,
            shots: 1,
            instruction: qa % 2 == 0,
        };
        let task = task.build(&haystack()).unwrap();
        let mut reader = Rule(|read: &[u32]| {
            let text = Tokenizer::Bytes.text(read).unwrap();
            let (context, rest) = text.rsplit_once("\n</context>\n\nQuestion: ").unwrap();
            let context = context.rsplit("<context>\n").next().unwrap();
            let (question, said) = rest.split_once('?').unwrap();
            let facts = facts_in(context);
            let answer = format!(" {}.", solve(&facts, question));
            u32::from(*answer.as_bytes().get(said.len()).unwrap_or(&b'.'))
        });
        let grid = run(&task, &plan, &Tokenizer::Bytes, &mut reader, &mut |_, _| {}).unwrap();
        assert!(
            grid.cells.iter().all(|c| c.scores[0].mean == 1.0),
            "{grid:?}"
        );
        let word = prompt::labels(qa)[1].as_bytes();
        let mut said = 0;
        let mut constant = Rule(|_: &[u32]| {
            said += 1;
            u32::from(*word.get((said - 1) % COUNT).unwrap_or(&b' '))
        });
        let grid = run(
            &task,
            &plan,
            &Tokenizer::Bytes,
            &mut constant,
            &mut |_, _| {},
        )
        .unwrap();
        for (cell, place) in grid.cells.iter().zip(plan.places(&task)) {
            let is_label = |i: &usize| {
                let mut rng = crate::grid::numbers(1, &task, place, *i);
                let Ask::Greedy { references, .. } = task.trial(place, &mut rng).unwrap().ask
                else {
                    panic!("bAbI is greedy")
                };
                references[0].to_lowercase().as_bytes() == word
            };
            let share = (0..100).filter(is_label).count() as f64 / 100.0;
            assert!((cell.scores[0].mean - share).abs() < 1e-12 && share < 0.5);
        }
    }
}

#[test]
fn scores_are_as_published() {
    let right = |said: &str| prompt::is_right(1, said, "Where is Mary?", "bathroom");
    assert!(right(" bathroom."));
    assert!(right(" Mary is in the BATHROOM. Not in the kitchen."));
    assert!(right(" bathroom\nQuestion: where is the kitchen?"));
    assert!(right(" bathroom <context> kitchen"));
    assert!(!right(" the kitchen or the bathroom"));
    assert!(!right(" I do not know. bathroom"));
    assert!(!right(""));
    let before = "Where was the milk before the kitchen?";
    assert!(prompt::is_right(
        3,
        "before the kitchen, the office",
        before,
        "office"
    ));
    assert!(prompt::is_right(5, " Fred", "Who gave the apple?", "Fred"));
}

#[test]
fn every_part_of_a_list_is_named_and_nothing_else() {
    let labels = ["apple", "football", "milk", "nothing"];
    let right = |target: &str, said: &str| {
        prompt::names_only(target, &labels, said, "What is Daniel carrying?")
    };
    assert!(right("apple,milk", " apple,milk."));
    assert!(right("Apple,Milk", " the milk and the apple"));
    assert!(!right("apple,milk", " apple"));
    assert!(!right("apple,milk", " apple, football, milk"));
    assert!(right("apple", " apple") && !right("apple", " apple,milk"));
    // Directions are one answer.
    let right = |said: &str| prompt::names_only("n,e", &["n,e", "e,n"], said, "How do you go?");
    assert!(right(" n,e.") && !right(" e,n."));
}

#[test]
fn too_short_a_length_and_no_haystack_are_refused() {
    let task = Babi::default().build(&haystack()).unwrap();
    let place = |length| Place {
        length,
        depth: None,
    };
    let mut rng = Rng::at(1, Purpose::Trials, 0);
    let error = task.trial(place(100), &mut rng).unwrap_err().to_string();
    assert!(error.contains("length 100 given"), "{error}");
    let bare = Babi::default().build(&Material::bytes(None)).unwrap();
    assert!(bare.trial(place(0), &mut rng).is_ok());
    let error = bare.trial(place(4000), &mut rng).unwrap_err().to_string();
    assert!(error.contains("no haystack"), "{error}");
}
