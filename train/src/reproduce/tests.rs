//! A micro plan from seed to results, stopped and begun again.

use super::*;
use crate::ranks::Alone;
use baton_data::Text;
use baton_runtime::device::interpreter::Interpreter;
use baton_weights::origin::Origin;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("baton-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn plan() -> Plan {
    serde_json::from_str(
        r#"{
        "bases": [
            {"name": "micro", "seeds": [1, 2], "config": {
                "model": {"hidden_size": 8, "num_hidden_layers": 1,
                          "block": {"type": "mamba2", "head_dim": 4, "state_size": 4}},
                "train_length": 8, "batch_size": 2, "schedule": {"steps": 2, "warmup": 1}}},
            {"name": "copy", "family": "copying", "arm": "state passing", "seeds": [1],
             "task": "copying:min=2,max=3", "evaluate": ["copying"], "config": {
                "model": {"hidden_size": 8, "num_hidden_layers": 1,
                          "block": {"type": "mamba2", "head_dim": 4, "state_size": 4}},
                "train_length": 16, "batch_size": 2, "schedule": {"steps": 2, "warmup": 1},
                "initial_state": {"type": "state_passing", "p_zero": 0.1, "conv": "zero"}}}
        ],
        "post_trainings": [
            {"name": "zero", "initial_state": {"type": "zero"}, "steps": [1, 2], "bases": ["micro"],
             "evaluate": ["perplexity", "remembrance"]}
        ],
        "evaluations": {
            "perplexity": {"measure": "perplexity", "length": "4x", "sequences": 2},
            "states": {"measure": "states", "length": 32, "sequences": 2, "times": 4},
            "remembrance": {"measure": "remembrance", "length": "4x", "sequences": 2, "cuts": 4},
            "copying": {"measure": "task", "task": "copying", "lengths": [4, "1x"], "trials": 2}
        }
    }"#,
    )
    .unwrap()
}

fn text() -> Text {
    let bytes = (0..4000u32).map(|i| (i * i % 251) as u8).collect();
    Text::cut("numbers", bytes, 0.5)
}

#[test]
fn a_plan_unfolds_seed_by_seed() {
    let jobs = plan().jobs().unwrap();
    let folders: Vec<&str> = jobs.iter().map(|job| job.folder.as_str()).collect();
    assert_eq!(
        folders,
        [
            "micro/base/seed1",
            "micro/zero-1-steps/seed1",
            "micro/zero-2-steps/seed1",
            "copying/state-passing/seed1",
            "micro/base/seed2",
            "micro/zero-1-steps/seed2",
            "micro/zero-2-steps/seed2",
        ]
    );
    assert_eq!(jobs[2].from.as_deref(), Some("micro/base/seed1"));
    assert_eq!((jobs[2].config.seed, jobs[6].config.seed), (1001, 2001));
    assert_eq!(
        jobs[2].config.schedule.peak,
        0.1 * jobs[0].config.schedule.peak
    );
    assert_eq!(jobs[0].config.model.hidden_size, 8);
    assert_eq!(jobs[0].evaluations.len(), 4);
}

#[test]
fn what_is_wrong_with_a_plan_is_named() {
    let error = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan();
        change(&mut plan);
        plan.jobs().unwrap_err().to_string()
    };
    let typo = error(&|plan| plan.bases[0].config["train_lenght"] = 3.into());
    assert_eq!(
        typo,
        "the configuration of `micro`: `train_lenght` given, expected a key: did you mean `train_length`?"
    );
    let unknown = error(&|plan| plan.bases[0].evaluate = Some(vec!["x".into()]));
    assert!(unknown.starts_with("evaluation `x` given, expected one of"));
    let base = error(&|plan| plan.post_trainings[0].bases = Some(vec!["y".into()]));
    assert_eq!(
        base,
        "a post-training of `y` given, expected the name of a base"
    );
    let twice = error(&|plan| plan.bases[0].seeds = vec![1, 1]);
    assert!(twice.starts_with("two runs in folder `micro/base/seed1`"));
    let length = Length::Said("4y".into()).tokens(8).unwrap_err();
    assert!(length.to_string().starts_with("length `4y` given, "));
}

#[test]
fn an_experiment_goes_on_where_it_stood() {
    let (folder, text) = (folder("reproduce"), text());
    let mut plan = plan();
    plan.bases[0].evaluate = Some(vec!["perplexity".into(), "states".into()]);
    let settings = |only: Option<&str>| Settings {
        folder: folder.clone(),
        only: only.map(String::from),
        checkpoint_every: 1,
        progress: false,
        origin: Origin::Novels,
        group: Rc::new(Alone),
    };
    let go = |plan: &Plan, only| {
        let mut said = Vec::new();
        let jobs = plan.jobs().unwrap();
        let done = run(&jobs, &text, &settings(only), &Interpreter, &mut |line| {
            said.push(line)
        });
        done.map(|done| ([done.runs, done.trained, done.measured, done.kept], said))
    };
    // A post-training alone needs its base's weights, and not its measures.
    let (done, said) = go(&plan, Some("zero-1-steps/seed1")).unwrap();
    assert_eq!(done, [2, 2, 2, 0]);
    assert!(
        said[0].starts_with("[1/2] micro/base/seed1: train, time left"),
        "{said:?}"
    );
    assert!(said[1].contains("left"));
    let (done, _) = go(&plan, None).unwrap();
    assert_eq!(done, [7, 5, 11, 2]);
    let (done, said) = go(&plan, None).unwrap();
    assert_eq!((done, said.len()), ([7, 0, 0, 13], 0));

    let path = folder.join("copying/state-passing/seed1/copying.json");
    let found: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(found["measure"], "copying");
    assert_eq!(found["result"]["grids"][0]["cells"][1]["length"], 16);

    let target = folder.join("kept");
    assert_eq!(
        export(&plan.jobs().unwrap(), &folder, &target).unwrap(),
        13 + 7 + 7
    );
    assert!(target.join("micro/base/seed2/metrics.jsonl").exists());
    assert!(
        !target
            .join("micro/base/seed2/checkpoint.safetensors")
            .exists()
    );

    plan.bases[0].config["train_length"] = 9.into();
    let error = go(&plan, None).unwrap_err().to_string();
    assert!(error.contains("a run of another configuration"), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_documented_plan_unfolds() {
    let page = include_str!("../../../docs/evaluation.md");
    let blocks = page.split("```json\n").skip(1);
    let mut plans = blocks.filter_map(|block| block.split("```").next());
    let text = plans.find(|text| text.contains("\"bases\"")).unwrap();
    let plan: Plan = serde_json::from_str(text).unwrap();
    let jobs = plan.jobs().unwrap();
    assert_eq!(jobs.len(), 3 * (1 + 2 * 2));
    for job in &jobs {
        for (name, evaluation) in &job.evaluations {
            let ready = measure::Ready::new(evaluation, job.config.train_length);
            assert!(ready.unwrap().tokens() > 0, "{name}");
        }
    }
}
