//! From records to questions: which field is what, said one by one or by the name of who wrote the file.
//!
//! A prompt is a text with fields in braces. The presets know names of fields alone; the words around them, where a
//! file has none of its own, are ours, and anyone who compares with published numbers says the published
//! words by a prompt.

use super::fields::{all, chosen, filled, one, requests, value};
use super::question::Question;
use super::score::Scoring;
use baton_data::Error;
use baton_data::records::{self, Record};
use std::path::{Path, PathBuf};

/// Which field of a record is what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The prompt: a text with `{field}`, or `{field?}` where a record may have none; `{{` is a brace.
    pub prompt: String,
    /// The answer: a text, a number, or a list of them.
    pub answer: String,
    /// The choices, where there are some: a list of texts, or several fields with commas between.
    pub choices: Option<String>,
    /// The question, for scores that look at it.
    pub question: Option<String>,
    /// What the rows of tables are called by; the file's name when absent.
    pub task: Option<String>,
    /// How answers are scored.
    pub scoring: Scoring,
    /// Tokens of a continuation.
    pub count: usize,
    /// Whether records are those of lm-evaluation-harness, which hold whole requests.
    pub requests: bool,
}

/// Names of presets, each with what writes its fields.
pub const PRESETS: [(&str, &str); 4] = [
    ("babilong", "input, question, target"),
    ("ruler", "input, outputs, answer_prefix"),
    ("longbench", "context, input, answers, dataset"),
    (
        "lm-eval",
        "arguments, target: the samples that lm-evaluation-harness logs",
    ),
];

impl Form {
    /// The fields of a preset.
    pub fn preset(name: &str) -> Result<Self, Error> {
        let form = |prompt: &str, answer: &str, scoring, count| Form {
            prompt: prompt.into(),
            answer: answer.into(),
            choices: None,
            question: None,
            task: None,
            scoring,
            count,
            requests: false,
        };
        let asked = "\n\nQuestion: {question}\nAnswer:";
        Ok(match name {
            "babilong" => Form {
                question: Some("question".into()),
                ..form(
                    &format!("{{input}}{asked}"),
                    "target",
                    Scoring::Babilong,
                    20,
                )
            },
            "ruler" => form(
                "{input}{answer_prefix?}",
                "outputs",
                Scoring::StringMatchAll,
                128,
            ),
            "longbench" => Form {
                task: Some("dataset".into()),
                ..form(
                    "{context}\n\nQuestion: {input}\nAnswer:",
                    "answers",
                    Scoring::Contains,
                    64,
                )
            },
            "lm-eval" => Form {
                requests: true,
                ..form("", "target", Scoring::Exact, 64)
            },
            other => {
                let known = PRESETS.map(|(known, _)| known).join(", ");
                return Err(Error::Config(format!(
                    "preset `{other}` given, expected one of {known}"
                )));
            }
        })
    }

    /// The questions of a file, or of all files of records in a folder, at most `limit` of each.
    pub fn read(&self, path: &Path, limit: usize) -> Result<Vec<Question>, Error> {
        let mut found = Vec::new();
        for (file, name) in files(path)? {
            let before = found.len();
            let read = records::each(&file, &mut |number, record| {
                if found.len() - before == limit {
                    return Err(Error::Config(String::new())); // enough of this file
                }
                let question = self.question(&name, number, &record);
                found.push(
                    question
                        .map_err(|why| Error::file(&file, format!("record {number}: {why}")))?,
                );
                Ok(())
            });
            match read {
                Err(Error::Config(none)) if none.is_empty() => {}
                other => other?,
            }
        }
        match found.is_empty() {
            true => Err(Error::file(path, "no records in it, expected questions")),
            false => Ok(found),
        }
    }

    fn question(&self, file: &str, number: usize, record: &Record) -> Result<Question, String> {
        let task = match &self.task {
            Some(field) => one(record, field)?,
            None => file.to_string(),
        };
        let mut question = Question {
            task,
            number,
            prompt: String::new(),
            question: String::new(),
            references: Vec::new(),
            choices: Vec::new(),
            verbatim: false,
            right: None,
            scoring: self.scoring,
        };
        if self.requests {
            requests(record, &mut question)?;
        } else {
            question.prompt = filled(&self.prompt, record)?;
        }
        if let Some(field) = &self.question {
            question.question = one(record, field)?;
        }
        if let Some(fields) = &self.choices {
            question.verbatim = false;
            question.choices = match fields.split_once(',') {
                None => all(record, fields)?,
                Some(_) => {
                    let each = fields.split(',').map(|field| one(record, field.trim()));
                    each.collect::<Result<_, _>>()?
                }
            };
        }
        if question.references.is_empty() {
            question.references = all(record, &self.answer)?;
        }
        if question.references.is_empty() {
            return Err(format!("`{}` is empty, expected an answer", self.answer));
        }
        if !question.choices.is_empty() {
            question.scoring = Scoring::Choice;
            let answer = value(record, &self.answer)?;
            question.right = Some(chosen(&question.choices, answer, self.requests)?);
            question.references = question
                .right
                .map(|i| question.choices[i].clone())
                .into_iter()
                .collect();
        } else if self.scoring == Scoring::Choice {
            return Err("no choices, expected --choices FIELD with a list of them".into());
        }
        match question.prompt.trim().is_empty() {
            true => Err("an empty prompt".into()),
            false => Ok(question),
        }
    }
}

/// Files of records at `path`, with the names that tell them apart.
fn files(path: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let stem = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.split('.').next().unwrap_or_default().to_string()
    };
    if !path.is_dir() {
        return Ok(vec![(path.to_path_buf(), stem(path))]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| Error::file(&folder, e))? {
            let file = entry.map_err(|e| Error::file(&folder, e))?.path();
            let hidden = file
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if file.is_dir() && !hidden {
                folders.push(file);
            } else if records::is(&file) && !hidden {
                let above = folder.strip_prefix(path).unwrap_or(Path::new(""));
                let name = called(&above.join(stem(&file)));
                found.push((file, name));
            }
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(Error::file(
            path,
            "no file of records in it, expected .jsonl, .json or .parquet",
        )),
        false => Ok(found),
    }
}

/// What of a path names a task: lengths and splits, which benchmarks put into paths too, do not.
fn called(path: &Path) -> String {
    const SPLITS: [&str; 5] = ["data", "synthetic", "train", "validation", "test"];
    let parts: Vec<String> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let names = parts.iter().filter(|part| {
        let length = part.to_lowercase();
        let number = length.trim_end_matches(['k', 'm']);
        !SPLITS.contains(&part.as_str()) && number.parse::<usize>().is_err()
    });
    let names: Vec<&str> = names.map(String::as_str).collect();
    match names.is_empty() {
        true => parts.last().cloned().unwrap_or_default(),
        false => names.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_either_form_are_read() {
        let form = Form::preset("lm-eval").unwrap();
        let texts = [
            r#"{"arguments": [["Is it?", " no"], ["Is it?", " yes"]], "target": 1}"#,
            r#"{"arguments": {"gen_args_1": {"arg_0": "Is it?", "arg_1": " yes"}, "gen_args_0": {"arg_0": "Is it?", "arg_1": " no"}}, "target": " yes"}"#,
            r#"{"arguments": [["Is it?", " 1"], ["Is it?", " 2"]], "target": "1"}"#,
        ];
        for text in texts {
            let question = form
                .question("f", 1, &serde_json::from_str(text).unwrap())
                .unwrap();
            assert_eq!(
                (question.prompt.as_str(), question.right),
                ("Is it?", Some(1))
            );
            assert_eq!(question.scoring, Scoring::Choice);
        }
        let text = r#"{"arguments": {"gen_args_0": {"arg_0": "Go", "arg_1": {"until": ["\n"]}}}, "target": "on"}"#;
        let question = form
            .question("f", 1, &serde_json::from_str(text).unwrap())
            .unwrap();
        assert_eq!(
            (question.scoring, question.choices.len()),
            (Scoring::Exact, 0)
        );
    }

    #[test]
    fn one_request_with_a_continuation_is_forced() {
        let form = Form::preset("lm-eval").unwrap();
        let text = r#"{"arguments": [["She sat on the", " mat"]], "target": "mat"}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        let question = form.question("f", 1, &record).unwrap();
        assert_eq!(question.scoring, Scoring::Forced);
        assert_eq!(question.references, [" mat"]);
        assert!(question.verbatim);
        let first = Form {
            scoring: Scoring::FirstToken,
            ..form.clone()
        };
        let first = first.question("f", 1, &record).unwrap();
        assert_eq!(
            (first.scoring, first.references),
            (Scoring::FirstToken, vec![" mat".to_string()])
        );
        let scoring = Scoring::Contains;
        let question = Form { scoring, ..form }.question("f", 1, &record).unwrap();
        assert_eq!((question.scoring, question.choices.len()), (scoring, 0));
        assert_eq!(question.references, ["mat"]);
    }

    /// As winogrande's, whose continuations are equal: whatever the model, the first would be right.
    #[test]
    fn requests_with_contexts_of_their_own_are_refused() {
        let form = Form::preset("lm-eval").unwrap();
        let question = |text: &str| form.question("f", 1, &serde_json::from_str(text).unwrap());
        let text = r#"{"arguments": [["Ann", " fell."], ["Bob", " fell."]], "target": " fell."}"#;
        let error = question(text).unwrap_err();
        assert!(
            error.contains("requests with contexts of their own"),
            "{error}"
        );
        let text =
            r#"{"arguments": [["A", " a"], ["A", " b"], ["", " a"], ["", " b"]], "target": 1}"#;
        assert_eq!(question(text).unwrap().choices, [" a", " b"]);
    }
}
