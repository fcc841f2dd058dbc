//! A run of several ranks has the bits of one process, at every step, and goes on with another number of ranks.

use super::tests::{config, folder, text};
use super::*;
use crate::ranks::tests::together;
use baton_config::{
    self as config, Beginning, BlockConfig, BlockText, InitialStateConfig, ModelConfig, Said,
};
use baton_data::tokenizer::Tokenizer;
use baton_data::{Corpus, Document};
use baton_ir::builtin;
use baton_runtime::device::cpu::Cpu;
use baton_runtime::device::interpreter::Interpreter;
use baton_weights::checkpoint::CHECKPOINT;
use serde_json::json;

pub(super) fn policies() -> Vec<InitialStateConfig> {
    let read = |name: &str| serde_json::from_str(&format!(r#"{{"type":"{name}"}}"#)).unwrap();
    ["zero", "state_passing", "fitted_noise", "truncated_bptt"]
        .map(read)
        .to_vec()
}

fn four_parts(policy: InitialStateConfig) -> TrainConfig {
    let mut config = config(policy);
    (config.parts, config.batch_size) = (4, 2);
    config
}

/// Losses and the checkpoint, but for the time that it took.
pub(super) type Ended = (Vec<u32>, Checkpoint);

pub(super) fn steps(mut run: Trainer<'_>, count: usize) -> Ended {
    let losses = (0..count)
        .map(|_| run.step().unwrap().loss.to_bits())
        .collect();
    let mut checkpoint = run.checkpoint().unwrap();
    checkpoint.progress.seconds = 0.0;
    (losses, checkpoint)
}

#[test]
fn ranks_have_the_bits_of_one_process() {
    let text = text();
    for policy in policies() {
        let config = four_parts(policy);
        let new = || Trainer::new(config.clone(), &Interpreter, &text).unwrap();
        let whole = steps(new(), 5);
        for size in [2, 4] {
            for ended in together(size, |group| steps(new().together(group).unwrap(), 5)) {
                assert!(ended == whole, "{size} ranks, {:?}", config.initial_state);
            }
        }
    }
}

/// Tokens of many short documents, whose states are reset.
pub(super) fn documents() -> Corpus {
    let words = "one segment hands its state to the next, ".repeat(3);
    let document = |i: usize| Document {
        path: "it".into(),
        bytes: words.as_bytes()[i..20 + 7 * i % 31 + 2 * i].to_vec(),
    };
    let all: Vec<Document> = (0..20).map(document).collect();
    let corpus = Corpus::new("it", &all, &Tokenizer::Bytes, None).unwrap();
    Corpus {
        reset: true,
        ..corpus
    }
}

#[test]
fn segments_give_the_gradients_of_whole_sequences() {
    let (cpu, corpus) = (Cpu::new(Some(1)).unwrap(), documents());
    for order in policies() {
        let mut config = four_parts(order);
        (config.parts, config.train_length) = (2, 36);
        let run = |segments: usize| {
            let config = TrainConfig {
                segments,
                ..config.clone()
            };
            let mut run = Trainer::new(config, &cpu, &corpus).unwrap();
            (0..3)
                .map(|_| run.step().unwrap())
                .map(|step| (step.loss, step.norm))
                .collect::<Vec<_>>()
        };
        let whole = run(1);
        for segments in [2, 3, 12, 36] {
            for ((loss, norm), (wanted, length)) in run(segments).into_iter().zip(&whole) {
                assert!((loss - wanted).abs() < 1e-5 * wanted, "{loss} {wanted}");
                assert!(
                    (norm - length).abs() < 1e-4 * length,
                    "{segments}: {norm} {length}"
                );
            }
        }
    }
}

#[test]
fn segments_over_ranks_have_the_bits_of_one_process() {
    let text = text();
    for policy in policies() {
        let mut config = four_parts(policy);
        (config.parts, config.batch_size, config.segments) = (2, 3, 4);
        let new = || Trainer::new(config.clone(), &Interpreter, &text).unwrap();
        let whole = steps(new(), 4);
        for size in [2, 4, 8] {
            for ended in together(size, |group| steps(new().together(group).unwrap(), 4)) {
                assert!(ended == whole, "{size} ranks, {:?}", config.initial_state);
            }
        }
    }
}

/// A run of packed sequences in twelve segments, whose states are carried on.
pub(super) fn packed(model: ModelConfig) -> TrainConfig {
    TrainConfig {
        model,
        train_length: 24,
        batch_size: 2,
        parts: 1,
        segments: 12,
        ..config(InitialStateConfig::state_passing())
    }
}

/// A model around a built-in recurrence.
pub(super) fn of_text(name: &str) -> ModelConfig {
    let text = BlockText {
        num_heads: Some(2),
        ..BlockText::new(name)
    };
    ModelConfig {
        block: BlockConfig::Recurrence(text.settle(16).unwrap()),
        ..config(InitialStateConfig::Zero).model
    }
}

/// Models of blocks as they are published, small.
pub(super) fn published() -> Vec<ModelConfig> {
    let names = [
        "mamba1",
        "mamba2",
        "gated_delta_net",
        "kda",
        "mlstm",
        "rwkv7",
    ];
    let model = |name| {
        let said = json!({"model": {"hidden_size": 32, "block": name}});
        let said = Said::part("it", said);
        let laid = config::lay(&Beginning::Fresh, vec![said]).unwrap();
        laid.config.model
    };
    names.map(model).to_vec()
}

#[test]
fn every_recurrence_is_shared_out_to_the_bit() {
    let corpus = documents();
    let texts = builtin::NAMES.iter().map(|name| of_text(name));
    for model in texts.chain(published()) {
        let config = packed(model);
        let name = config.model.block.name();
        let new = || Trainer::new(config.clone(), &Interpreter, &corpus).unwrap();
        let whole = steps(new(), 3);
        for size in [2, 3, 4] {
            for ended in together(size, |group| steps(new().together(group).unwrap(), 3)) {
                assert!(ended == whole, "{name}, {size} ranks");
            }
        }
    }
}

#[test]
fn a_checkpoint_goes_on_with_another_number_of_ranks() {
    let text = text();
    let config = four_parts(InitialStateConfig::state_passing());
    let path = folder("ranks").join(CHECKPOINT);
    let new = || Trainer::new(config.clone(), &Interpreter, &text).unwrap();
    let whole = steps(new(), 6);
    let first = together(4, |group| steps(new().together(group).unwrap(), 3));
    first[3].1.write(&path).unwrap();
    for size in [1, 2] {
        for (losses, ended) in together(size, |group| {
            let run = Trainer::resume(config.clone(), &Interpreter, &text, &path).unwrap();
            steps(run.together(group).unwrap(), 3)
        }) {
            assert_eq!([&first[0].0[..], &losses[..]].concat(), whole.0);
            assert!(ended == whole.1, "{size} ranks");
        }
    }
    let _ = std::fs::remove_dir_all(path.parent().unwrap());
}

#[test]
fn ranks_of_another_run_are_refused_by_what_differs() {
    let text = text();
    let found = together(2, |group| {
        let mut config = four_parts(InitialStateConfig::Zero);
        if group.rank() == 1 {
            config.seed = 4;
        }
        let run = Trainer::new(config, &Interpreter, &text).unwrap();
        run.together(group).err().map(|e| e.to_string())
    });
    let wanted =
        "rank 1 runs something else than rank 0: `run.config.seed` was 3 there and is 4 now";
    assert_eq!(found, [Some(wanted.to_string()), Some(wanted.to_string())]);
    let found = together(3, |group| {
        let config = four_parts(InitialStateConfig::Zero);
        let run = Trainer::new(config, &Interpreter, &text).unwrap();
        run.together(group).err().map(|e| e.to_string())
    });
    let wanted = "parts 4 of 1 segments given with 3 ranks, expected a multiple of 3 parts, or 3 a multiple of the parts and as many segments for each: every rank runs as much of a step";
    assert_eq!(found, vec![Some(wanted.to_string()); 3]);
}

#[test]
fn a_rank_whose_numbers_are_not_finite_leaves_the_step_out_for_all() {
    let text = text();
    let config = four_parts(InitialStateConfig::state_passing());
    let ended = together(2, |group| {
        let mut run = Trainer::new(config.clone(), &Interpreter, &text).unwrap();
        run = run.together(group).unwrap();
        run.step().unwrap();
        // What one rank has of the carried states is no number, as memory that failed would leave it.
        if run.group.rank() == 1 {
            let mut carried = run.policy.carried();
            carried
                .iter_mut()
                .for_each(|(_, state)| state.data.fill(f32::NAN));
            run.policy.restore(carried).unwrap();
        }
        let before = fingerprint(&run.weights());
        let report = run.step().unwrap();
        (report.skipped, fingerprint(&run.weights()) == before)
    });
    assert_eq!(ended, [(true, true); 2]);
}
