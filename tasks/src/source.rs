//! A task as training data: rows of examples, each row a function of seed, batch and slot.
//!
//! Examples stand side by side in a row as long as they fit, nothing is reset between them, and the
//! rest is padding without weight. Their random numbers are of another stream than those of evaluation, so
//! no trial is trained on but by chance.

use super::config::{Loss, TaskConfig};
use super::{Ask, Asked, Material, Task, Trial};
use baton_data::rng::{Purpose, Rng};
use baton_data::{Batch, Error, Sampling, Source, fnv};

/// A task to train on.
pub struct TaskSource {
    config: TaskConfig,
    task: Box<dyn Task>,
    vocabulary: usize,
    haystack: String,
}

impl TaskSource {
    /// The task that `config` says, on `material`.
    pub fn new(config: TaskConfig, material: &Material) -> Result<Self, Error> {
        let haystack = match &material.text {
            None => "its own noise".into(),
            Some(text) => {
                let hash = fnv(text.bytes().map(u64::from));
                format!("{} bytes, {hash:016x}", text.len())
            }
        };
        Ok(TaskSource {
            task: config.build(material)?,
            vocabulary: config.vocabulary(material.codec.as_ref()),
            config,
            haystack,
        })
    }

    /// Adds one row of `length` tokens to `batch`.
    fn row(&self, length: usize, rng: &mut Rng, batch: &mut Batch) -> Result<(), Error> {
        let pad = self.task.padding();
        let (mut inputs, mut targets) = (Vec::with_capacity(length), Vec::with_capacity(length));
        let mut weights = Vec::with_capacity(length);
        let mut before = 0;
        while let Some(trial) = self.task.example(length - inputs.len(), before, rng)? {
            let (tokens, asked) = whole(trial);
            if tokens.len() > length - inputs.len() {
                return Err(Error::Config(format!(
                    "{}: an example of {} tokens in {length}, expected one that fits",
                    self.task.name(),
                    tokens.len()
                )));
            }
            let from = inputs.len();
            let all = f32::from(self.config.loss == Loss::All);
            targets.extend(tokens[1..].iter().chain([&pad]));
            weights.extend(std::iter::repeat_n(all, tokens.len() - 1).chain([0.0]));
            inputs.extend(tokens);
            for Asked { after, token } in asked {
                targets[from + after] = token;
                weights[from + after] = 1.0;
            }
            before += 1;
        }
        inputs.resize(length, pad);
        targets.resize(length, pad);
        weights.resize(length, 0.0);
        batch.inputs.extend(inputs);
        batch.targets.extend(targets);
        batch.weights.get_or_insert_default().extend(weights);
        Ok(())
    }
}

/// An example as it stands in a row, all its tokens and what is asked of it.
fn whole(trial: Trial) -> (Vec<u32>, Vec<Asked>) {
    let mut tokens = trial.tokens;
    match trial.ask {
        Ask::Forced(asked) => (tokens, asked),
        Ask::Greedy { answer, .. } => {
            let first = tokens.len().saturating_sub(1);
            let asked = answer.iter().enumerate();
            let asked = asked.map(|(i, &token)| Asked {
                after: first + i,
                token,
            });
            let asked = asked.collect();
            tokens.extend(answer);
            (tokens, asked)
        }
    }
}

impl Source for TaskSource {
    fn name(&self) -> String {
        format!("the task `{}`", self.config)
    }

    fn fingerprint(&self) -> String {
        format!("task {}, in {}", self.config, self.haystack)
    }

    fn vocab_size(&self) -> usize {
        self.vocabulary
    }

    fn batch(&self, index: u64, sampling: &Sampling) -> Result<Batch, Error> {
        let mut batch = Batch::new(Vec::new(), Vec::new());
        for slot in 0..sampling.batch {
            let place = index * sampling.batch as u64 + slot as u64;
            let mut rng = Rng::at(sampling.seed, Purpose::Examples, place);
            self.row(sampling.length, &mut rng, &mut batch)?;
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_data::Order;

    fn batch(task: &str, length: usize, index: u64) -> Batch {
        let source = TaskSource::new(task.parse().unwrap(), &Material::bytes(None)).unwrap();
        let sampling = Sampling {
            seed: 1,
            batch: 3,
            length,
            order: Order::Random,
        };
        let batch = source.batch(index, &sampling).unwrap();
        batch.check(&source.name(), &sampling).unwrap();
        assert_eq!(batch, source.batch(index, &sampling).unwrap());
        assert_ne!(batch, source.batch(index + 1, &sampling).unwrap());
        let top = batch.inputs.iter().chain(&batch.targets).max().unwrap();
        assert!((*top as usize) < source.vocab_size());
        batch
    }

    fn text(tokens: &[u32]) -> String {
        tokens.iter().map(|&t| t as u8 as char).collect()
    }

    #[test]
    fn copying_is_packed_with_the_loss_on_copies_and_their_stops() {
        let batch = batch("copying:ids=bytes,min=2,max=6", 40, 0);
        let weights = batch.weights.unwrap();
        for row in 0..3 {
            let at = row * 40..(row + 1) * 40;
            let inputs = text(&batch.inputs[at.clone()]);
            let (packed, padding) = inputs.split_once('*').unwrap_or((&inputs, ""));
            assert!(
                padding.chars().all(|c| c == '*') && padding.len() < 15,
                "{inputs}"
            );
            assert!(packed.matches('$').count() >= 2);
            let counted: String = (at.clone())
                .filter(|&i| weights[i] == 1.0)
                .map(|i| batch.targets[i] as u8 as char)
                .collect();
            let copies = packed.split_terminator('.').map(|part| {
                let (string, copy) = part[1..].split_once('|').unwrap();
                assert_eq!(string, copy);
                format!("{copy}.")
            });
            assert_eq!(counted, copies.collect::<String>());
        }
    }

    #[test]
    fn the_loss_lies_on_the_answer_or_everywhere() {
        let (answer, all) = (
            batch("passkey", 400, 5).weights.unwrap(),
            batch("passkey:loss=all", 400, 5).weights.unwrap(),
        );
        assert_eq!(answer[..400].iter().sum::<f32>(), 7.0);
        assert!(all[..400].iter().sum::<f32>() > 380.0);
        let tokens = batch("token-passkey:vocabulary=20,markers=ids,key=2", 30, 0);
        assert_eq!(tokens.inputs[28..30], tokens.targets[27..29]);
        assert_eq!(tokens.weights.unwrap()[27..30], [1.0, 1.0, 0.0]);
    }
}
