//! A killed and resumed run has the bits of one that was never killed; a checkpoint of another
//! configuration is refused; state passing sees the right states.

use super::*;
use crate::data::Text;
use crate::models::{BlockConfig, LinearAttentionConfig, Mamba2Config};
use crate::sequential::Sequential;
use baton_runtime::device::interpreter::Interpreter;
use std::path::PathBuf;

fn config(initial_state: InitialStateConfig) -> TrainConfig {
    TrainConfig {
        model: ModelConfig {
            vocab_size: 256,
            hidden_size: 16,
            num_hidden_layers: 2,
            layer_norm_epsilon: 1e-5,
            tie_word_embeddings: true,
            block: BlockConfig::Mamba2(Mamba2Config {
                head_dim: 8,
                state_size: 4,
                a_init_range: [0.02, 0.3],
                ..Mamba2Config::default()
            }),
        },
        train_length: 12,
        batch_size: 4,
        parts: 2,
        recompute: false,
        schedule: Schedule {
            peak: 1e-2,
            warmup: 2,
            steps: 9,
            floor: 0.1,
        },
        optimizer: AdamWConfig::default(),
        initial_state,
        seed: 3,
    }
}

fn text() -> Text {
    let words = "the state is the baton: one segment hands it to the next. ";
    Text::cut("words", words.repeat(40).into_bytes(), 0.25)
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("baton-train-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn a_resumed_run_has_the_same_bits() {
    let text = text();
    let config = config(InitialStateConfig::state_passing());
    let mut whole = Trainer::new(config.clone(), &Sequential, &text).unwrap();
    let mut losses = Vec::new();
    let quiet = RunOptions::default();
    whole
        .run(&quiet, &mut |step| losses.push(step.loss.to_bits()))
        .unwrap();

    let folder = folder("resume");
    let path = folder.join(CHECKPOINT);
    let mut first = Trainer::new(config.clone(), &Sequential, &text).unwrap();
    for _ in 0..4 {
        first.step().unwrap();
    }
    let stopped = first.checkpoint().unwrap();
    stopped.write(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap(), stopped);
    assert!(!stopped.carried.is_empty());
    drop(first);
    // A write that was killed leaves a part beside the checkpoint, never in its place.
    std::fs::write(folder.join(format!("{CHECKPOINT}.1.part")), b"half").unwrap();

    let mut second = Trainer::resume(config, &Sequential, &text, &path).unwrap();
    let kept = RunOptions {
        folder: Some(folder.clone()),
        checkpoint_every: 3,
        title: None,
    };
    let mut resumed = Vec::new();
    second
        .run(&kept, &mut |step| resumed.push(step.loss.to_bits()))
        .unwrap();
    assert_eq!(resumed, losses[4..]);
    assert_eq!(second.weights(), whole.weights());
    let lines = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 5);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_configuration_and_a_damaged_file_are_refused() {
    let text = text();
    let folder = folder("refuse");
    let path = folder.join(CHECKPOINT);
    let run = Trainer::new(config(InitialStateConfig::Zero), &Sequential, &text).unwrap();
    run.checkpoint().unwrap().write(&path).unwrap();
    let refused = |config| match Trainer::resume(config, &Sequential, &text, &path) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    let mut other = config(InitialStateConfig::Zero);
    other.schedule.peak = 2e-2;
    let error = refused(other);
    assert!(
        error.ends_with(
            "made by another configuration: `config.schedule.peak` was 0.01 there and is 0.02 now"
        ),
        "{error}"
    );
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let error = refused(config(InitialStateConfig::Zero));
    assert!(error.contains("no checkpoint of this program"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn passed_states_are_the_final_states_of_the_same_slot_one_step_before() {
    let text = text();
    let mut config = config(InitialStateConfig::StatePassing {
        p_zero: 0.0,
        pass_conv: true,
    });
    config.schedule.peak = 0.0;
    let mut run = Trainer::new(config.clone(), &Sequential, &text).unwrap();
    run.step().unwrap();
    run.step().unwrap();
    let carried = run.policy.carried();
    // With a rate of 0 the weights stay: all of step 1 is its windows after those of step 0.
    let read = |index| text.batch(index, &run.sampling).unwrap().inputs;
    let shape = [config.parts * config.batch_size, config.train_length];
    let (_, first) = run.model().forward(&read(0), shape, None).unwrap();
    let (_, second) = run.model().forward(&read(1), shape, Some(first)).unwrap();
    for (layer, state) in second.iter().enumerate() {
        let find = |key: &str| {
            let name = format!("{layer}.{key}");
            let found = carried.iter().find(|(carried, _)| *carried == name);
            &found.expect("every layer is carried").1
        };
        let host = state.to_host();
        assert_eq!(find("0"), &host.recurrence[0]);
        assert_eq!(Some(find("conv")), host.conv.as_ref());
    }
}

/// Two parts of four sequences are one batch of eight: the same windows, draws and states. Sums
/// over the batch are cut in two, so weights agree to rounding and not in bits.
#[test]
fn accumulated_parts_are_one_batch() {
    let text = text();
    let run = |parts, batch_size| {
        let mut config = config(InitialStateConfig::StatePassing {
            p_zero: 0.3,
            pass_conv: true,
        });
        (config.parts, config.batch_size) = (parts, batch_size);
        let mut run = Trainer::new(config, &Sequential, &text).unwrap();
        let losses: Vec<f32> = (0..4).map(|_| run.step().unwrap().loss).collect();
        (losses, run.policy.carried())
    };
    let ((whole, carried), (parts, also)) = (run(1, 8), run(2, 4));
    for (a, b) in whole.iter().zip(&parts) {
        assert!((a - b).abs() < 1e-4, "{whole:?} against {parts:?}");
    }
    for ((name, a), (same, b)) in carried.iter().zip(&also) {
        assert_eq!((name, &a.shape), (same, &b.shape));
        let far = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs());
        let far = far.fold(0.0, f32::max);
        assert!(far < 1e-4, "{name} differs by {far}");
    }
}

#[test]
fn both_blocks_learn() {
    let text = text();
    let gla = BlockConfig::Gla(LinearAttentionConfig {
        num_heads: 2,
        key_dim: 4,
        value_dim: 8,
        gate_rank: 4,
        gate_normalizer: 16.0,
    });
    for block in [config(InitialStateConfig::Zero).model.block, gla] {
        let mut config = config(InitialStateConfig::Zero);
        config.model.block = block;
        config.schedule.steps = 12;
        let device = Interpreter;
        let mut run = Trainer::new(config, &device, &text).unwrap();
        let first = run.step().unwrap().loss;
        let last = run
            .run(&RunOptions::default(), &mut |_| {})
            .unwrap()
            .unwrap();
        assert!(first > 5.0 && last < first - 0.8, "{first} to {last}");
    }
}
