//! The blocks are trained: all weights move, and every policy takes every state.

use super::{Scratch, device};
use baton_config::{BlockConfig, TrainConfig, small};
use baton_data::Text;
use baton_train::trainer::{RunOptions, Trainer};

const BLOCKS: [&str; 5] = ["mamba1", "gated_delta_net", "kda", "mlstm", "rwkv7"];

/// A run of a block as `baton train` makes it, but small.
fn training(block: &str, steps: u64) -> TrainConfig {
    let mut run = small::with(small::base_config(1, steps), block);
    (run.train_length, run.batch_size) = (16, 4);
    (run.schedule.peak, run.schedule.warmup) = (1e-2, 2);
    run.model.hidden_size = 32;
    run.model.intermediate_size = run.model.intermediate_size.map(|_| 48);
    match &mut run.model.block {
        BlockConfig::Mamba1(block) => block.state_size = 4,
        BlockConfig::GatedDeltaNet(block) | BlockConfig::Kda(block) => {
            (block.num_heads, block.head_dim, block.value_dim) = (2, 8, 16);
        }
        BlockConfig::Mlstm(block) => (block.num_heads, block.key_dim) = (2, 8),
        BlockConfig::Rwkv7(block) => block.head_dim = 8,
        other => panic!("{other:?}"),
    }
    run
}

fn text() -> Text {
    let text = b"a state that is carried is a state that is known. ".repeat(20);
    Text::cut("known", text, 0.1)
}

#[test]
fn every_block_learns_and_all_its_weights_move() {
    for block in BLOCKS {
        let text = text();
        let mut run = Trainer::new(training(block, 20), &device(), &text).unwrap();
        let before = run.weights();
        let first = run.step().unwrap().loss;
        let last = run.run(&RunOptions::default(), &mut |_| {});
        let last = last.unwrap().unwrap();
        assert!(
            first > 5.0 && last < first - 1.0,
            "{block}: {first} to {last}"
        );
        for (weight, value) in run.weights() {
            assert_ne!(before[&weight], value, "{block}: {weight}");
        }
    }
}

/// Every policy takes every state of a block: a run that was stopped and goes on with what the
/// checkpoint holds has the bits of one that was not.
#[test]
fn every_policy_takes_every_state() {
    let device = device();
    let policies = [
        "noise:std=0.1",
        "fitted_noise",
        "state_passing:p_zero=0.5,conv=carried",
        "truncated_bptt:conv=carried",
        "0.5*state_passing + 0.3*fitted_noise + 0.2*zero",
    ];
    let scratch = Scratch::new("policies");
    let (path, text) = (scratch.0.join("checkpoint.safetensors"), text());
    for block in BLOCKS {
        for policy in policies {
            let mut config = training(block, 4);
            config.initial_state = policy.parse().unwrap();
            let mut whole = Trainer::new(config.clone(), &device, &text).unwrap();
            let losses: Vec<f32> = (0..4).map(|_| whole.step().unwrap().loss).collect();
            assert!(
                losses.iter().all(|loss| loss.is_finite()),
                "{block}: {policy}"
            );
            let mut half = Trainer::new(config.clone(), &device, &text).unwrap();
            half.step().unwrap();
            half.step().unwrap();
            let checkpoint = half.checkpoint().unwrap();
            checkpoint.write(&path).unwrap();
            let carried: Vec<&String> = checkpoint.carried.iter().map(|(name, _)| name).collect();
            let states = config.model.state_sizes()[0].len();
            if policy.starts_with("state_passing") {
                for state in 0..states {
                    let name = format!("1.{state}");
                    assert!(carried.contains(&&name), "{block}: {carried:?}");
                }
                let conv = carried.iter().any(|name| *name == "1.conv");
                assert_eq!(conv, block != "mlstm", "{block}: {carried:?}");
            }
            let mut rest = Trainer::resume(config, &device, &text, &path).unwrap();
            let again: Vec<f32> = (0..2).map(|_| rest.step().unwrap().loss).collect();
            assert_eq!(losses[2..], again, "{block}: {policy}");
        }
    }
}
