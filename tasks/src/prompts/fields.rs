//! Fields of a record as a question's parts: texts, lists of them, prompts with fields in them, choices, and the
//! requests that lm-evaluation-harness logs.

use super::question::Question;
use super::score::Scoring;
use baton_data::plain;
use baton_data::records::{self, Record};
use serde_json::Value;

pub(super) fn value<'a>(record: &'a Record, field: &str) -> Result<&'a Value, String> {
    let found = records::at(record, field).filter(|value| !value.is_null());
    found.ok_or_else(|| {
        format!(
            "no field `{field}`, expected one of {}",
            records::names(record)
        )
    })
}

/// A text or a number.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

pub(super) fn one(record: &Record, field: &str) -> Result<String, String> {
    let found = value(record, field)?;
    text(found).ok_or_else(|| format!("`{field}` is {}, expected a text", plain::value(found)))
}

/// A text, or a list of texts.
pub(super) fn all(record: &Record, field: &str) -> Result<Vec<String>, String> {
    let found = value(record, field)?;
    let texts = match found {
        Value::Array(all) => all.iter().map(text).collect(),
        one => text(one).map(|one| vec![one]),
    };
    texts.ok_or_else(|| {
        format!(
            "`{field}` is {}, expected a text or a list of texts",
            plain::value(found)
        )
    })
}

/// Which choice an answer means: its number, its letter, or itself. A text of digits that can be either is the choice
/// itself, but with `numbers` the number, as lm-evaluation-harness logs it.
pub(super) fn chosen(choices: &[String], answer: &Value, numbers: bool) -> Result<usize, String> {
    let (given, number) = (text(answer).unwrap_or_default(), answer.is_number());
    let digits = numbers && given.bytes().all(|byte| byte.is_ascii_digit());
    let logged = given.parse::<usize>().ok();
    let logged = logged.filter(|&i| digits && i < choices.len());
    let answer = given.trim();
    let itself = choices.iter().position(|choice| choice.trim() == answer);
    let itself = itself.filter(|_| !number);
    let number = || answer.parse::<usize>().ok();
    let letter = || match answer.as_bytes() {
        [letter @ b'A'..=b'Z'] => Some(usize::from(letter - b'A')),
        _ => None,
    };
    let found = logged.or(itself).or_else(number).or_else(letter);
    found.filter(|&i| i < choices.len()).ok_or_else(|| {
        format!(
            "the answer `{answer}` is none of the {} choices, their numbers from 0 or letters",
            choices.len()
        )
    })
}

/// The text of a prompt with the fields of a record.
pub(super) fn filled(prompt: &str, record: &Record) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = prompt;
    while let Some(at) = rest.find(['{', '}']) {
        filled.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            filled.push_str(brace);
            rest = after;
            continue;
        }
        let (field, after) = rest
            .split_once('}')
            .filter(|_| brace == "{")
            .ok_or_else(|| {
                "a brace alone in the prompt, expected `{field}`, or `{{` for a brace".to_string()
            })?;
        match field.strip_suffix('?') {
            Some(field) => filled.push_str(&one(record, field).unwrap_or_default()),
            None => filled.push_str(&one(record, field)?),
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The requests of a sample of lm-evaluation-harness: one with a continuation for each choice, one whose continuation
/// is forced, or one to go on with. Continuations follow the context as they were logged.
pub(super) fn requests(record: &Record, question: &mut Question) -> Result<(), String> {
    let found = value(record, "arguments")?;
    let sorted = |all: &serde_json::Map<String, Value>| -> Vec<Value> {
        let mut named: Vec<(usize, Value)> = all
            .iter()
            .map(|(name, value)| {
                let number = name.rsplit('_').next().and_then(|n| n.parse().ok());
                (number.unwrap_or(usize::MAX), value.clone())
            })
            .collect();
        named.sort_by_key(|(number, _)| *number);
        named.into_iter().map(|(_, value)| value).collect()
    };
    let list = |value: &Value| match value {
        Value::Array(all) => all.clone(),
        Value::Object(all) => sorted(all),
        _ => Vec::new(),
    };
    let pairs: Vec<Vec<Value>> = list(found).iter().map(list).collect();
    let part = |pair: &[Value], i: usize| pair.get(i).and_then(Value::as_str).map(str::to_string);
    let first = pairs.first().and_then(|pair| part(pair, 0));
    question.prompt = first.ok_or_else(|| {
        "`arguments` holds no request, expected texts as lm-evaluation-harness logs them"
            .to_string()
    })?;
    if pairs.iter().any(|pair| pair.len() == 1) {
        return Err(
            "`arguments` holds a text alone, as lm-evaluation-harness logs `loglikelihood_rolling`: the perplexity of a \
             text is no answer, expected a context with what follows it. `baton eval perplexity --text FILE --whole` \
             measures a text"
                .to_string(),
        );
    }
    // A choice without a context is there for `acc_mutual_info` alone.
    let asked = pairs.iter();
    let asked = asked.filter(|pair| part(pair, 0).as_deref() != Some(""));
    let asked: Vec<&Vec<Value>> = asked.collect();
    let context = question.prompt.as_str();
    if asked
        .iter()
        .any(|pair| part(pair, 0).as_deref() != Some(context))
    {
        return Err(
            "`arguments` holds requests with contexts of their own, expected one context for all"
                .to_string(),
        );
    }
    let continuations: Option<Vec<String>> = asked.iter().map(|pair| part(pair, 1)).collect();
    let continuations = continuations.unwrap_or_default();
    match (continuations.len(), question.scoring) {
        (1, Scoring::Exact | Scoring::Forced | Scoring::FirstToken) => {
            if question.scoring == Scoring::Exact {
                question.scoring = Scoring::Forced;
            }
            (question.references, question.verbatim) = (continuations, true);
        }
        (0 | 1, _) => {}
        _ => (question.choices, question.verbatim) = (continuations, true),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn prompts_are_filled_and_what_is_missing_is_named() {
        let given = record(r#"{"a": "x", "b": {"c": [1, "y"]}, "n": null}"#);
        let of = |prompt| filled(prompt, &given);
        assert_eq!(of("{a}-{b.c.1}{{{b.c.0}}}{n?}{z?}.").unwrap(), "x-y{1}.");
        assert!(
            of("{z}")
                .unwrap_err()
                .contains("expected one of `a`, `b`, `n`")
        );
        for wrong in ["{a", "a}", "{b}"] {
            of(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_choice_is_meant_by_itself_its_number_or_its_letter() {
        let choices = [" no", " yes", "2"].map(String::from);
        let choices = choices.each_ref().map(|choice| choice.replace("2", "0"));
        for (answer, expected) in [("yes", 1), ("1", 1), ("C", 2), ("0", 2)] {
            let found = chosen(&choices, &answer.into(), false);
            assert_eq!(found, Ok(expected), "{answer}");
        }
        assert_eq!(chosen(&choices, &0.into(), false), Ok(0));
        for wrong in ["3", "D", "maybe"] {
            chosen(&choices, &wrong.into(), false).unwrap_err();
        }
        // Digits are the number of a choice where they are logged so, if there is one.
        let choices = ["1", "2", "+1", "7"].map(String::from);
        for (answer, itself, logged) in [
            ("1", 0, 1),
            ("2", 1, 2),
            ("3", 3, 3),
            ("+1", 2, 2),
            ("7", 3, 3),
        ] {
            let found = [false, true].map(|numbers| chosen(&choices, &answer.into(), numbers));
            assert_eq!(found, [Ok(itself), Ok(logged)], "{answer}");
        }
    }
}
