//! What layers that cut and choose chunks carry from one segment to the next: of each sequence the chunks that
//! are complete, the positions of the one that is not, and what was chosen for it.
//!
//! It grows with what was read, so it is no state of a fixed size, and no intervention sees it: a training
//! segment begins with an empty one. A clone shares all chunks. On a disk complete chunks are a file of their own for
//! each sequence, in the store's format, beside the file of everything else. That is written after them, so where its
//! writing fails the old one stands beside files that have chunks more, of the text that went on: these are left out.

use crate::Error;
use baton_retrieval::{Keeping, NONE, Store};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Of every sequence of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory(pub(super) Vec<Own>);

/// What a file says of the memory of a layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    layer: usize,
    /// Of each sequence how many chunks are in its file, and the rest.
    sequences: Vec<(Option<usize>, Own)>,
    /// Of each sequence the fingerprint of these chunks; files of older programs have none.
    #[serde(default)]
    fingerprints: Vec<Option<u64>>,
}

/// The file of a sequence's chunks.
fn beside(of: &Path, layer: usize, sequence: usize) -> PathBuf {
    let mut name = of.as_os_str().to_owned();
    name.push(format!(".{layer}.{sequence}.chunks"));
    name.into()
}

/// Of one sequence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Own {
    /// Complete chunks; absent before the first segment.
    #[serde(skip)]
    pub store: Option<Store>,
    /// The stream at the positions of the open chunk, [n, D].
    pub open: Vec<f32>,
    /// Chosen for the open chunk, [H, K].
    pub chosen: Vec<u32>,
    /// Their weights.
    pub weights: Vec<f32>,
}

impl Memory {
    /// Empty ones.
    pub(super) fn new(batch: usize) -> Self {
        Memory(vec![Own::default(); batch])
    }

    /// Of some sequences.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        Memory(self.0[rows].to_vec())
    }

    /// With those of more sequences after these.
    pub(crate) fn join(&mut self, more: Memory) {
        self.0.extend(more.0);
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.0.len()
    }

    /// Empties that of one sequence.
    pub(crate) fn clear(&mut self, sequence: usize) {
        self.0[sequence] = Own::default();
    }

    /// That of one sequence for each of `batch`.
    pub(crate) fn spread(self, batch: usize) -> Self {
        match self.0.len() {
            1 => Memory(vec![self.0[0].clone(); batch]),
            _ => self,
        }
    }

    /// Adds `rows` sequences that have read nothing.
    pub(crate) fn admit(&mut self, rows: usize) {
        self.0.resize(self.0.len() + rows, Own::default());
    }

    /// Writes complete chunks beside the file `of` that layer `layer`'s memory is kept in; what is said of them there.
    pub(crate) fn save(&self, of: &Path, layer: usize) -> Result<Kept, Error> {
        let own = self.0.iter().enumerate().map(|(sequence, own)| {
            if let Some(store) = &own.store {
                store.save(&beside(of, layer, sequence))?;
            }
            Ok((own.store.as_ref().map(Store::len), own.clone()))
        });
        let stores = self.0.iter().map(|own| own.store.as_ref());
        Ok(Kept {
            layer,
            sequences: own.collect::<Result<_, Error>>()?,
            fingerprints: stores.map(|store| store.map(Store::fingerprint)).collect(),
        })
    }

    /// What [`save`](Self::save) wrote, and its layer; later chunks are kept as `keeping` says.
    pub(crate) fn load(kept: Kept, of: &Path, keeping: &Keeping) -> Result<(usize, Self), Error> {
        let layer = kept.layer;
        let own = kept.sequences.into_iter().enumerate();
        let own = own.map(|(sequence, (count, mut own))| {
            if let Some(count) = count {
                let path = beside(of, layer, sequence);
                let store = Store::load(&path, keeping.clone())?;
                let there = store.len();
                let store = store.cut(count);
                let same = match kept.fingerprints.get(sequence).copied().flatten() {
                    Some(known) => store.fingerprint() == known,
                    None => there == count,
                };
                if store.len() < count || !same {
                    let of = of.display();
                    let what = format!(
                        "{there} chunks, expected the {count} that {of} was written with, and at most others after them"
                    );
                    return Err(Error::file(&path, what));
                }
                own.store = Some(store);
            }
            Ok(own)
        });
        Ok((layer, Memory(own.collect::<Result<_, Error>>()?)))
    }

    /// Complete chunks of the first sequence.
    pub fn chunks(&self) -> usize {
        let store = self.0.first().and_then(|own| own.store.as_ref());
        store.map_or(0, Store::len)
    }

    /// Bytes of all chunks, in memory and in files.
    pub fn bytes(&self) -> [u64; 2] {
        let all = self.0.iter().filter_map(|own| own.store.as_ref());
        all.fold([0; 2], |[a, b], store| {
            let [memory, file] = store.bytes();
            [a + memory, b + file]
        })
    }

    /// What was chosen last for the first sequence, best first, and the weights.
    pub fn chosen(&self) -> Vec<(u32, f32)> {
        let own = self.0.first();
        let pairs = own
            .into_iter()
            .flat_map(|own| own.chosen.iter().zip(&own.weights));
        let there = pairs.filter(|(chunk, _)| **chunk != NONE);
        there.map(|(&chunk, &weight)| (chunk, weight)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_retrieval::Layout;

    /// Of one sequence, whose chunks are these numbers.
    fn memory(numbers: Range<u8>) -> Memory {
        let layout = Layout {
            landmark: 2,
            keys: 3,
            values: 3,
        };
        let mut store = Store::new(layout, Keeping::default());
        for number in numbers {
            let x = f32::from(number);
            store.push(&[x; 2], &[x; 3], &[-x; 3]).unwrap();
        }
        Memory(vec![Own {
            store: Some(store),
            ..Own::default()
        }])
    }

    #[test]
    fn chunks_of_the_text_that_went_on_are_left_out_and_others_refused() {
        let folder = std::env::temp_dir().join(format!("baton-memory-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let of = folder.join("states.safetensors");
        let before = memory(0..5);
        let kept = before.save(&of, 1).unwrap();
        let load = |kept: &Kept| Memory::load(kept.clone(), &of, &Keeping::default());
        assert!(load(&kept).unwrap() == (1, before.clone()));
        // Chunks of more text were written, and then nothing that says so.
        memory(0..9).save(&of, 1).unwrap();
        assert!(load(&kept).unwrap() == (1, before));
        let older = Kept {
            fingerprints: Vec::new(),
            ..kept.clone()
        };
        for (numbers, kept, refused) in [
            (0..9, &older, true),
            (0..5, &older, false),
            (0..4, &older, true),
            (0..4, &kept, true),
            (1..6, &kept, true),
            (1..9, &kept, true),
        ] {
            memory(numbers.clone()).save(&of, 1).unwrap();
            let found = load(kept).err().map(|e| e.to_string());
            assert_eq!(found.is_some(), refused, "{numbers:?}");
            let named = found.is_none_or(|e| e.contains("chunks, expected the 5 that "));
            assert!(named, "{numbers:?}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
