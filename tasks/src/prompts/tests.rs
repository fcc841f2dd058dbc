use super::*;
use crate::predict::Rule;
use baton_data::tokenizer::Tokenizer;

fn question(scoring: Scoring, prompt: &str, references: &[&str]) -> Question {
    Question {
        task: "t".into(),
        number: 1,
        prompt: prompt.into(),
        question: String::new(),
        references: references.iter().map(|text| text.to_string()).collect(),
        choices: Vec::new(),
        verbatim: false,
        right: None,
        scoring,
    }
}

/// The scores of questions whose model reads bytes and says what follows the last `=` of the prompt.
fn scored(questions: &[Question], batch: usize) -> Vec<Vec<f64>> {
    let mut rule = Rule(|read: &[u32]| {
        let at = read.iter().rposition(|&token| token == u32::from(b'='));
        let begun = at.map_or(0, |at| read.len() - at - 1);
        let all = b" oak in the garden\nand more";
        u32::from(all.get(begun).copied().unwrap_or(b'.'))
    });
    let asking = Asking {
        count: 19,
        batch,
        buckets: vec![6],
    };
    let mut found = vec![Vec::new(); questions.len()];
    let mut note = |answered: Answered| {
        let at = questions
            .iter()
            .position(|q| std::ptr::eq(q, answered.question));
        found[at.unwrap()] = answered.scores;
    };
    let grids = run(
        questions,
        &asking,
        &Tokenizer::Bytes,
        &mut rule,
        &mut |_| {},
        &mut note,
    );
    let trials: usize = (grids.unwrap().iter().flat_map(|grid| &grid.cells))
        .map(|cell| cell.trials)
        .sum();
    assert_eq!(trials, questions.len());
    found
}

#[test]
fn each_scoring_gives_the_published_score() {
    use Scoring::*;
    let mut babilong = question(Babilong, "Where is it, in the hall?=", &["garden"]);
    babilong.question = "Is it in the hall?".into();
    let mut other = question(Babilong, "Where=", &["oak"]);
    other.question = "Where?".into();
    let choice = |choices: &[&str], right| Question {
        choices: choices.iter().map(|text| text.to_string()).collect(),
        right: Some(right),
        ..question(Choice, "It is=", &["oak"])
    };
    let cases = [
        (
            question(Exact, "a=", &["elm", "oak in the garden"]),
            vec![1.0],
        ),
        (question(Exact, "a=", &["oak"]), vec![0.0]),
        (question(Contains, "a=", &["THE"]), vec![1.0]),
        (
            question(StringMatchAll, "a=", &["OAK", "elm", "garden", "hall"]),
            vec![0.5, 0.0],
        ),
        (question(FirstToken, "a=", &["oak"]), vec![1.0]),
        (question(FirstToken, "a=", &["!"]), vec![1.0]), // the space before it
        (question(Forced, "a=", &["oak !"]), vec![5.0 / 6.0, 0.0]),
        // Both answers of the task are named, and neither is in the question.
        (babilong, vec![0.0]),
        (other, vec![0.0]),
        (choice(&["elm", "oak"], 1), vec![1.0, 1.0]),
        // By the sum the shorter is the likelier, by characters the longer.
        (choice(&["o!", "oak in the gardez.."], 0), vec![1.0, 0.0]),
    ];
    let (questions, expected): (Vec<Question>, Vec<Vec<f64>>) = cases.into_iter().unzip();
    for batch in [1, 3, 100] {
        let found = scored(&questions, batch);
        for ((found, expected), question) in found.iter().zip(&expected).zip(&questions) {
            let near = found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(
                near && found.len() == expected.len(),
                "{question:?}: {found:?}"
            );
        }
    }
    let mut alone = question(Babilong, "Where=", &["garden"]);
    alone.question = "Where?".into();
    assert_eq!(scored(&[alone], 1), [[1.0]]);
}

/// BABILong's qa8 has answers that are lists; the labels are their parts.
#[test]
fn a_list_of_answers_is_no_answer_of_its_own() {
    let list = question(Scoring::Babilong, "It is=", &["oak,garden"]);
    let part = question(Scoring::Babilong, "It is=", &["oak"]);
    assert_eq!(scored(&[list, part], 2), [[1.0], [0.0]]);
}

/// As in lm-evaluation-harness: neither the space before a choice nor a second byte of a letter makes it longer.
#[test]
fn a_choice_is_as_long_as_its_characters() {
    let sums = [-2.0, -3.2];
    for shorter in [" ab", "\u{e9}\u{e9}"] {
        let choices = [shorter, "abcd"].map(String::from);
        let scores = |right| Scoring::of_choices(&choices, Some(right), &sums);
        assert_eq!(scores(0), [1.0, 0.0], "{shorter}");
        assert_eq!(scores(1), [0.0, 1.0], "{shorter}");
    }
}

#[test]
fn cells_are_lengths_up_to_which_prompts_reach() {
    let lengths = [3, 6, 7, 9, 16, 17];
    let prompts: Vec<Question> = (lengths.iter())
        .map(|&n| question(Scoring::Contains, &"x".repeat(n), &["."]))
        .collect();
    let asking = Asking {
        count: 1,
        batch: 2,
        buckets: vec![6],
    };
    let mut rule = Rule(|_: &[u32]| 46);
    let mut heard = 0;
    let grids = run(
        &prompts,
        &asking,
        &Tokenizer::Bytes,
        &mut rule,
        &mut |tokens| heard += tokens,
        &mut |_| {},
    );
    let cells = &grids.unwrap()[0].cells;
    let found: Vec<_> = cells
        .iter()
        .map(|c| (c.length, c.trials, c.tokens))
        .collect();
    assert_eq!(found, [(6, 2, 6), (8, 1, 7), (16, 2, 16), (32, 1, 17)]);
    assert_eq!(heard, lengths.iter().sum::<usize>());
}

#[test]
fn what_has_no_tokens_is_refused_by_its_record() {
    let mut choices = question(Scoring::Choice, "=", &["a"]);
    choices.choices = vec!["a".into(), " ".into()];
    choices.prompt = "p ".into();
    let mut rule = Rule(|_: &[u32]| 46);
    for question in [question(Scoring::Exact, "", &["a"]), choices] {
        let asking = Asking {
            count: 1,
            batch: 1,
            buckets: Vec::new(),
        };
        let found = run(
            std::slice::from_ref(&question),
            &asking,
            &Tokenizer::Bytes,
            &mut rule,
            &mut |_| {},
            &mut |_| {},
        );
        if question.choices.is_empty() {
            let error = found.unwrap_err().to_string();
            assert!(
                error.starts_with("t, record 1: a prompt without tokens"),
                "{error}"
            );
        } else {
            found.unwrap(); // the space of the prompt is the answer's
        }
    }
}
