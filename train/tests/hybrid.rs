//! Models of layers of different kinds: where a text is cut makes no difference, and whatever is done with a
//! recurrence can be done with them.

use baton_config::{self as config, Beginning, Said, lay};
use baton_config::{
    BlockConfig, HybridConfig, InitialStateConfig, LayerConfig, ModelConfig, Schedule, TrainConfig,
    small,
};
use baton_data::files::Target;
use baton_data::tokenizer::Tokenizer;
use baton_retrieval::Keeping;
use baton_runtime::device::cpu::Cpu;
use baton_tasks::{Material, TaskSource};
use baton_train::demo::retrieval as demo;
use baton_train::eval::{Stream, Subject};
use baton_train::generate::{self, Options, Place};
use baton_train::models::{LanguageModel, Pass, parameters};
use baton_train::op::cross_entropy;
use baton_train::trainer::Trainer;
use burn::module::Module;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const LENGTH: usize = 75;

fn cpu() -> Cpu {
    Cpu::new(Some(1)).unwrap()
}

/// The preset at a width of 16 with chunks of 8 positions.
fn tiny(name: &str) -> TrainConfig {
    let config = small::with(small::base_config(1, 6), name);
    let mut config = json!(config);
    config["model"]["hidden_size"] = json!(16);
    config["model"]["vocab_size"] = json!(40);
    let block = &mut config["model"]["block"];
    block["chunk"] = json!(8);
    for layer in block["layers"].as_array_mut().unwrap() {
        let heads = if layer["type"] == "retrieval" { 1 } else { 2 };
        let sizes = [
            ("heads", heads),
            ("kv_heads", 2),
            ("head_dim", 8),
            ("queries", 4),
            ("window", 11),
            ("mlp", 24),
            ("retrieval", 12),
            ("top", 3),
        ];
        for (key, size) in sizes {
            if let Some(given) = layer.get_mut(key) {
                *given = json!(size);
            }
        }
        if let Some(block) = layer.get_mut("block") {
            block["head_dim"] = json!(8);
            block["state_size"] = json!(8);
        }
    }
    let mut config: TrainConfig = serde_json::from_value(config).unwrap();
    config.train_length = 64;
    config.batch_size = 3;
    config.schedule = Schedule {
        peak: 3e-3,
        warmup: 1,
        steps: 6,
        floor: 0.1,
        ..config.schedule
    };
    config
}

/// Rotary positions and shared keys over a recurrence of a text, beside grouped cross attention whose landmarks
/// are the encoder's and whose residual is reset.
fn mixed() -> TrainConfig {
    let mut config = json!(tiny("drt"));
    let block = &mut config["model"]["block"];
    block["landmark"] = json!("encoder");
    let layers = block["layers"].as_array_mut().unwrap();
    layers[0] = json!({"type": "recurrent", "mlp": 20, "block": {
        "type": "recurrence", "text": "gla", "num_heads": 2, "dims": {"K": 4, "V": 8},
    }});
    layers[1]["positions"] = json!("rotary");
    layers[1]["heads"] = json!(4);
    layers[2]["kv_heads"] = json!(1);
    layers[2]["encoder"] = json!(2);
    layers[3]["weights"] = json!("stick_breaking");
    layers[4]["bypass"] = json!(false);
    layers[4]["one"] = json!(false);
    serde_json::from_value(config).unwrap()
}

fn all() -> [(&'static str, TrainConfig); 4] {
    [
        ("drt", tiny("drt")),
        ("ramba", tiny("ramba")),
        ("window", tiny("window")),
        ("mixed", mixed()),
    ]
}

fn model(config: &ModelConfig) -> LanguageModel {
    LanguageModel::new(config, &cpu(), 3).unwrap().valid()
}

fn text(length: usize, seed: usize) -> Vec<u32> {
    (0..length)
        .map(|i| ((i * i * 7 + i * seed + 3 * seed) % 40) as u32)
        .collect()
}

fn numbers(x: burn::Tensor<3>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

#[track_caller]
fn close(what: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let far = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    let far = far.fold(0.0, |most: f32, x| {
        if x.is_nan() {
            f32::INFINITY
        } else {
            most.max(x)
        }
    });
    assert!(far < 1e-5, "{what}: {far} apart");
}

#[test]
fn a_text_is_the_same_wherever_it_is_cut() {
    for (name, config) in all() {
        let model = model(&config.model);
        let rows = [text(LENGTH, 1), text(LENGTH, 2)];
        let (whole, _) = model.forward(&rows.concat(), [2, LENGTH], None).unwrap();
        let whole = numbers(whole);
        let vocab = whole.len() / (2 * LENGTH);
        for cuts in [
            vec![1; LENGTH],
            vec![7, 1, 8, 9, 23, 2, 25],
            vec![64, 11],
            vec![14, 61],
        ] {
            let mut stream = Stream::new(&model, 2, None).unwrap();
            let mut at = 0;
            for size in cuts {
                let piece: Vec<u32> = rows
                    .iter()
                    .flat_map(|row| row[at..at + size].to_vec())
                    .collect();
                let got = numbers(stream.feed(&piece).unwrap());
                for (b, got) in got.chunks(size * vocab).enumerate() {
                    let from = (b * LENGTH + at) * vocab;
                    close(
                        &format!("{name} at {at}"),
                        got,
                        &whole[from..from + size * vocab],
                    );
                }
                at += size;
            }
            assert_eq!(at, LENGTH);
        }
        // A row that begins later stands at another place of its chunk.
        let mut stream = Stream::new(&model, 1, None).unwrap();
        stream.skip(&rows[0][..13]).unwrap();
        stream.admit(1);
        let both = [&rows[0][13..], &rows[1][..LENGTH - 13]].concat();
        let got = numbers(stream.feed(&both).unwrap());
        let half = (LENGTH - 13) * vocab;
        close(name, &got[..half], &whole[13 * vocab..LENGTH * vocab]);
        close(name, &got[half..], &whole[LENGTH * vocab..][..half]);
        // States taken to the host go on.
        let mut first = Stream::new(&model, 1, None).unwrap();
        first.skip(&rows[0][..37]).unwrap();
        let mut second = Stream::new(&model, 1, first.states()).unwrap();
        let got = numbers(second.feed(&rows[0][37..]).unwrap());
        close(name, &got, &whole[37 * vocab..LENGTH * vocab]);
    }
}

/// What stands before a text matters where chunks are found, and only as long as a window where they are not.
#[test]
fn retrieval_reaches_what_a_window_does_not() {
    for name in ["drt", "window"] {
        let mut config = tiny(name);
        see_all(&mut config);
        let model = model(&config.model);
        let said = |first: u32| {
            let mut ids = text(140, 1);
            ids[2] = first;
            let (logits, _) = model.forward(&ids, [1, 140], None).unwrap();
            let all = numbers(logits);
            all[139 * 40..].to_vec()
        };
        let far = said(1)
            .iter()
            .zip(said(30))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert_eq!(far > 0.0, name == "drt", "{name}: {far}");
    }
}

#[test]
fn chunks_in_a_file_are_read_as_those_in_memory() {
    let folder = std::env::temp_dir().join(format!("baton-hybrid-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let config = tiny("drt").model;
    let ids = text(64 * 150, 1);
    let read = |keeping: Keeping| {
        let model = model(&config).keep(&keeping);
        let mut stream = Stream::new(&model, 1, None).unwrap();
        let last = stream.read(&ids, 500, &mut |_| {}).unwrap();
        let states = stream.states().unwrap();
        let memory = states
            .iter()
            .find_map(|state| state.memory.clone())
            .unwrap();
        (last, memory.chunks(), memory.bytes())
    };
    let (want, chunks, [_, file]) = read(Keeping::default());
    assert_eq!((chunks, file), (64 * 150 / 7, 0));
    let keeping = |half| Keeping {
        memory: 1,
        folder: Some(folder.clone()),
        half,
    };
    let (got, _, [memory, file]) = read(keeping(false));
    assert!(got == want && file > memory, "{memory} {file}");
    let (got, ..) = read(keeping(true));
    let far = got
        .iter()
        .zip(&want)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(0.0 < far && far < 0.05, "{far}");
    std::fs::remove_dir(&folder).unwrap();
}

/// Of every weight some elements, by the difference of two losses.
#[test]
fn gradients_are_those_of_the_loss() {
    for (name, mut config) in all() {
        // All that is visible, as a choice has no slope.
        see_all(&mut config);
        let model = LanguageModel::new(&config.model, &cpu(), 5).unwrap();
        let (ids, targets) = (text(2 * 40, 1), text(2 * 40, 9));
        let pass = || Pass {
            ids: &ids,
            shape: [2, 40],
            states: None,
            packing: None,
            noise: None,
        };
        let loss = |model: &LanguageModel| {
            let passed = pass().run(model, false, |logits| {
                cross_entropy(logits, targets.clone())
            });
            passed.unwrap()
        };
        let found = loss(&model);
        let found: BTreeMap<String, Vec<f32>> = (found.gradients.into_iter())
            .map(|g| (g.name, g.value.data))
            .collect();
        for weight in parameters(&model) {
            let gradient = found.get(&weight.name);
            let gradient = gradient.unwrap_or_else(|| panic!("{name}: `{}` has none", weight.name));
            // Along the gradient itself the slope is its length.
            let length = gradient
                .iter()
                .map(|g| f64::from(*g).powi(2))
                .sum::<f64>()
                .sqrt();
            assert!(
                length > 0.0,
                "{name}: the gradient of `{}` is zero",
                weight.name
            );
            let step = 0.002;
            let moved = |by: f64| {
                let moved = baton_train::models::update(model.clone(), &mut |other, mut value| {
                    if other == weight.name {
                        let pairs = value.data.iter_mut().zip(gradient);
                        pairs.for_each(|(x, g)| *x += (by * f64::from(*g) / length) as f32);
                    }
                    value
                });
                f64::from(loss(&moved).loss)
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            let bound = 0.03 * length + 1e-6 / step;
            assert!(
                (slope - length).abs() < bound,
                "{name}: `{}` {slope} {length}",
                weight.name
            );
        }
    }
}

#[test]
fn runs_go_on_with_the_same_bits_from_every_initial_state() {
    let folder = std::env::temp_dir().join(format!("baton-hybrid-runs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("checkpoint.safetensors");
    let task = "recall:vocabulary=20,pairs=4".parse().unwrap();
    let source = TaskSource::new(task, &Material::new(Tokenizer::Bytes, None)).unwrap();
    let policies = [
        "zero",
        "noise:std=0.1",
        "fitted_noise",
        "state_passing:p_zero=0.3",
        "0.5*state_passing + 0.5*zero",
    ];
    for (i, policy) in policies.into_iter().enumerate() {
        let (name, mut config) = all()[i % 4].clone();
        config.initial_state = policy.parse::<InitialStateConfig>().unwrap();
        let cpu = cpu();
        let mut whole = Trainer::new(config.clone(), &cpu, &source).unwrap();
        let losses: Vec<f32> = (0..4).map(|_| whole.step().unwrap().loss).collect();
        let mut half = Trainer::new(config.clone(), &cpu, &source).unwrap();
        (0..2).for_each(|_| drop(half.step().unwrap()));
        half.checkpoint().unwrap().write(&path).unwrap();
        let mut rest = Trainer::resume(config.clone(), &cpu, &source, &path).unwrap();
        let again: Vec<f32> = (0..2).map(|_| rest.step().unwrap().loss).collect();
        assert_eq!(losses[2..], again, "{name} from {policy}");
        assert!(rest.weights() == whole.weights(), "{name} from {policy}");
        assert!(losses.iter().all(|loss| loss.is_finite()));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn noise_changes_choices_in_training_and_nothing_after_it() {
    let mut config = tiny("drt");
    let Some(LayerConfig::Retrieval(own)) = layers(&mut config).get_mut(3) else {
        panic!("a retrieval layer")
    };
    own.top = 1;
    let model = LanguageModel::new(&config.model, &cpu(), 5).unwrap();
    let ids = text(60, 1);
    let loss = |noise| {
        let pass = Pass {
            ids: &ids,
            shape: [1, 60],
            states: None,
            packing: None,
            noise,
        };
        let passed = pass.run(&model, false, |logits| cross_entropy(logits, ids.clone()));
        passed.unwrap().loss
    };
    assert_eq!(loss(Some(1)), loss(Some(1)));
    let drawn: Vec<f32> = (0..8).map(|seed| loss(Some(seed))).collect();
    assert!(drawn.iter().any(|loss| *loss != drawn[0]), "{drawn:?}");
    assert_eq!(loss(None), loss(None));
}

/// Lets retrieval choose all chunks.
fn see_all(config: &mut TrainConfig) {
    for layer in layers(config) {
        if let LayerConfig::Retrieval(own) = layer {
            own.top = 30;
        }
    }
}

fn layers(config: &mut TrainConfig) -> &mut Vec<LayerConfig> {
    match &mut config.model.block {
        BlockConfig::Hybrid(HybridConfig { layers, .. }) => layers,
        _ => panic!("a hybrid"),
    }
}

#[test]
fn configurations_are_stored_whole_and_wrong_ones_named() {
    for (name, config) in all() {
        let stored = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<TrainConfig>(&stored).unwrap(),
            config,
            "{name}"
        );
        config.model.check().unwrap();
    }
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut config = json!(tiny("drt"));
        change(&mut config["model"]);
        let config: TrainConfig = serde_json::from_value(config).unwrap();
        config.model.check().unwrap_err().to_string()
    };
    let said = wrong(&|model| model["num_hidden_layers"] = json!(4));
    assert_eq!(
        said,
        "num_hidden_layers 4 given for a block of 6 layers, expected 6, or nothing: the layers say it"
    );
    let said = wrong(&|model| model["intermediate_size"] = json!(4));
    assert!(said.ends_with("expected `mlp` in its layers"), "{said}");
    let said = wrong(&|model| {
        let layers = model["block"]["layers"].as_array_mut().unwrap();
        layers.swap(2, 3);
    });
    assert_eq!(
        said,
        "layer 2: retrieval given, expected a chunking layer before it"
    );
    let said = wrong(&|model| model["block"]["layers"][0]["window"] = json!(0));
    assert!(
        said.starts_with("layer 0: heads 2, kv_heads 2, window 0 given"),
        "{said}"
    );
    let said = wrong(&|model| model["block"]["layers"][4]["queries"] = json!(3));
    assert!(
        said.contains("layer 4: queries 3 given, expected a multiple of the chunks' kv_heads 2")
    );
    let said = wrong(&|model| model["block"]["chunk"] = json!(1));
    assert_eq!(said, "chunk 1 given, expected at least 2");

    let laid = |parts: Vec<Said>| lay(&Beginning::Fresh, parts);
    for name in small::HYBRID {
        let parts = vec![
            Said::key("--block", "model.block", json!(name)),
            Said::key("--width", "model.hidden_size", json!(64)),
        ];
        let config = laid(parts).unwrap().config;
        assert_eq!(
            (config.model.block.name(), config.model.hidden_size),
            ("hybrid", 64)
        );
        // What is written whole is read again.
        let again = laid(vec![Said::part("a file", config::whole(&config))]);
        assert_eq!(again.unwrap().config, config, "{name}");
    }
    let wrong = json!({"type": "drt", "chunks": 8});
    let error = laid(vec![Said::key("--set", "model.block", wrong)]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("did you mean `model.block.chunk`?"),
        "{error}"
    );

    let mut config = tiny("drt");
    config.recompute = true;
    let task = "recall:vocabulary=20,pairs=4".parse().unwrap();
    let source = TaskSource::new(task, &Material::new(Tokenizer::Bytes, None)).unwrap();
    let error = Trainer::new(config, &cpu(), &source)
        .unwrap()
        .step()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("layers run by themselves (recompute, segments) asked of a hybrid model")
    );
}

/// A generation that is written and taken up again says what it would have said.
#[test]
fn a_place_in_a_text_is_kept_in_files() {
    let folder = std::env::temp_dir().join(format!("baton-hybrid-place-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let source = TaskSource::new(
        "recall:vocabulary=20,pairs=4".parse().unwrap(),
        &Material::new(Tokenizer::Bytes, None),
    )
    .unwrap();
    for name in ["drt", "ramba"] {
        let mut config = tiny(name);
        config.model.vocab_size = 256;
        let cpu = cpu();
        let run = Trainer::new(config, &cpu, &source).unwrap();
        let checkpoint = folder.join(format!("{name}.safetensors"));
        run.checkpoint().unwrap().write(&checkpoint).unwrap();
        let subject = Subject::open(&checkpoint, &cpu).unwrap();
        let options = Options {
            tokens: 9,
            ..Options::default()
        };
        let made = |place: Place, prompt: &[u32]| {
            let begun = generate::begin(&subject, place, prompt, &mut |_| {}).unwrap();
            let mut each = |_: usize, _: &[u8]| std::ops::ControlFlow::Continue(());
            generate::go_on(&subject, vec![begun], &options, &mut each)
                .unwrap()
                .remove(0)
        };
        let first = made(Place::default(), &text(50, 1));
        let file = folder.join(format!("{name}.states"));
        Place::write(
            std::slice::from_ref(&first.place),
            &subject,
            &Target::new(&file).unwrap(),
        )
        .unwrap();
        let opened = Place::open(&file, &subject).unwrap().remove(0);
        let (want, got) = (made(first.place, &text(30, 2)), made(opened, &text(30, 2)));
        assert_eq!(got.tokens, want.tokens, "{name}");
        // The chunks of another moment, and of none.
        let chunks = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut chunks =
            chunks.filter(|path| path.to_string_lossy().contains(&format!("{name}.states.")));
        let chunks = chunks.next().unwrap();
        let bytes = std::fs::read(&chunks).unwrap();
        std::fs::write(&chunks, &bytes[..bytes.len() - 1]).unwrap();
        let error = Place::open(&file, &subject).unwrap_err().to_string();
        assert!(error.contains("it was cut off or damaged"), "{error}");
        std::fs::remove_file(&chunks).unwrap();
        assert!(Place::open(&file, &subject).is_err());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// What the demonstration says is what happened, whatever the model has learned.
#[test]
fn the_demonstration_says_what_was_chosen() {
    let folder = std::env::temp_dir().join(format!("baton-hybrid-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let sentence = "It is a truth universally acknowledged, that a key must be found. ";
    let path = folder.join("text.txt");
    std::fs::write(&path, sentence.repeat(400)).unwrap();
    let task = "recall:vocabulary=20,pairs=4".parse().unwrap();
    let source = TaskSource::new(task, &Material::new(Tokenizer::Bytes, None)).unwrap();
    let cpu = cpu();
    let mut config = tiny("drt");
    config.model.vocab_size = 256;
    let run = Trainer::new(config, &cpu, &source).unwrap();
    let kept = folder.join("checkpoint.safetensors");
    run.checkpoint().unwrap().write(&kept).unwrap();
    let options = |length| demo::Options {
        kept: kept.clone(),
        text: Some(path.clone()),
        length,
        seed: 3,
        keeping: Keeping::default(),
        progress: false,
    };
    let found = demo::run(&options(1000), &cpu).unwrap();
    // 7 tokens to a chunk, 8 of the question and 5 of the key after the last whole one.
    assert_eq!(
        (found.tokens, found.chunks),
        ((1000 - 13) / 7 * 7 + 13, (1000 - 13) / 7 + 1)
    );
    assert_eq!(found.chunk, found.at / 7);
    assert_eq!(
        (found.key.len(), found.said.len(), found.chosen.len()),
        (5, 5, 3)
    );
    assert!(found.chosen.is_sorted_by(|a, b| a.weight >= b.weight));
    let sum: f32 = found.chosen.iter().map(|chosen| chosen.weight).sum();
    assert!((sum - 1.0).abs() < 1e-5);
    assert!(found.to_string().contains("chosen for the answer:"));
    let error = demo::run(&options(10), &cpu).unwrap_err().to_string();
    assert_eq!(error, "a length of 10 given, expected at least 41");
    std::fs::remove_dir_all(&folder).unwrap();
}
