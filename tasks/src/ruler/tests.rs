//! Answers are worked out again from the prompts alone; prompts fill their lengths; scores are as
//! published.

use super::*;
use crate::grid::{Plan, run};
use crate::predict::Rule;
use baton_data::tokenizer::Tokenizer;
use std::collections::BTreeMap;

fn material() -> Material {
    let text: String = (0..400)
        .map(|i| format!("Sentence {i} of the haystack says nothing.\n"))
        .collect();
    Material::bytes(Some(text.into()))
}

/// The answers to a prompt, by reading it.
fn solve(prompt: &str) -> Vec<String> {
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_string).collect() };
    let count = |words: &[String]| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        words
            .iter()
            .for_each(|w| *counts.entry(w.clone()).or_default() += 1);
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        counts
    };
    if let Some((_, rest)) = prompt.split_once("special magic") {
        let query = rest.rsplit_once("? The special").unwrap().0;
        let query = query.rsplit_once(" for ").unwrap().1;
        let query = query
            .split(" mentioned")
            .next()
            .unwrap()
            .replace("and ", "");
        let needles = prompt
            .split("One of the special magic ")
            .skip(1)
            .map(|needle| {
                let (key, value) = needle
                    .split_once(" for ")
                    .unwrap()
                    .1
                    .split_once(" is: ")
                    .unwrap();
                (
                    key.to_string(),
                    value.split('.').next().unwrap().to_string(),
                )
            });
        let needles: Vec<(String, String)> = needles.collect();
        let of = |key: &str| -> Vec<String> {
            let mine = needles.iter().filter(|(k, _)| k == key);
            mine.map(|(_, value)| value.clone()).collect()
        };
        return query.split(", ").flat_map(of).collect();
    }
    if prompt.contains("VAR ") {
        let text = prompt.rsplit("Follow them.").next().unwrap();
        let value = text
            .rsplit_once("the value ")
            .unwrap()
            .1
            .trim_end_matches(':');
        let mut chain: Vec<String> = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("VAR ")) {
            let (name, what) = line.trim().split_once(" = ").unwrap();
            let what = what.trim_start_matches("VAR ");
            if what == value || chain.iter().any(|known| known == what) {
                chain.push(name.into());
            }
        }
        return chain;
    }
    let (text, rest) = prompt.rsplit_once("\nQuestion: ").unwrap();
    let text = text.rsplit_once('\n').unwrap().1;
    let (wanted, skipped) = match rest.contains("coded") {
        true => (3, 1),
        false => (10, 0),
    };
    let words: Vec<String> = words(text)
        .into_iter()
        .filter(|w| w == "..." || !w.ends_with('.'))
        .collect();
    let counts = count(&words).into_iter().skip(skipped).take(wanted);
    counts.map(|(word, _)| word).collect()
}

#[test]
fn a_reader_finds_everything_and_a_constant_nothing() {
    let plan = Plan {
        lengths: vec![9000, 12_000],
        depths: vec![0.0, 0.5, 1.0],
        trials: 3,
        batch: 2,
        seed: 1,
    };
    for task in Name::ALL {
        let task = Ruler { task }.built(&material()).unwrap();
        let mut answer = String::new();
        let mut said = 0;
        let mut reader = Rule(|read: &[u32]| {
            if said == 0 {
                answer = format!(
                    " {}.",
                    solve(&Tokenizer::Bytes.text(read).unwrap()).join(", ")
                );
            }
            said = (said + 1) % task.count;
            let at = (said + task.count - 1) % task.count;
            u32::from(*answer.as_bytes().get(at).unwrap_or(&b'.'))
        });
        let grid = run(&task, &plan, &Tokenizer::Bytes, &mut reader, &mut |_, _| {}).unwrap();
        for cell in &grid.cells {
            let all = cell.scores.iter().all(|score| score.mean == 1.0);
            assert!(all, "{}: {cell:?}", grid.task);
            assert!(
                cell.tokens <= cell.length && cell.tokens > cell.length - 420,
                "{cell:?}"
            );
        }
        assert_eq!(grid.cells.len(), if task.has_depth() { 6 } else { 2 });
        let mut constant = Rule(|_: &[u32]| u32::from(b'1'));
        let grid = run(
            &task,
            &plan,
            &Tokenizer::Bytes,
            &mut constant,
            &mut |_, _| {},
        )
        .unwrap();
        assert!(grid.cells.iter().all(|cell| cell.scores[0].mean == 0.0));
    }
}

#[test]
fn references_follow_from_the_prompts() {
    for task in Name::ALL {
        let task = Ruler { task }.built(&material()).unwrap();
        let place = Place {
            length: 9000,
            depth: None,
        };
        for i in 0..20 {
            let mut rng = Rng::at(7, Purpose::Trials, i);
            let trial = task.trial(place, &mut rng).unwrap();
            let Ask::Greedy { references, .. } = trial.ask else {
                panic!("RULER is greedy")
            };
            let mut solved = solve(&Tokenizer::Bytes.text(&trial.tokens).unwrap());
            let mut references = references;
            if task.name != Name::Vt && task.name != Name::Multiquery {
                solved.sort();
                references.sort();
            }
            assert_eq!(solved, references, "{}", task.name());
        }
    }
}

#[test]
fn the_needle_format_is_the_published_one() {
    let task = Ruler::default().build(&Material::bytes(None)).unwrap();
    let place = Place {
        length: 1080,
        depth: Some(0.5),
    };
    let trial = task
        .trial(place, &mut Rng::at(1, Purpose::Trials, 0))
        .unwrap();
    let Ask::Greedy { references, .. } = &trial.ask else {
        panic!("RULER is greedy")
    };
    let text = Tokenizer::Bytes.text(&trial.tokens).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let key = lines[2]
        .split(" for ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let value = &references[0];
    assert_eq!(
        lines,
        [
            "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about the number afterwards.",
            GRASS,
            &format!("One of the special magic numbers for {key} is: {value}."),
            GRASS,
            &format!(
                "What is the special magic number for {key} mentioned in the provided text? The special magic number for {key} mentioned in the provided text is"
            ),
        ]
    );
}

#[test]
fn the_share_of_references_found_counts() {
    let task = Ruler::default().build(&Material::bytes(None)).unwrap();
    let ask = Ask::Greedy {
        count: 1,
        question: String::new(),
        references: vec!["ab".into(), "CD".into()],
        answer: vec![],
    };
    let trial = Trial {
        tokens: vec![],
        ask,
    };
    let score = |said: &str| task.score(&trial, &Said::Text(said.into()));
    assert_eq!(score("xABx, cd"), [1.0, 1.0]);
    assert_eq!(score("ab"), [0.5, 0.0]);
    assert_eq!(score(""), [0.0, 0.0]);
}

#[test]
fn too_short_a_length_is_refused() {
    for task in Name::ALL {
        let task = Ruler { task }.built(&material()).unwrap();
        let place = Place {
            length: 100,
            depth: None,
        };
        let mut rng = Rng::at(1, Purpose::Trials, 0);
        let error = task.trial(place, &mut rng).unwrap_err().to_string();
        assert!(
            error.contains("length 100 given, expected at least"),
            "{error}"
        );
    }
}

#[test]
fn a_haystack_without_a_word_is_refused_where_words_are_taken_from_it() {
    let material = Material::bytes(Some(" \n".into()));
    let refused = Name::ALL.into_iter().filter(|&task| {
        let error = Ruler { task }.built(&material).err();
        error.is_some_and(|e| e.to_string().contains("a haystack without a word given"))
    });
    let refused: Vec<&str> = refused.map(Name::text).collect();
    assert_eq!(
        refused,
        [
            "niah_single_2",
            "niah_single_3",
            "niah_multikey_1",
            "niah_multivalue",
            "niah_multiquery"
        ]
    );
}

/// The right token after `read`, by reading the marks.
fn look_up(kind: TokenKind, ids: u32, read: &[u32]) -> u32 {
    let [open, is, close, ask] = [0, 1, 2, 3].map(|mark| ids + mark);
    let at = read.iter().rposition(|&t| t == ask).unwrap();
    let (text, question) = read.split_at(at);
    let (given, said) =
        question[1..].split_at(question[1..].iter().position(|&t| t == is).unwrap());
    let said = &said[1..];
    if kind == TokenKind::Fwe {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        text.iter()
            .for_each(|&t| *counts.entry(t).or_default() += 1);
        counts.remove(&open);
        let mut counts: Vec<(u32, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        return counts[said.len()].0;
    }
    let statements = text.split(|&t| t == open).skip(1).filter_map(|part| {
        let part = part.split(|&t| t == close).next()?;
        let is = part.iter().position(|&t| t == is)?;
        Some((&part[..is], &part[is + 1..]))
    });
    let statements: Vec<(&[u32], &[u32])> = statements.collect();
    match kind {
        TokenKind::Vt => {
            let mut chain: Vec<u32> = Vec::new();
            let mut right = given;
            while let Some((name, _)) = statements.iter().find(|(_, value)| *value == right) {
                chain.extend(*name);
                right = name;
            }
            chain[said.len()]
        }
        _ => {
            statements
                .iter()
                .find(|(name, _)| *name == given)
                .unwrap()
                .1[said.len()]
        }
    }
}

#[test]
fn token_tasks_are_solved_by_looking_up_and_not_by_a_constant() {
    use TokenKind::{Fwe, Mq, Niah, Vt};
    let plan = Plan {
        lengths: vec![100, 2000],
        depths: vec![],
        trials: 60,
        batch: 8,
        seed: 1,
    };
    for task in [Niah, Mq, Vt, Fwe] {
        let settings = TokenRuler {
            task,
            vocabulary: 36,
            value: 3,
            ..TokenRuler::default()
        };
        let built = settings.build(&Material::bytes(None)).unwrap();
        let mut table = Rule(|read: &[u32]| look_up(task, 32, read));
        let grid = run(&built, &plan, &Tokenizer::Bytes, &mut table, &mut |_, _| {}).unwrap();
        for cell in &grid.cells {
            assert!(
                cell.scores.iter().all(|s| s.mean == 1.0),
                "{task:?} {cell:?}"
            );
            assert_eq!(cell.tokens, cell.length);
        }
        let mut constant = Rule(|_: &[u32]| 5);
        let grid = run(
            &built,
            &plan,
            &Tokenizer::Bytes,
            &mut constant,
            &mut |_, _| {},
        )
        .unwrap();
        let mean = grid.cells.iter().map(|c| c.scores[0].mean).sum::<f64>() / 2.0;
        // At least 360 tokens of 32 ids: three standard deviations are 0.028.
        assert!((mean - 1.0 / 32.0).abs() < 0.028, "{task:?} {mean}");
    }
}
