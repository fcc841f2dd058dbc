//! Which windows of a text a batch reads: a function of its number, the seed and the order.

use crate::{Error, Order, Sampling};

/// Where each window of batch `index` begins in a text of so many `tokens`
/// (which messages call `unit`), and whether the slots begin
/// anew there.
///
/// In contiguous order every slot has a lane of its own, an even share of the text, and begins it
/// anew after its last whole window.
pub(super) fn windows(
    tokens: usize,
    unit: &str,
    index: u64,
    sampling: &Sampling,
) -> Result<(Vec<usize>, bool), Error> {
    let Sampling {
        batch,
        length,
        order,
        ..
    } = *sampling;
    let last = tokens.checked_sub(length + 1).ok_or_else(|| {
        Error::Config(format!(
            "a text of {tokens} {unit} to train on given, expected more than the training length {length}: a longer text, or \
             a shorter --length"
        ))
    })?;
    match order {
        Order::Random => {
            let mut rng = sampling.rng(index);
            Ok(((0..batch).map(|_| rng.below(last + 1)).collect(), false))
        }
        Order::Contiguous => {
            let lane = (tokens - 1) / batch;
            let each = lane / length;
            if each == 0 {
                return Err(Error::Config(format!(
                    "a text of {tokens} {unit} to train on given, expected {batch} lanes of more than the \
                     training length {length} each to read it in order: a longer text, or less --batch or --length"
                )));
            }
            let window = (index % each as u64) as usize;
            let starts = (0..batch).map(|slot| slot * lane + window * length);
            Ok((starts.collect(), window == 0))
        }
    }
}
