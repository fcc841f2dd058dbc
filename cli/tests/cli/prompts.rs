//! Questions from files, samples of every trial, and tables that say how sure they are.

use crate::program::{Folder, baton};
use serde_json::{Value, json};
use std::fs;

/// A model of bytes that has learned nothing.
fn model(folder: &Folder) -> String {
    let run = folder.path("model");
    let text = folder.write("text.txt", &"a state is carried home. ".repeat(20));
    let few = ["--steps", "1", "--length", "16", "--batch", "2", "--quiet"];
    let done = baton(&[&["train", "--folder", &run, "--text", &text], &few[..]].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    run
}

fn lines(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn write(path: String, records: &[Value]) -> String {
    let folder = std::path::Path::new(&path).parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    let lines: Vec<String> = records.iter().map(Value::to_string).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

#[test]
fn benchmarks_are_asked_in_the_fields_that_they_have() {
    let folder = Folder::new("prompts");
    let model = model(&folder);
    let samples = folder.path("said.jsonl");
    let ask = |file: &str, more: &[&str]| {
        let given = [
            "eval",
            "prompts",
            "--checkpoint",
            &model,
            "--file",
            file,
            "--samples",
            &samples,
            "--quiet",
        ];
        let done = baton(&[&given[..], &["--json"], more].concat());
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        let value = done.json();
        assert_eq!(value["measure"], "prompts");
        (value["result"]["grids"].clone(), lines(&samples))
    };
    // BABILong's folders: a task each, lengths below.
    let babi = |n: usize| {
        let facts = "Mary went to the hall. ".repeat(n);
        json!({"input": facts, "question": "Where is Mary?", "target": "hall"})
    };
    for (file, records) in [
        ("data/qa1/0k.json", vec![babi(1), babi(2)]),
        ("data/qa1/1k.json", vec![babi(20)]),
        ("data/qa2/0k.json", vec![babi(1)]),
    ] {
        let path = folder.path(&format!("babilong/{file}"));
        write(path.clone(), &[Value::Array(records)]);
    }
    let (grids, said) = ask(
        &folder.path("babilong"),
        &["--preset", "babilong", "--tokens", "3"],
    );
    let found: Vec<(&Value, Vec<(&Value, &Value)>)> = (grids.as_array().unwrap().iter())
        .map(|grid| {
            let cells = grid["cells"].as_array().unwrap().iter();
            (
                &grid["task"],
                cells.map(|c| (&c["length"], &c["trials"])).collect(),
            )
        })
        .collect();
    let one = json!(1);
    assert_eq!(
        found,
        [
            (
                &json!("qa1"),
                vec![(&json!(64), &one), (&json!(128), &one), (&json!(512), &one)]
            ),
            (&json!("qa2"), vec![(&json!(64), &one)]),
        ]
    );
    assert_eq!(said.len(), 4);
    for line in &said {
        let prompt = line["prompt"].as_str().unwrap();
        assert!(
            prompt.ends_with("Question: Where is Mary?\nAnswer:"),
            "{prompt}"
        );
        assert_eq!(line["references"], json!(["hall"]));
        assert!(
            line["answer"].is_string() && line["scores"]["answer"].is_number(),
            "{line}"
        );
    }
    let ruler = write(
        folder.path("niah.jsonl"),
        &[
            json!({"index": 0, "input": "Find it.", "outputs": ["17", "23"], "answer_prefix": " It is"}),
        ],
    );
    let (grids, said) = ask(&ruler, &["--preset", "ruler", "--tokens", "2"]);
    assert_eq!(grids[0]["cells"][0]["scores"][0]["name"], "found");
    assert_eq!(said[0]["prompt"], "Find it. It is");
    let longbench = write(
        folder.path("long.jsonl"),
        &[json!({"context": "c", "input": "q", "answers": ["a", "b"], "dataset": "narrative"})],
    );
    let (grids, said) = ask(
        &longbench,
        &[
            "--preset",
            "longbench",
            "--prompt",
            "{context}|{input}",
            "--tokens",
            "2",
        ],
    );
    assert_eq!(
        (&grids[0]["task"], &said[0]["prompt"]),
        (&json!("narrative"), &json!("c|q"))
    );
    let choices = |target: Value| json!({"arguments": [["Is it?", " no"], ["Is it?", " yes"]], "target": target});
    let harness = write(
        folder.path("samples_it.jsonl"),
        &[choices(json!(1)), choices(json!(0))],
    );
    let (grids, said) = ask(&harness, &["--preset", "lm-eval"]);
    // The same two choices, once the one and once the other right: one of them is.
    let score = &grids[0]["cells"][0]["scores"][0];
    assert_eq!(
        (&score["name"], &score["mean"]),
        (&json!("choice"), &json!(0.5))
    );
    let likelihoods = |line: &Value| line["likelihoods"].as_array().unwrap().len();
    assert!(
        said.iter()
            .all(|line| likelihoods(line) == 2 && line["choices"] == json!([" no", " yes"]))
    );
    let quiz = write(
        folder.path("quiz.jsonl"),
        &[json!({"q": "Which?", "A": "this", "B": "that", "label": "B"})],
    );
    let form = ["--prompt", "{q}\\nAnswer:", "--answer", "label"];
    let (_, said) = ask(
        &quiz,
        &[&form[..], &["--choices", "A,B", "--score", "choice"]].concat(),
    );
    assert_eq!(
        (&said[0]["references"], &said[0]["prompt"]),
        (&json!(["that"]), &json!("Which?\nAnswer:"))
    );
    for scoring in [
        "first_token",
        "forced",
        "exact",
        "contains",
        "string-match-all",
    ] {
        let (grids, _) = ask(
            &quiz,
            &[
                &form[..],
                &["--score", scoring, "--lengths", "1k", "--tokens", "2"],
            ]
            .concat(),
        );
        assert_eq!(grids[0]["cells"][0]["length"], 1024);
    }
}

/// No space is put into what was logged without one, and a text alone is no question.
#[test]
fn requests_are_asked_as_they_were_logged() {
    let folder = Folder::new("prompts-logged");
    let model = model(&folder);
    let samples = folder.path("said.jsonl");
    let ask = |arguments: Value| {
        let record = json!({"arguments": arguments, "target": 0});
        let file = write(folder.path("samples_it.jsonl"), &[record]);
        let given = ["eval", "prompts", "--checkpoint", &model, "--file", &file];
        let lines = ["--preset", "lm-eval", "--samples", &samples, "--quiet"];
        baton(&[&given[..], &lines].concat())
    };
    let likelihood = |context: &str, choice: &str| {
        let done = ask(json!([[context, choice], [context, "?"]]));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        lines(&samples)[0]["likelihoods"][0].as_f64().unwrap()
    };
    let divided = likelihood("Is it", " so");
    assert_eq!(likelihood("Is it ", "so"), divided);
    assert_ne!(likelihood("Is it", "so"), divided);
    for text in [
        json!([["a whole text"]]),
        json!({"gen_args_0": {"arg_0": "a whole text"}}),
    ] {
        let refused = ask(text);
        let why = "samples_it.jsonl: record 1: `arguments` holds a text alone, as lm-evaluation-harness logs \
                   `loglikelihood_rolling`";
        assert_eq!(refused.code, 2);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}

#[test]
fn what_cannot_be_asked_from_a_file_is_said() {
    let folder = Folder::new("prompts-errors");
    let model = model(&folder);
    let file = write(
        folder.path("q.jsonl"),
        &[json!({"input": "i", "target": "t"}), json!({"input": "j"})],
    );
    for (more, expected) in [
        (
            "--preset squad",
            "preset `squad` given, expected one of babilong, ruler",
        ),
        (
            "--preset ruler",
            "q.jsonl: record 1: no field `outputs`, expected one of `input`, `target`",
        ),
        (
            "--prompt {input} --answer target --score exact",
            "q.jsonl: record 2: no field `target`",
        ),
        (
            "--prompt {input --answer target --score exact",
            "a brace alone in the prompt",
        ),
        (
            "--prompt {input} --answer target --score best",
            "scoring `best` given, expected one of exact",
        ),
        (
            "--prompt {input} --answer target --score choice",
            "no choices, expected --choices",
        ),
        ("--preset babilong --tokens 0", "expected at least 1"),
        ("--prompt {input}", "--preset"),
    ] {
        let given = [
            "eval",
            "prompts",
            "--checkpoint",
            &model,
            "--file",
            &file,
            "--quiet",
        ];
        let done = baton(&given.into_iter().chain(more.split(' ')).collect::<Vec<_>>());
        assert_eq!(done.code, 2, "{more}");
        assert!(done.stderr.contains(expected), "{more}: {}", done.stderr);
    }
}

#[test]
fn every_task_writes_its_samples_and_one_that_is_too_long_stops_no_other() {
    let folder = Folder::new("prompts-samples");
    let model = model(&folder);
    let samples = folder.path("samples.jsonl");
    let ask = |verb: &str, more: &str, json: bool| {
        let mut given = vec![
            "eval",
            verb,
            "--checkpoint",
            &model,
            "--quiet",
            "--samples",
            &samples,
        ];
        given.extend(more.split(' '));
        given.extend(["--trials", "3"]);
        given.extend(json.then_some("--json"));
        let done = baton(&given);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{verb}");
        (done, lines(&samples))
    };
    let (done, said) = ask("ruler", "--tasks niah_single_1,vt --lengths 300,2000", true);
    let value = done.json();
    let grids = &value["result"]["grids"];
    for grid in grids.as_array().unwrap() {
        let [short, long] = [0, 1].map(|i| &grid["cells"][i]);
        assert!(
            short["refused"]
                .as_str()
                .unwrap()
                .contains("length 300 given, expected at least"),
            "{short}"
        );
        assert_eq!(short["scores"], json!([]));
        assert!(
            long["refused"].is_null() && long["scores"][0]["mean"].is_number(),
            "{long}"
        );
    }
    assert_eq!(said.len(), 6);
    for line in &said {
        assert_eq!(line["length"], 2000);
        assert!(line["prompt"].as_str().unwrap().len() > 1000 && line["answer"].is_string());
        assert!(!line["references"].as_array().unwrap().is_empty());
    }
    let (done, _) = ask(
        "ruler",
        "--tasks niah_single_1,vt --lengths 300,2000",
        false,
    );
    for part in ["found, % [95 % interval]", "[0, 56]", "not asked: ", "-"] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    for (verb, more) in [
        ("recall", "--lengths 64 --pairs 4"),
        ("copying", "--lengths 6"),
    ] {
        let (_, said) = ask(verb, more, true);
        let first = &said[0];
        assert_eq!(said.len(), 3);
        for key in ["prompt", "references", "answer"] {
            assert!(first[key][0].is_u64(), "{verb} {key}: {first}");
        }
        assert_eq!(
            first["references"].as_array().unwrap().len(),
            first["answer"].as_array().unwrap().len()
        );
    }
    for (verb, more) in [
        ("passkey", "--lengths 400 --depths 0.5"),
        ("babi", "--lengths 0 --qa 1"),
    ] {
        let (_, said) = ask(verb, more, true);
        assert!(said.len() == 3 && said[0]["prompt"].is_string(), "{verb}");
    }
}
