//! Batches by number, from a source that has no cursor.
//!
//! A [`Source`] gives batch `index` as a function of that number and a [`Sampling`] alone. So a
//! resumed run reads on where the killed one stopped with nothing to store, and gradient
//! accumulation takes one batch apart instead of asking for others. Text is one source; a
//! synthetic task is another, with [`weights`](Batch::weights) to say which tokens count.

use crate::Error;
use crate::rng::{Purpose, Rng};
use std::ops::Range;

/// The order in which sequences are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Every sequence from a place of its own.
    Random,
    /// Slot b of a batch continues slot b of the batch before.
    Contiguous,
}

/// What is asked of a source; the same for every batch of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Of the run.
    pub seed: u64,
    /// Sequences in a batch, B.
    pub batch: usize,
    /// Tokens in a sequence, T.
    pub length: usize,
    /// The order of the sequences.
    pub order: Order,
}

impl Sampling {
    /// The random numbers of batch `index`.
    pub fn rng(&self, index: u64) -> Rng {
        Rng::at(self.seed, Purpose::Windows, index)
    }
}

/// One batch; everything is [B, T] in row order.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Tokens read.
    pub inputs: Vec<u32>,
    /// What is to be predicted after each.
    pub targets: Vec<u32>,
    /// How much each target counts in the mean loss, not negative; absent: all the same.
    pub weights: Option<Vec<f32>>,
    /// Where another document begins, as places b T + t in rising order: the state before such a
    /// token is zero. Row b itself begins from whatever the run has for it unless b T is listed.
    /// Absent: nowhere.
    pub starts: Option<Vec<usize>>,
}

impl Batch {
    /// A batch whose targets all count and whose rows are one document each.
    pub fn new(inputs: Vec<u32>, targets: Vec<u32>) -> Self {
        Batch {
            inputs,
            targets,
            weights: None,
            starts: None,
        }
    }

    /// The sum of the weights: what the mean loss divides by.
    pub fn total(&self) -> f64 {
        match &self.weights {
            Some(weights) => weights.iter().map(|&w| w as f64).sum(),
            None => self.targets.len() as f64,
        }
    }

    /// Rows `rows` of sequences of `length`, as a batch of their own.
    pub fn rows(&self, rows: Range<usize>, length: usize) -> Batch {
        let (from, to) = (rows.start * length, rows.end * length);
        let within = |starts: &Vec<usize>| {
            let starts = starts.iter().filter(|&&at| from <= at && at < to);
            starts.map(|at| at - from).collect()
        };
        Batch {
            inputs: self.inputs[from..to].to_vec(),
            targets: self.targets[from..to].to_vec(),
            weights: self.weights.as_ref().map(|w| w[from..to].to_vec()),
            starts: self.starts.as_ref().map(within),
        }
    }

    /// Columns `columns` of all rows, which are of `length`, as a batch of its own.
    pub fn columns(&self, columns: Range<usize>, length: usize) -> Batch {
        let rows = self.inputs.len() / length.max(1);
        let places = |row: usize| row * length + columns.start..row * length + columns.end;
        let numbers = |of: &[u32]| (0..rows).flat_map(|row| of[places(row)].to_vec()).collect();
        let within = |starts: &Vec<usize>| {
            let starts = starts
                .iter()
                .filter(|&&at| columns.contains(&(at % length)));
            starts
                .map(|at| at / length * columns.len() + at % length - columns.start)
                .collect()
        };
        let weights = |of: &Vec<f32>| (0..rows).flat_map(|row| of[places(row)].to_vec()).collect();
        Batch {
            inputs: numbers(&self.inputs),
            targets: numbers(&self.targets),
            weights: self.weights.as_ref().map(weights),
            starts: self.starts.as_ref().map(within),
        }
    }

    /// Refuses a batch that is not what `sampling` asked for; `name` is the source's.
    pub fn check(&self, name: &str, sampling: &Sampling) -> Result<(), Error> {
        let expected = sampling.batch * sampling.length;
        let weights = self.weights.as_ref();
        let lengths = [
            self.inputs.len(),
            self.targets.len(),
            weights.map_or(expected, Vec::len),
        ];
        let wrong = |what: String| Err(Error::Config(format!("a batch of {name}: {what}")));
        if lengths.iter().any(|&length| length != expected) {
            return wrong(format!(
                "{} inputs, {} targets, {} weights given, expected {} sequences of {}",
                lengths[0], lengths[1], lengths[2], sampling.batch, sampling.length
            ));
        }
        if let Some(weight) = weights.and_then(|w| w.iter().find(|&&w| w.is_nan() || w < 0.0)) {
            return wrong(format!("weight {weight} given, expected none below 0"));
        }
        counts(name, self.total())?;
        let starts = self.starts.iter().flatten();
        if !starts.clone().is_sorted_by(|a, b| a < b) || starts.clone().any(|&at| at >= expected) {
            return wrong(format!(
                "documents that start at {:?} given, expected rising places below {expected}",
                starts.collect::<Vec<_>>()
            ));
        }
        Ok(())
    }
}

/// Refuses weights of the sum `total`, by which a mean loss cannot divide.
pub(crate) fn counts(name: &str, total: f64) -> Result<(), Error> {
    match total > 0.0 && total.is_finite() {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "a batch of {name}: weights of sum {total} given, expected a target that counts"
        ))),
    }
}

/// What one of several processes reads of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Its rows and columns.
    pub batch: Batch,
    /// The sum of the weights of the whole batch.
    pub total: f64,
}

/// Where training sequences come from.
pub trait Source: Send + Sync {
    /// What it is, for reports and messages.
    fn name(&self) -> String;

    /// What tells it from any other data: a run is resumed on the data it began with.
    fn fingerprint(&self) -> String;

    /// The tokens are 0 .. vocab_size.
    fn vocab_size(&self) -> usize;

    /// Whether it can be read in [`Order::Contiguous`].
    fn is_contiguous(&self) -> bool {
        false
    }

    /// Batch number `index`: a function of it and of `sampling` alone.
    fn batch(&self, index: u64, sampling: &Sampling) -> Result<Batch, Error>;

    /// Columns `columns` of rows `rows` of batch number `index`, which is checked. A source whose data is large reads
    /// no more than these.
    fn share(
        &self,
        index: u64,
        sampling: &Sampling,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Share, Error> {
        let batch = self.batch(index, sampling)?;
        batch.check(&self.name(), sampling)?;
        let (total, length) = (batch.total(), sampling.length);
        let batch = batch.rows(rows, length).columns(columns, length);
        Ok(Share { batch, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_take_their_weights_and_starts() {
        let batch = Batch {
            inputs: (0..12).collect(),
            targets: (1..13).collect(),
            weights: Some((0..12).map(|w| w as f32).collect()),
            starts: Some(vec![1, 4, 6, 11]),
        };
        let rows = batch.rows(1..3, 4);
        assert_eq!(rows.inputs, (4..12).collect::<Vec<u32>>());
        assert_eq!(rows.targets, (5..13).collect::<Vec<u32>>());
        assert_eq!(rows.starts, Some(vec![0, 2, 7]));
        assert_eq!(rows.total(), (4..12).sum::<u32>() as f64);
    }

    #[test]
    fn columns_take_their_weights_and_starts() {
        let batch = Batch {
            inputs: (0..12).collect(),
            targets: (1..13).collect(),
            weights: Some((0..12).map(|w| w as f32).collect()),
            starts: Some(vec![1, 4, 6, 11]),
        };
        let columns = batch.columns(2..4, 4);
        assert_eq!(columns.inputs, [2, 3, 6, 7, 10, 11]);
        assert_eq!(columns.targets, [3, 4, 7, 8, 11, 12]);
        assert_eq!(columns.starts, Some(vec![2, 5]));
        assert_eq!(columns.total(), (2 + 3 + 6 + 7 + 10 + 11) as f64);
        assert_eq!(batch.columns(0..4, 4), batch);
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let sampling = Sampling {
            seed: 1,
            batch: 2,
            length: 2,
            order: Order::Random,
        };
        let good = Batch::new(vec![0; 4], vec![0; 4]);
        good.check("it", &sampling).unwrap();
        let refused = |change: &dyn Fn(&mut Batch)| {
            let mut batch = good.clone();
            change(&mut batch);
            batch.check("it", &sampling).unwrap_err().to_string()
        };
        let message = refused(&|b| b.targets.truncate(3));
        assert!(message.contains("3 targets"), "{message}");
        for weights in [vec![0.0; 4], vec![1.0, 1.0, 1.0, -1.0], vec![f32::NAN; 4]] {
            let message = refused(&|b| b.weights = Some(weights.clone()));
            assert!(message.contains("weight"), "{message}");
        }
        for starts in [vec![4], vec![2, 2], vec![2, 1]] {
            let message = refused(&|b| b.starts = Some(starts.clone()));
            assert!(message.contains("rising places below 4"), "{message}");
        }
    }
}
