//! A run of several ranks has the bits of one process, at every step, and goes on with another number of ranks.

use super::tests::{config, folder, text};
use super::*;
use crate::ranks::Cost;
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
use std::cell::Cell;
use std::sync::Mutex;

fn policies() -> Vec<InitialStateConfig> {
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
type Ended = (Vec<u32>, Checkpoint);

fn steps(mut run: Trainer<'_>, count: usize) -> Ended {
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
fn documents() -> Corpus {
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
fn packed(model: ModelConfig) -> TrainConfig {
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
fn of_text(name: &str) -> ModelConfig {
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
fn published() -> Vec<ModelConfig> {
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

/// A corpus that gives shares alone, and knows which.
struct Shares {
    corpus: Corpus,
    asked: Mutex<Vec<(u64, Range<usize>, Range<usize>)>>,
}

impl Source for Shares {
    fn name(&self) -> String {
        self.corpus.name()
    }

    fn fingerprint(&self) -> String {
        self.corpus.fingerprint()
    }

    fn vocab_size(&self) -> usize {
        self.corpus.vocab_size()
    }

    fn is_contiguous(&self) -> bool {
        true
    }

    fn batch(&self, _: u64, _: &Sampling) -> Result<Batch, baton_data::Error> {
        panic!("a whole batch is read")
    }

    fn share(
        &self,
        index: u64,
        sampling: &Sampling,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Share, baton_data::Error> {
        let mut asked = self.asked.lock().unwrap();
        asked.push((index, rows.clone(), columns.clone()));
        self.corpus.share(index, sampling, rows, columns)
    }
}

#[test]
fn ranks_read_what_they_run_and_nothing_else() {
    for (parts, segments, size) in [(4, 1, 2), (4, 1, 4), (2, 3, 2), (2, 4, 8)] {
        for policy in policies() {
            let mut config = config(policy);
            (config.parts, config.segments, config.batch_size) = (parts, segments, 2);
            let whole = steps(
                Trainer::new(config.clone(), &Interpreter, &documents()).unwrap(),
                2,
            );
            let found = together(size, |group| {
                let source = Shares {
                    corpus: documents(),
                    asked: Mutex::default(),
                };
                let run = Trainer::new(config.clone(), &Interpreter, &source).unwrap();
                let ended = steps(run.together(group).unwrap(), 2);
                (ended, source.asked.into_inner().unwrap())
            });
            // Every token of a batch is read by one rank, in the steps and in what the policy sees before them.
            let mut read: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
            let tokens = parts * 2 * config.train_length;
            for (ended, asked) in found {
                assert!(ended == whole, "{size} ranks, {:?}", config.initial_state);
                for (index, rows, columns) in asked {
                    let counts = read.entry(index).or_insert_with(|| vec![0; tokens]);
                    for row in rows {
                        let places = columns.clone().map(|at| row * config.train_length + at);
                        places.for_each(|at| counts[at] += 1);
                    }
                }
            }
            assert!(read.len() >= 2);
            assert!(read.values().flatten().all(|&count| count == 1));
        }
    }
}

/// A rank that counts the bytes it sends.
struct Counted {
    by: Rc<dyn Group>,
    sent: Rc<Cell<usize>>,
}

impl Group for Counted {
    fn rank(&self) -> usize {
        self.by.rank()
    }

    fn size(&self) -> usize {
        self.by.size()
    }

    fn send(&self, to: usize, numbers: &[f32]) {
        self.sent.set(self.sent.get() + 4 * numbers.len());
        self.by.send(to, numbers);
    }

    fn receive(&self, from: usize, numbers: &mut [f32]) {
        self.by.receive(from, numbers);
    }

    fn broadcast(&self, from: usize, numbers: &mut [f32]) {
        self.by.broadcast(from, numbers);
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        self.by.gather(own)
    }

    fn abort(&self) -> ! {
        self.by.abort()
    }
}

#[test]
fn ranks_send_what_the_configuration_says() {
    let corpus = documents();
    for model in published().into_iter().chain([of_text("gla")]) {
        let config = packed(model);
        let name = config.model.block.name();
        let sent = together(3, |group| {
            let sent = Rc::new(Cell::new(0));
            let counted = Rc::new(Counted {
                by: group,
                sent: sent.clone(),
            });
            let run = Trainer::new(config.clone(), &Interpreter, &corpus).unwrap();
            let mut run = run.together(counted).unwrap();
            run.step().unwrap();
            let weights = run.weights().into_values().map(|w| w.data.len());
            (sent.get() as f64, 4.0 * weights.sum::<usize>() as f64)
        });
        let cost = Cost::of(&config, 3).unwrap();
        let gradients = sent[0].1;
        // The first rank has none before it, the last none after it.
        let expected = [(1.0, 1.0), (2.0, 1.0), (1.0, 0.0)];
        for ((sent, _), (states, sums)) in sent.iter().zip(expected) {
            assert_eq!(*sent, states * cost.states + sums * gradients, "{name}");
        }
        let about = cost.gradients / gradients;
        assert!(
            (0.8..1.05).contains(&about),
            "{name}: {about} of the weights"
        );
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
