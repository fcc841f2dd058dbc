//! Byte-level text, and the windows that training reads from it.
//!
//! Which window is read is a function of seed, step and slot, so a resumed run reads on where the
//! killed one stopped, with no cursor to store.

use crate::Error;
use crate::initial_state::Order;
use crate::rng::{Purpose, Rng};

/// A text as bytes, cut into a part to train on and a part that training never sees.
#[derive(Clone, Debug)]
pub struct Text {
    /// Where it is from, and what is held out; goes into reports.
    pub name: String,
    /// To train on.
    pub train: Vec<u8>,
    /// To evaluate on.
    pub held_out: Vec<u8>,
}

/// Inputs and the tokens that follow them, [B, T] each in row order.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Tokens read.
    pub inputs: Vec<u32>,
    /// Each one's successor.
    pub targets: Vec<u32>,
}

impl Text {
    /// Holds out the last `share` of one text.
    pub fn cut(name: &str, bytes: Vec<u8>, share: f64) -> Self {
        let mut train = bytes;
        let at = ((1.0 - share).clamp(0.0, 1.0) * train.len() as f64) as usize;
        let held_out = train.split_off(at);
        let name = format!("{name}, the last {:.0} % held out", 100.0 * share);
        Text {
            name,
            train,
            held_out,
        }
    }

    /// A fingerprint of the training part (FNV-1a): a run is resumed on the text it began with.
    pub fn fingerprint(&self) -> String {
        let hash = self
            .train
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
                (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3)
            });
        format!("{} bytes, {hash:016x}", self.train.len())
    }
}

/// Which windows of the training text a batch reads.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Of the run.
    pub seed: u64,
    /// Sequences in a batch.
    pub batch: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// Random places, or each slot continued.
    pub order: Order,
}

impl Windows {
    /// Batch number `index` of `bytes`.
    pub fn batch(&self, bytes: &[u8], index: u64) -> Result<Batch, Error> {
        let last = bytes.len().checked_sub(self.length + 1).ok_or_else(|| {
            Error::Config(format!(
                "a text of {} bytes given, expected more than the training length {}",
                bytes.len(),
                self.length
            ))
        })?;
        let mut rng = Rng::at(self.seed, Purpose::Windows, index);
        let mut batch = Batch {
            inputs: Vec::with_capacity(self.batch * self.length),
            targets: Vec::with_capacity(self.batch * self.length),
        };
        for slot in 0..self.batch {
            let at = match self.order {
                Order::Random => rng.below(last + 1),
                Order::Contiguous => {
                    let lane = (last + 1) / self.batch;
                    let windows = (lane / self.length).max(1) as u64;
                    (slot * lane + (index % windows) as usize * self.length).min(last)
                }
            };
            let window = &bytes[at..at + self.length + 1];
            batch
                .inputs
                .extend(window[..self.length].iter().map(|&b| b as u32));
            batch.targets.extend(window[1..].iter().map(|&b| b as u32));
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(order: Order) -> Windows {
        Windows {
            seed: 1,
            batch: 4,
            length: 8,
            order,
        }
    }

    #[test]
    fn windows_are_a_function_of_their_number() {
        let bytes: Vec<u8> = (0..=255).collect();
        let random = windows(Order::Random);
        let batch = random.batch(&bytes, 3).unwrap();
        assert_eq!(batch, random.batch(&bytes, 3).unwrap());
        assert_ne!(batch, random.batch(&bytes, 4).unwrap());
        for (input, target) in batch.inputs.iter().zip(&batch.targets) {
            assert_eq!(input + 1, *target);
        }
    }

    #[test]
    fn contiguous_windows_continue_their_slot() {
        let bytes: Vec<u8> = (0..=255).collect();
        let contiguous = windows(Order::Contiguous);
        let (a, b) = (
            contiguous.batch(&bytes, 0).unwrap(),
            contiguous.batch(&bytes, 1).unwrap(),
        );
        for slot in 0..4 {
            assert_eq!(a.targets[slot * 8 + 7], b.inputs[slot * 8]);
        }
    }

    #[test]
    fn a_text_too_short_is_refused() {
        let error = windows(Order::Random).batch(&[0; 8], 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a text of 8 bytes given, expected more than the training length 8"
        );
    }
}
