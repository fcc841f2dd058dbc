//! Several documents in one row of a batch, each with a state of its own.
//!
//! A packed batch is laid out as one row [1, B T, ..]: kernels take the offsets of its sequences
//! and keep a state for each, the convolution likewise, so nothing passes from a document to the
//! next. Outside of the blocks there is still one state for each row of the batch: it enters the
//! row's first sequence (all others begin at zero) and leaves from the row's last.

use crate::Error;
use std::ops::Range;
use std::sync::Arc;

/// Where the sequences of a packed batch lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    offsets: Arc<[i64]>,
    /// For each sequence the row whose state it begins from.
    pub(super) enters: Vec<Option<usize>>,
    /// For each row its last sequence.
    pub(super) leaves: Vec<Option<usize>>,
}

impl Packing {
    /// Rows of `length` tokens in which documents begin at the places `starts`, b T + t in rising
    /// order. A row that begins with a document begins at zero, any other from the row's state.
    pub fn new([rows, length]: [usize; 2], starts: &[usize]) -> Result<Self, Error> {
        let end = rows * length;
        if length == 0 || !starts.is_sorted_by(|a, b| a < b) || starts.iter().any(|&s| s >= end) {
            return Err(Error::Tensor(format!(
                "documents that start at {starts:?} given, expected rising places in {rows} rows \
                 of {length} tokens"
            )));
        }
        let begins = (0..end).filter(|at| at % length == 0 || starts.binary_search(at).is_ok());
        let begins: Vec<usize> = begins.collect();
        let enters = begins.iter().map(|at| {
            let continues = at % length == 0 && starts.binary_search(at).is_err();
            continues.then_some(at / length)
        });
        let last = |row| begins.partition_point(|&at| at < (row + 1) * length) - 1;
        Ok(Packing {
            enters: enters.collect(),
            leaves: (0..rows).map(|row| Some(last(row))).collect(),
            offsets: begins.iter().chain([&end]).map(|&at| at as i64).collect(),
        })
    }

    /// Offsets of the sequences, from 0 to the number of tokens.
    pub fn offsets(&self) -> Arc<[i64]> {
        self.offsets.clone()
    }

    /// Tokens in all.
    pub fn len(&self) -> usize {
        self.offsets.last().map_or(0, |&end| end as usize)
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of each sequence.
    pub fn sequences(&self) -> impl Iterator<Item = Range<usize>> {
        self.offsets
            .windows(2)
            .map(|pair| pair[0] as usize..pair[1] as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_begin_from_their_state_unless_a_document_begins_there() {
        let packing = Packing::new([3, 4], &[1, 4, 6]).unwrap();
        assert_eq!(packing.offsets().as_ref(), [0, 1, 4, 6, 8, 12]);
        assert_eq!(packing.enters, [Some(0), None, None, None, Some(2)]);
        assert_eq!(packing.leaves, [Some(1), Some(3), Some(4)]);
        assert_eq!(packing.len(), 12);
        for starts in [&[12][..], &[3, 3], &[3, 2]] {
            assert!(Packing::new([3, 4], starts).is_err());
        }
    }
}
