//! `baton eval logits` and `baton convert` on the published checkpoint: both layouts, saved again and
//! converted, against transformers' own values.

use crate::program::{Folder, Tensors, baton, load, save};
use safetensors::tensor::Dtype;

/// The bound that logits in f32 are held to.
const LOGITS: f64 = 2e-5;
/// That of states, over their largest value, which is in the hundreds.
const STATES: f64 = 5e-6;
const LAYERS: usize = 3;

fn golden(name: &str) -> String {
    format!(
        "{}/../train/tests/golden/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

fn values() -> Tensors {
    load(&golden("mamba2_hf_golden.safetensors"))
}

/// The largest difference; shapes are the same.
fn apart(got: &Tensors, name: &str, want: &Tensors, as_name: &str) -> f64 {
    let (got, want) = (&got[name], &want[as_name]);
    assert_eq!(got.1, want.1, "{name}");
    let pairs = got.2.iter().zip(&want.2);
    pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

/// The token file of the golden values.
fn ids(folder: &Folder, values: &Tensors) -> String {
    let path = folder.path("ids.safetensors");
    let ids = values["input_ids"].clone();
    save(&path, &Tensors::from([("input_ids".into(), ids)]));
    path
}

/// The same over the largest value wanted.
fn relative(got: &Tensors, name: &str, want: &Tensors, as_name: &str) -> f64 {
    let largest = want[as_name]
        .2
        .iter()
        .fold(0.0f64, |most, x| most.max(x.abs()));
    apart(got, name, want, as_name) / largest
}

fn run(folder: &Folder, checkpoint: &str, inputs: &str, more: &[&str]) -> Tensors {
    let output = folder.path("out.safetensors");
    let given = [
        "eval",
        "logits",
        "--checkpoint",
        checkpoint,
        "--inputs",
        inputs,
        "--output",
        &output,
    ];
    let done = baton(&[&given, more].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    load(&output)
}

/// Compares a checkpoint's whole run, and the run from a Gaussian state, with the golden values.
fn check(folder: &Folder, checkpoint: &str) {
    let values = values();
    let ids = ids(folder, &values);
    let got = run(folder, checkpoint, &ids, &["--states"]);
    assert_eq!(got.len(), 1 + 2 * LAYERS);
    let error = apart(&got, "logits", &values, "logits_f64");
    assert!(error < LOGITS, "{error:e}");
    for i in 0..LAYERS {
        for kind in ["ssm", "conv"] {
            let error = relative(
                &got,
                &format!("{kind}.{i}"),
                &values,
                &format!("whole.{kind}.{i}"),
            );
            assert!(error < STATES, "{kind}.{i}: {error}");
        }
    }
    let states = folder.path("states.safetensors");
    let first = (0..LAYERS).map(|i| (format!("ssm.{i}"), values[&format!("rand_h0.{i}")].clone()));
    save(&states, &first.collect());
    let got = run(
        folder,
        checkpoint,
        &ids,
        &["--states", "--initial-state", &states],
    );
    assert!(apart(&got, "logits", &values, "rand_h0.logits") < LOGITS);
    for i in 0..LAYERS {
        let error = relative(
            &got,
            &format!("ssm.{i}"),
            &values,
            &format!("rand_h0.final.ssm.{i}"),
        );
        assert!(error < STATES, "ssm.{i}: {error}");
    }
    let plain = run(folder, checkpoint, &ids, &[]);
    assert_eq!(plain.len(), 1);
}

#[test]
fn both_published_layouts_give_the_published_values() {
    let folder = Folder::new("logits-published");
    check(&folder, &golden("mamba2_hf"));
    check(&folder, &golden("mamba2_authors"));
}

#[test]
fn saved_again_and_converted_they_give_the_same() {
    let folder = Folder::new("logits-converted");
    let ids = ids(&folder, &values());
    let want = run(&folder, &golden("mamba2_hf"), &ids, &["--states"]);
    for from in ["mamba2_hf", "mamba2_authors"] {
        for layout in [None, Some("hugging-face"), Some("authors"), Some("baton")] {
            let to = folder.path(&format!("{from}-{}", layout.unwrap_or("same")));
            let (from, mut arguments) = (golden(from), vec!["convert", "--from"]);
            arguments.extend([&from, "--to", &to]);
            arguments.extend(layout.iter().flat_map(|&layout| ["--layout", layout]));
            let done = baton(&arguments);
            assert_eq!((done.code, done.stderr.as_str()), (0, ""));
            assert_eq!(run(&folder, &to, &ids, &["--states"]), want, "{to}");
            let again = baton(&arguments);
            assert_eq!(again.code, 2);
            assert!(
                again.stderr.contains("expected the name of a new folder"),
                "{}",
                again.stderr
            );
        }
    }
    check(&folder, &folder.path("mamba2_hf-authors"));
    check(&folder, &folder.path("mamba2_authors-hugging-face"));
}

/// That of Gated DeltaNet, whose own program is 2.3e-5 away in f32.
const LOGITS_DELTA: f64 = 3e-5;

/// The classes beside Mamba-2: the states of a recurrence, and the inputs that are remembered.
const CLASSES: [(&str, &[&str], &[&str]); 6] = [
    ("mamba1_hf", &["ssm"], &["conv"]),
    ("falcon_mamba_hf", &["ssm"], &["conv"]),
    ("gla_fla", &["S"], &[]),
    (
        "gated_deltanet_fla",
        &["S"],
        &["conv_q", "conv_k", "conv_v"],
    ),
    ("xlstm_hf", &["C", "n", "m"], &[]),
    ("rwkv7_fla", &["S"], &["shift", "ffn_shift"]),
];

/// Each class, as published and converted to Baton's layout and back: logits, states, the run from a
/// Gaussian state.
#[test]
fn every_published_class_gives_its_values() {
    let folder = Folder::new("logits-classes");
    for (class, states, inputs) in CLASSES {
        let values = load(&golden(&format!("{class}_golden.safetensors")));
        let bound = match class {
            "gated_deltanet_fla" => LOGITS_DELTA,
            _ => LOGITS,
        };
        let ids = ids(&folder, &values);
        let (own, back) = (folder.path(class), folder.path(&format!("{class}-back")));
        for (from, to, layout) in [
            (golden(class), &own, "baton"),
            (own.clone(), &back, "hugging-face"),
        ] {
            let given = ["convert", "--from", &from, "--to", to, "--layout", layout];
            let done = baton(&given);
            assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{class}");
        }
        let got = run(&folder, &golden(class), &ids, &["--states"]);
        assert_eq!(run(&folder, &back, &ids, &["--states"]), got, "{class}");
        assert_eq!(got.len(), 1 + 2 * (states.len() + inputs.len()), "{class}");
        let error = apart(&got, "logits", &values, "logits_f64");
        assert!(error < bound, "{class}: {error:e}");
        let mut first = Tensors::new();
        for i in 0..2 {
            for state in states.iter().chain(inputs) {
                let name = format!("{state}.{i}");
                let error = relative(&got, &name, &values, &format!("whole.{name}"));
                assert!(error < LOGITS, "{class}: {name}: {error:e}");
            }
            for state in states {
                let stored = match states.len() {
                    1 => format!("rand_h0.{i}"),
                    _ => format!("rand_h0.{state}.{i}"),
                };
                first.insert(format!("{state}.{i}"), values[&stored].clone());
            }
        }
        let from = folder.path("states.safetensors");
        save(&from, &first);
        let more = ["--states", "--initial-state", &from];
        let got = run(&folder, &golden(class), &ids, &more);
        let error = apart(&got, "logits", &values, "rand_h0.logits_f64");
        assert!(error < bound, "{class} from a state: {error:e}");
        for (name, _) in first {
            let error = relative(&got, &name, &values, &format!("rand_h0.final.{name}"));
            assert!(error < LOGITS, "{class}: {name} from a state: {error:e}");
        }
    }
    // The authors' layout holds the same Mamba.
    let values = load(&golden("mamba1_hf_golden.safetensors"));
    let ids = ids(&folder, &values);
    let got = run(&folder, &golden("mamba1_authors"), &ids, &[]);
    assert_eq!(got, run(&folder, &golden("mamba1_hf"), &ids, &[]));
}

/// The states out of the first part, handed on, make the second part that of the whole.
#[test]
fn states_handed_on_continue_the_sequence() {
    let folder = Folder::new("logits-chain");
    let values = values();
    let checkpoint = golden("mamba2_hf");
    let (dtype, shape, data) = values["input_ids"].clone();
    let (batch, time) = (shape[0], shape[1]);
    for cut in [1, 2, time - 1] {
        let part = |from: usize, to: usize| -> String {
            let path = folder.path("part.safetensors");
            let rows = data
                .chunks(time)
                .flat_map(|row| row[from..to].to_vec())
                .collect();
            let ids = (dtype, vec![batch, to - from], rows);
            save(&path, &Tensors::from([("input_ids".into(), ids)]));
            path
        };
        let mut first = run(&folder, &checkpoint, &part(0, cut), &["--states"]);
        first.remove("logits");
        let states = folder.path("between.safetensors");
        save(&states, &first);
        let more = ["--states", "--initial-state", &states];
        let second = run(&folder, &checkpoint, &part(cut, time), &more);
        for i in 0..LAYERS {
            for kind in ["ssm", "conv"] {
                let name = format!("{kind}.{i}");
                let error = relative(&second, &name, &values, &format!("whole.{name}"));
                assert!(error < STATES, "{name} cut at {cut}: {error}");
            }
        }
    }
}

#[test]
fn a_checkpoint_of_the_trainer_is_taken_too() {
    let folder = Folder::new("logits-trained");
    let [_, checkpoint] = crate::eval::trained(&folder);
    let inputs = folder.path("ids.safetensors");
    let ids = (Dtype::I32, vec![1, 5], vec![1.0, 2.0, 255.0, 0.0, 9.0]);
    save(&inputs, &Tensors::from([("input_ids".into(), ids)]));
    let file = run(&folder, &checkpoint, &inputs, &[]);
    assert_eq!(file["logits"].1, [1, 5, 256]);
    assert_eq!(run(&folder, &folder.path("run"), &inputs, &[]), file);
    let to = folder.path("published");
    let done = baton(&[
        "convert",
        "--from",
        &checkpoint,
        "--to",
        &to,
        "--layout",
        "hugging-face",
    ]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert_eq!(run(&folder, &to, &inputs, &[]), file);
    // True, transformers would scale the loaded weights once more.
    let config = std::fs::read_to_string(format!("{to}/config.json")).unwrap();
    assert!(
        config.contains("\"rescale_prenorm_residual\": false"),
        "{config}"
    );
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let folder = Folder::new("logits-refused");
    let values = values();
    let ids = ids(&folder, &values);
    let (checkpoint, output) = (golden("mamba2_hf"), folder.path("out.safetensors"));
    let refused = |checkpoint: &str, inputs: &str, more: &[&str], expected: &str| {
        let given = [
            "eval",
            "logits",
            "--checkpoint",
            checkpoint,
            "--inputs",
            inputs,
            "--output",
            &output,
        ];
        let done = baton(&[&given, more].concat());
        assert_eq!(done.code, 2, "{expected}");
        assert!(done.stderr.contains(expected), "{}", done.stderr);
        assert!(!std::path::Path::new(&output).exists());
    };
    let file = |name: &str, tensors: Tensors| {
        let path = folder.path(name);
        save(&path, &tensors);
        path
    };
    let tokens = |dtype, shape: Vec<usize>, data: Vec<f64>| {
        let tensors = Tensors::from([("input_ids".into(), (dtype, shape, data))]);
        file("tokens.safetensors", tensors)
    };
    let past = tokens(Dtype::I64, vec![1, 2], vec![3.0, 96.0]);
    let expected = "token 96 given at [0, 1], expected less than the vocabulary's 96";
    refused(&checkpoint, &past, &[], expected);
    let negative = tokens(Dtype::I32, vec![1, 1], vec![-1.0]);
    refused(&checkpoint, &negative, &[], "token -1 given in `input_ids`");
    let float = tokens(Dtype::F32, vec![1, 1], vec![1.0]);
    refused(&checkpoint, &float, &[], "`input_ids`");
    let flat = tokens(Dtype::I64, vec![2], vec![1.0, 2.0]);
    refused(&checkpoint, &flat, &[], "has shape [2], expected [B, T]");

    let state = |i: usize| values[&format!("rand_h0.{i}")].clone();
    let mut states: Tensors = (0..2).map(|i| (format!("ssm.{i}"), state(i))).collect();
    let path = file("states.safetensors", states.clone());
    let given = ["--initial-state", path.as_str()];
    refused(&checkpoint, &ids, &given, "tensor `ssm.2` is missing");
    let mut wrong = state(2);
    wrong.1.swap(2, 3);
    states.insert("ssm.2".into(), wrong);
    file("states.safetensors", states.clone());
    refused(&checkpoint, &ids, &given, "tensor `ssm.2` has shape");
    states.insert("ssm.2".into(), state(2));
    states.insert("ssm.3".into(), state(2));
    file("states.safetensors", states);
    refused(
        &checkpoint,
        &ids,
        &given,
        "tensor `ssm.3` is no state of the model",
    );

    let damaged = folder.path("damaged");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::copy(
        golden("mamba2_hf/config.json"),
        format!("{damaged}/config.json"),
    )
    .unwrap();
    let weights = format!("{damaged}/model.safetensors");
    let bytes = std::fs::read(golden("mamba2_hf/model.safetensors")).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 1]).unwrap();
    refused(
        &damaged,
        &ids,
        &[],
        "the file ends within tensor `backbone.",
    );
    let to = folder.path("converted");
    let done = baton(&["convert", "--from", &damaged, "--to", &to]);
    assert_eq!(done.code, 2);
    assert!(!std::path::Path::new(&to).exists());
    let own = [
        "eval",
        "logits",
        "--checkpoint",
        &damaged,
        "--inputs",
        &ids,
        "--output",
        &weights,
    ];
    let done = baton(&own);
    assert!(
        done.stderr.contains("it is part of what is read"),
        "{}",
        done.stderr
    );
    assert_eq!(std::fs::read(&weights).unwrap().len(), bytes.len() - 1);
}
