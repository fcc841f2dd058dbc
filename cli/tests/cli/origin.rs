//! Where the text comes from is never guessed: a run's own is found again, another is refused by name,
//! and held out is what training held out.

use crate::program::{Finished, Folder, baton};
use std::fs;

fn words(seed: u64, count: usize) -> String {
    let mut x = seed;
    let mut word = |_| {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ["state ", "carried ", "home ", "again ", "and ", "over "][(x >> 40) as usize % 6]
    };
    (0..count).map(&mut word).collect()
}

fn train(folder: &Folder, name: &str, more: &[&str]) -> String {
    let run = folder.path(name);
    let few = ["--steps", "1", "--length", "16", "--batch", "2", "--quiet"];
    let done = baton(&[&["train", "--folder", &run], more, &few].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    format!("{run}/checkpoint.safetensors")
}

fn post(folder: &Folder, from: &str, name: &str, more: &[&str]) -> Finished {
    let run = folder.path(name);
    let given = [
        "post-train",
        "--from",
        from,
        "--folder",
        &run,
        "--steps",
        "1",
        "--quiet",
    ];
    baton(&[&given, more].concat())
}

fn eval(checkpoint: &str, more: &[&str]) -> Finished {
    let given = [
        "eval",
        "perplexity",
        "--checkpoint",
        checkpoint,
        "--length",
        "32",
        "--quiet",
    ];
    baton(&[&given, more].concat())
}

#[test]
fn a_runs_own_text_is_read_and_another_is_refused() {
    let folder = Folder::new("origin-text");
    let own = folder.write("own.txt", &words(1, 400));
    let other = folder.write("other.txt", &words(2, 400));
    let checkpoint = train(&folder, "run", &["--text", &own]);

    let done = post(&folder, &checkpoint, "first", &[]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let read = done.stdout.lines().next().unwrap();
    assert!(
        read.starts_with("own.txt, the last 15 % held out (/") && read.contains("own.txt): "),
        "{read}"
    );
    let done = eval(&checkpoint, &[]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert!(
        done.stdout.starts_with("own.txt, the last 15 %, "),
        "{}",
        done.stdout
    );

    for (done, remedy) in [
        (
            post(&folder, &checkpoint, "second", &["--text", &other]),
            "--other-data",
        ),
        (eval(&checkpoint, &["--text", &other]), "--whole"),
    ] {
        assert_eq!((done.code, done.stdout.as_str()), (2, ""));
        for name in ["other.txt", "own.txt", "expected what the run read", remedy] {
            assert!(done.stderr.contains(name), "{}", done.stderr);
        }
    }
    assert_eq!(
        post(
            &folder,
            &checkpoint,
            "second",
            &["--text", &other, "--other-data"]
        )
        .code,
        0
    );
    let whole = eval(&checkpoint, &["--text", &other, "--whole"]);
    assert!(
        whole.stdout.starts_with("other.txt, all of it, "),
        "{}",
        whole.stdout
    );

    // Moved, it is the same; gone, it is asked for; changed, it is another.
    let moved = folder.path("moved.txt");
    fs::rename(&own, &moved).unwrap();
    for done in [
        post(&folder, &checkpoint, "third", &[]),
        eval(&checkpoint, &[]),
    ] {
        assert_eq!(done.code, 2);
        assert!(
            done.stderr.contains("own.txt") && done.stderr.contains("its new place"),
            "{}",
            done.stderr
        );
    }
    assert_eq!(eval(&checkpoint, &["--text", &moved]).code, 0);
    assert_eq!(
        post(&folder, &checkpoint, "third", &["--text", &moved]).code,
        0
    );
    fs::write(&own, words(3, 400)).unwrap();
    let changed = eval(&checkpoint, &[]);
    assert_eq!(changed.code, 2);
    assert!(
        changed.stderr.contains("expected what the run read"),
        "{}",
        changed.stderr
    );

    // A checkpoint that was published says nothing, and nothing is taken in its place.
    let model = folder.path("model");
    assert_eq!(
        baton(&["convert", "--from", &checkpoint, "--to", &model]).code,
        0
    );
    for done in [
        post(
            &folder,
            &model,
            "fourth",
            &["--rate", "1e-3", "--batch", "2"],
        ),
        eval(&model, &[]),
    ] {
        assert_eq!((done.code, done.stdout.as_str()), (2, ""));
        let expected = "does not say what it was trained on: expected --text or --data";
        assert!(done.stderr.contains(expected), "{}", done.stderr);
    }
    let done = post(&folder, &model, "fourth", &["--rate", "1e-3"]);
    let expected = "expected its data (--text or --data) and the size of a batch (--batch)";
    assert!(done.stderr.contains(expected), "{}", done.stderr);
    assert_eq!(eval(&model, &["--text", &other]).code, 0);
}

#[test]
fn shards_are_evaluated_by_what_they_hold_out() {
    let folder = Folder::new("origin-shards");
    let text = folder.write("text.txt", &words(5, 500));
    let shards = |name: &str, held: &str| {
        let to = folder.path(name);
        let given = [
            "tokenize",
            "--text",
            &text,
            "--output",
            &to,
            "--held-out",
            held,
        ];
        assert_eq!(baton(&given).code, 0);
        to
    };
    let (part, all) = (shards("part", "0.25"), shards("all", "0"));
    let of_part = train(&folder, "of-part", &["--data", &part]);
    let done = eval(&of_part, &[]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert!(
        done.stdout.starts_with("text.txt, the last 25 %, "),
        "{}",
        done.stdout
    );
    assert_eq!(eval(&of_part, &["--data", &part]).stdout, done.stdout);
    let refused = eval(&of_part, &["--data", &all]);
    assert!(
        refused.code == 2 && refused.stderr.contains("expected what the run read"),
        "{}",
        refused.stderr
    );

    let of_all = train(&folder, "of-all", &["--data", &all]);
    for more in [&[][..], &["--data", &all]] {
        let done = eval(&of_all, more);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""));
        let expected = "expected data of which a part was held out";
        assert!(done.stderr.contains(expected), "{}", done.stderr);
    }
    let post = post(&folder, &of_all, "post", &[]);
    assert!(
        post.stdout.starts_with("text.txt, nothing held out ("),
        "{}",
        post.stdout
    );
    let tasked = train(&folder, "task", &["--task", "copying:ids=bytes,max=5"]);
    let done = eval(&tasked, &[]);
    assert!(
        done.code == 2 && done.stderr.contains("the task copying"),
        "{}",
        done.stderr
    );
}

/// Runs of one experiment are compared, so all of them read one text: that of the runs that are there.
#[test]
fn an_experiment_goes_on_with_its_own_text() {
    let folder = Folder::new("origin-plan");
    let own = folder.write("own.txt", &words(7, 400));
    let other = folder.write("other.txt", &words(8, 400));
    let arm = r#"{"name": "NAME", "initial_state": "state_passing:p_zero=0.5", "steps": [1]}"#;
    let plan = |names: &[&str]| {
        let arms: Vec<String> = names.iter().map(|name| arm.replace("NAME", name)).collect();
        let text = format!(
            r#"{{"bases": [{{"name": "micro", "seeds": [1], "config": {{
                "model": {{"hidden_size": 16, "num_hidden_layers": 1,
                          "block": {{"type": "mamba2", "head_dim": 8, "state_size": 8}}}},
                "train_length": 8, "batch_size": 2, "schedule": {{"steps": 2}}}}}},
              {{"name": "key", "seeds": [1], "task": "copying:min=1,max=2", "evaluate": [], "config": {{
                "model": {{"hidden_size": 16, "num_hidden_layers": 1,
                          "block": {{"type": "mamba2", "head_dim": 8, "state_size": 8}}}},
                "train_length": 8, "batch_size": 2, "schedule": {{"steps": 1}}}}}}],
              "post_trainings": [{}],
              "evaluations": {{"perplexity": {{"measure": "perplexity", "length": "4x", "sequences": 2}}}}}}"#,
            arms.join(", ")
        );
        folder.write("plan.json", &text)
    };
    let runs = folder.path("runs");
    let go = |plan: &str, more: &[&str]| {
        let given = ["reproduce", plan, "--folder", &runs, "--quiet", "--json"];
        baton(&[&given, more].concat())
    };
    let text_of = |run: &str| {
        let run = fs::read(format!("{runs}/micro/{run}/seed1/perplexity.json")).unwrap();
        let run: serde_json::Value = serde_json::from_slice(&run).unwrap();
        run["text"].as_str().unwrap().to_string()
    };
    let first = go(&plan(&["one"]), &["--text", &own]);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    let second = go(&plan(&["one", "two"]), &[]);
    assert_eq!((second.code, second.stderr.as_str()), (0, ""));
    assert_eq!(second.json()["done"]["trained"], 2);
    for run in ["base", "one-1-steps", "two-1-steps"] {
        assert_eq!(text_of(run), "own.txt, the last 15 % held out");
    }
    // Another text is refused before anything is trained; so is none where the runs' own is gone.
    let third = plan(&["one", "two", "three"]);
    let refused = go(&third, &["--text", &other]);
    assert_eq!(refused.code, 2);
    for part in [
        "other.txt (",
        "seed1 read ",
        "own.txt (",
        "another --folder",
    ] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let moved = folder.path("moved.txt");
    fs::rename(&own, &moved).unwrap();
    let gone = go(&third, &[]);
    assert_eq!(gone.code, 2);
    assert!(
        gone.stderr.contains("its new place by --text"),
        "{}",
        gone.stderr
    );
    assert!(!fs::exists(format!("{runs}/micro/three-1-steps")).unwrap());
    assert_eq!(go(&third, &["--text", &moved]).code, 0);
    // Runs measured by others afterwards know where their text is.
    let base = format!("{runs}/micro/three-1-steps/seed1");
    let measured = eval(&base, &[]);
    assert_eq!((measured.code, measured.stderr.as_str()), (0, ""));
    assert!(measured.stdout.starts_with("moved.txt, the last 15 %, "));
}

/// Runs are of the training part of a text; what was measured on the rest of it is kept while that is the same.
#[test]
fn another_held_out_text_is_measured_again() {
    let folder = Folder::new("origin-held-out");
    let own = words(7, 400);
    let text = folder.write("own.txt", &own);
    let plan = r#"{"bases": [{"name": "micro", "seeds": [1], "config": {
            "model": {"hidden_size": 16, "num_hidden_layers": 1,
                      "block": {"type": "mamba2", "head_dim": 8, "state_size": 8}},
            "train_length": 8, "batch_size": 2, "schedule": {"steps": 2}}}],
        "evaluations": {
            "perplexity": {"measure": "perplexity", "length": "4x", "sequences": 2},
            "key": {"measure": "task", "task": "copying", "lengths": [4], "trials": 2}}}"#;
    let (plan, runs) = (folder.write("plan.json", plan), folder.path("runs"));
    let go = || {
        let given = ["reproduce", &plan, "--folder", &runs, "--text", &text];
        let done = baton(&[&given[..], &["--quiet", "--json"]].concat());
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        let done = done.json()["done"].clone();
        ["trained", "measured", "kept"].map(|what| done[what].as_u64())
    };
    assert_eq!(go(), [1, 2, 0].map(Some));
    assert_eq!(go(), [0, 0, 2].map(Some));
    folder.write("own.txt", &format!("{}!", &own[..own.len() - 1]));
    assert_eq!(go(), [0, 1, 1].map(Some));
    assert_eq!(go(), [0, 0, 2].map(Some));
}

/// What a run read is read with its documents begun at zero states, too, where that is asked for.
#[test]
fn documents_of_a_runs_own_data_are_reset() {
    let folder = Folder::new("origin-reset");
    let texts = folder.path("texts");
    fs::create_dir_all(&texts).unwrap();
    for (name, seed) in [("a.txt", 1), ("b.txt", 2)] {
        fs::write(format!("{texts}/{name}"), words(seed, 100)).unwrap();
    }
    let reset = ["--reset-documents"];
    let checkpoint = train(&folder, "run", &["--text", &texts]);
    let done = post(&folder, &checkpoint, "post", &reset);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert!(
        done.stdout.contains(" documents, reset, "),
        "{}",
        done.stdout
    );
    let run = folder.path("run");
    let change = ["train", "--change", "--folder", &run, "--quiet"];
    let tasked = train(&folder, "task", &["--task", "copying:ids=bytes,max=5"]);
    for (done, why) in [
        (
            baton(&[&change[..], &reset].concat()),
            "of other data, which cannot change",
        ),
        (
            post(&folder, &tasked, "tasked", &reset),
            "--reset-documents given for the task copying:ids=bytes,max=5, which has no documents",
        ),
    ] {
        assert!(
            done.code == 2 && done.stderr.contains(why),
            "{}",
            done.stderr
        );
    }
}
