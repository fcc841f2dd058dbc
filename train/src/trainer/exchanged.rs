//! What ranks read of their data and send to each other: what they run, and what their configuration says.

use super::tests::config;
use super::together::{documents, of_text, packed, policies, published, steps};
use super::*;
use crate::ranks::Cost;
use crate::ranks::tests::together;
use baton_data::{Batch, Corpus, Share};
use baton_runtime::device::interpreter::Interpreter;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Mutex;

/// A step, and which of its rows and columns.
type Asked = (u64, Range<usize>, Range<usize>);

/// A corpus that gives shares alone, and knows which.
struct Shares {
    corpus: Corpus,
    asked: Mutex<Vec<Asked>>,
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

/// A rank that counts the bytes it sends, and knows in which order it sent and received.
struct Counted {
    by: Rc<dyn Group>,
    sent: Rc<Cell<usize>>,
    order: Rc<RefCell<String>>,
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
        self.order.borrow_mut().push('s');
        self.by.send(to, numbers);
    }

    fn receive(&self, from: usize, numbers: &mut [f32]) {
        self.order.borrow_mut().push('r');
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
        let mut config = packed(model);
        // One for each rank, which receives and sends the states of one layer after the other.
        config.segments = 3;
        let name = config.model.block.name();
        let sent = together(3, |group| {
            let (sent, order) = (Rc::new(Cell::new(0)), Rc::new(RefCell::default()));
            let counted = Rc::new(Counted {
                by: group,
                sent: sent.clone(),
                order: order.clone(),
            });
            let run = Trainer::new(config.clone(), &Interpreter, &corpus).unwrap();
            let mut run = run.together(counted).unwrap();
            run.step().unwrap();
            let weights = run.weights().into_values().map(|w| w.data.len());
            let weights = 4.0 * weights.sum::<usize>() as f64;
            (sent.get() as f64, weights, order.take())
        });
        let cost = Cost::of(&config, 3).unwrap();
        let gradients = sent[0].1;
        // The first rank has none before it, the last none after it.
        let (after, before) = (cost.states, cost.state_gradients);
        let expected = [after + gradients, before + after + gradients, before];
        for ((sent, ..), expected) in sent.iter().zip(expected) {
            assert_eq!(*sent, expected, "{name}");
        }
        // The rank in the middle hands on what its convolution ends with before it waits for the recurrence's states.
        let states = config.model.state_sizes()[0].len();
        if cost.messages[1] > 2 + states {
            assert!(sent[1].2.starts_with("rrrsssrrr"), "{name}: {}", sent[1].2);
        }
        let about = cost.gradients / gradients;
        assert!(
            (0.8..1.05).contains(&about),
            "{name}: {about} of the weights"
        );
    }
}
