//! A long stream of tokens with documents in it, in memory or mapped from shards.
//!
//! Windows run over the whole stream, so every token is read alike often and no sequence is
//! padded. A window may hold several documents. On request the state is reset where one begins;
//! then the target that would cross the boundary does not count. Otherwise the stream is one text.

use crate::batch::counts;
use crate::shard::Shard;
use crate::tokenizer::Tokenizer;
use crate::windows::windows;
use crate::{Batch, Document, Error, Order, Sampling, Share, Source, fnv};
use std::ops::Range;

/// Tokens in order.
#[derive(Debug)]
pub enum Tokens {
    /// In memory.
    Memory(Vec<u32>),
    /// In files that are mapped, one after another.
    Mapped(Vec<Shard>),
}

impl Tokens {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Tokens::Memory(tokens) => tokens.len(),
            Tokens::Mapped(shards) => shards.iter().map(Shard::len).sum(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of a range inside of 0 .. len.
    pub fn read(&self, range: Range<usize>) -> Vec<u32> {
        match self {
            Tokens::Memory(tokens) => tokens[range].to_vec(),
            Tokens::Mapped(shards) => {
                let mut read = Vec::with_capacity(range.len());
                let mut first = 0;
                for shard in shards {
                    let end = first + shard.len();
                    let (from, to) = (range.start.max(first), range.end.min(end));
                    if from < to {
                        shard.read(from - first..to - first, &mut read);
                    }
                    first = end;
                }
                read
            }
        }
    }
}

/// Tokens, where documents begin in them, and how they are read.
#[derive(Debug)]
pub struct Corpus {
    /// Where it is from.
    pub name: String,
    /// All tokens.
    pub tokens: Tokens,
    /// Where documents begin, rising.
    pub documents: Vec<usize>,
    /// Tokens are less.
    pub vocab_size: usize,
    /// What tells it from others.
    pub hash: u64,
    /// Whether states are reset where a document begins.
    pub reset: bool,
}

impl Corpus {
    /// The documents in the tokens of `tokenizer`, each followed by `separator` if there is one. Those without
    /// a token are left out, and counted in the name.
    pub fn new(
        name: &str,
        documents: &[Document],
        tokenizer: &Tokenizer,
        separator: Option<u32>,
    ) -> Result<Self, Error> {
        let vocab_size = tokenizer.vocab_size();
        if let Some(token) = separator.filter(|&token| token as usize >= vocab_size) {
            return Err(Error::Config(format!(
                "the separator {token} given, expected a token of the vocabulary of {vocab_size}"
            )));
        }
        let (mut tokens, mut starts) = (Vec::new(), Vec::new());
        for document in documents {
            let encoded = tokenizer.encode(&document.bytes);
            let encoded = encoded.map_err(|e| Error::file(&document.path, e))?;
            if !encoded.is_empty() {
                starts.push(tokens.len());
                tokens.extend(encoded);
                tokens.extend(separator);
            }
        }
        let name = match documents.len() - starts.len() {
            0 => name.to_string(),
            1 => format!("{name}, 1 document without tokens left out"),
            left => format!("{name}, {left} documents without tokens left out"),
        };
        Ok(Corpus {
            name,
            hash: hash(&tokens, &starts),
            tokens: Tokens::Memory(tokens),
            documents: starts,
            vocab_size,
            reset: false,
        })
    }

    /// Holds out the last `share` of the tokens.
    pub fn split(self, share: f64) -> (Corpus, Corpus) {
        let all = self.tokens.read(0..self.tokens.len());
        let at = ((1.0 - share).clamp(0.0, 1.0) * all.len() as f64) as usize;
        let part = |range: Range<usize>, what: &str| {
            let starts = self.documents.iter().filter(|start| range.contains(start));
            let documents: Vec<usize> = starts.map(|start| start - range.start).collect();
            let tokens = all[range].to_vec();
            Corpus {
                name: format!("{}, {what}", self.name),
                hash: hash(&tokens, &documents),
                tokens: Tokens::Memory(tokens),
                documents,
                ..self
            }
        };
        let percent = format!("the last {:.0} %", 100.0 * share);
        let held = match at == all.len() {
            true => "nothing held out".to_string(),
            false => format!("{percent} held out"),
        };
        (part(0..at, &held), part(at..all.len(), &percent))
    }

    /// The columns of some rows of a batch, and nothing else of the tokens.
    fn read(
        &self,
        index: u64,
        sampling: &Sampling,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Share, Error> {
        let (length, width) = (sampling.length, columns.len());
        let (windows, anew) = windows(self.tokens.len(), "tokens", index, sampling)?;
        let mut batch = Batch::new(Vec::new(), Vec::new());
        let mut starts = Vec::new();
        let mut weights = vec![1.0; rows.len() * width];
        for (slot, &at) in windows[rows].iter().enumerate() {
            let window = (self.tokens).read(at + columns.start..at + columns.end + 1);
            batch.inputs.extend_from_slice(&window[..width]);
            batch.targets.extend_from_slice(&window[1..]);
            let mut begin = |column: usize| starts.push(slot * width + column - columns.start);
            if anew && columns.contains(&0) {
                begin(0);
            }
            if !self.reset {
                continue;
            }
            for start in self.starts(at..at + length + 1) {
                let column = start - at;
                // Where a random window happens to begin with a document, the policy decides.
                let inner = column > 0 || sampling.order == Order::Contiguous && !anew;
                if inner && columns.contains(&column) {
                    begin(column);
                }
                if column > 0 && columns.contains(&(column - 1)) {
                    weights[slot * width + column - 1 - columns.start] = 0.0;
                }
            }
        }
        batch.starts = (!starts.is_empty()).then_some(starts);
        batch.weights = self.reset.then_some(weights);
        let crossed = |&at: &usize| match self.reset {
            true => self.starts(at + 1..at + length + 1).len(),
            false => 0,
        };
        let crossed: usize = windows.iter().map(crossed).sum();
        let total = (windows.len() * length - crossed) as f64;
        Ok(Share { batch, total })
    }

    /// The documents that begin inside of a range of tokens.
    fn starts(&self, range: Range<usize>) -> &[usize] {
        let at = |place| self.documents.partition_point(|&start| start < place);
        &self.documents[at(range.start)..at(range.end)]
    }
}

/// Of tokens and the starts of documents.
pub(crate) fn hash(tokens: &[u32], documents: &[usize]) -> u64 {
    let tokens = tokens.iter().flat_map(|token| token.to_le_bytes());
    let documents = documents.iter().flat_map(|&at| (at as u64).to_le_bytes());
    fnv(tokens.chain(documents).map(u64::from))
}

impl Source for Corpus {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn fingerprint(&self) -> String {
        let (tokens, documents) = (self.tokens.len(), self.documents.len());
        let reset = if self.reset { ", reset" } else { "" };
        format!(
            "{tokens} tokens in {documents} documents{reset}, {:016x}",
            self.hash
        )
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn is_contiguous(&self) -> bool {
        true
    }

    fn batch(&self, index: u64, sampling: &Sampling) -> Result<Batch, Error> {
        let all = self.read(index, sampling, 0..sampling.batch, 0..sampling.length)?;
        Ok(all.batch)
    }

    fn share(
        &self,
        index: u64,
        sampling: &Sampling,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<Share, Error> {
        let share = self.read(index, sampling, rows, columns)?;
        counts(&self.name, share.total)?;
        Ok(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(reset: bool) -> Corpus {
        let document = |bytes: &[u8]| Document {
            path: "it".into(),
            bytes: bytes.to_vec(),
        };
        let documents = [b"abcde".as_slice(), b"fg", b"hijklmnop"].map(document);
        let corpus = Corpus::new("it", &documents, &Tokenizer::Bytes, Some(0)).unwrap();
        Corpus { reset, ..corpus }
    }

    fn sampling(order: Order) -> Sampling {
        Sampling {
            seed: 1,
            batch: 2,
            length: 4,
            order,
        }
    }

    #[test]
    fn documents_are_a_stream_that_is_read_in_order() {
        let corpus = corpus(false);
        assert_eq!(corpus.documents, [0, 6, 9]);
        assert_eq!(corpus.tokens.len(), 19);
        let batch = corpus.batch(0, &sampling(Order::Contiguous)).unwrap();
        let bytes: Vec<u8> = batch.inputs.iter().map(|&t| t as u8).collect();
        assert_eq!(bytes, b"abcdhijk");
        assert_eq!(batch.starts, Some(vec![0, 4]));
        assert_eq!(batch.weights, None);
    }

    #[test]
    fn states_are_reset_where_a_document_begins_and_no_target_crosses() {
        let corpus = corpus(true);
        let read = |index| corpus.batch(index, &sampling(Order::Contiguous)).unwrap();
        // Lanes of 9: a b c d | e 0 f g, and h i j k | l m n o.
        let (first, second) = (read(0), read(1));
        first.check("it", &sampling(Order::Contiguous)).unwrap();
        assert_eq!(first.starts, Some(vec![0, 4]));
        assert_eq!(first.weights, Some(vec![1.0; 8]));
        assert_eq!(second.starts, Some(vec![2]));
        assert_eq!(second.weights.unwrap()[..4], [1.0, 0.0, 1.0, 1.0]);
        let random = sampling(Order::Random);
        for index in 0..50 {
            let batch = corpus.batch(index, &random).unwrap();
            batch.check("it", &random).unwrap();
            for (i, target) in batch.targets.iter().enumerate() {
                let crosses = [b'f', b'h'].contains(&(*target as u8));
                assert_eq!(batch.weights.as_ref().unwrap()[i] == 0.0, crosses);
                let begins = i % 4 > 0 && crosses_at(&batch, i);
                assert_eq!(batch.starts.iter().flatten().any(|&at| at == i), begins);
            }
        }
        assert_ne!(corpus.fingerprint(), self::corpus(false).fingerprint());
    }

    #[test]
    fn shares_are_cut_from_the_batch() {
        for (reset, order) in [
            (false, Order::Contiguous),
            (true, Order::Contiguous),
            (true, Order::Random),
        ] {
            let (corpus, sampling) = (corpus(reset), sampling(order));
            for index in 0..20 {
                let batch = corpus.batch(index, &sampling).unwrap();
                for (rows, columns) in [(0..2, 0..4), (1..2, 0..4), (0..1, 2..4), (0..2, 1..2)] {
                    let cut = batch.rows(rows.clone(), 4).columns(columns.clone(), 4);
                    let share = corpus.share(index, &sampling, rows, columns).unwrap();
                    let starts = |batch: &Batch| batch.starts.clone().unwrap_or_default();
                    assert_eq!(starts(&share.batch), starts(&cut));
                    assert_eq!(share.batch.inputs, cut.inputs);
                    assert_eq!(share.batch.targets, cut.targets);
                    assert_eq!(share.batch.weights, cut.weights);
                    assert_eq!(share.total, batch.total());
                }
            }
        }
    }

    fn crosses_at(batch: &Batch, i: usize) -> bool {
        [b'f', b'h'].contains(&(batch.inputs[i] as u8))
    }

    #[test]
    fn the_end_is_held_out_with_its_documents() {
        let (train, held_out) = corpus(false).split(0.5);
        assert_eq!((train.tokens.len(), held_out.tokens.len()), (9, 10));
        assert_eq!((train.documents, held_out.documents), (vec![0, 6], vec![0]));
        let (all, _) = corpus(false).split(0.0);
        assert_eq!(
            (all.tokens.len(), all.name.as_str()),
            (19, "it, nothing held out")
        );
        let empty = [b"".as_slice(), b"a", b"", b"bc"].map(|bytes| Document {
            path: "it".into(),
            bytes: bytes.to_vec(),
        });
        let some = Corpus::new("it", &empty, &Tokenizer::Bytes, Some(9)).unwrap();
        assert_eq!((&some.documents[..], some.tokens.len()), (&[0, 2][..], 5));
        assert_eq!(some.name, "it, 2 documents without tokens left out");
        let separator = Corpus::new("it", &[], &Tokenizer::Bytes, Some(256));
        assert!(separator.is_err());
    }
}
