//! Byte-level text, and the windows that training reads from it.

use crate::windows::windows;
use crate::{Batch, Error, Sampling, Source, documents, fnv};
use std::path::Path;

/// The share of a text that training never sees.
pub const HELD_OUT: f64 = 0.15;

/// A text as bytes, cut into a part to train on and a part that training never sees. A source of
/// windows of the first.
#[derive(Clone, Debug)]
pub struct Text {
    /// Where it is from, and what is held out; goes into reports.
    pub name: String,
    /// To train on.
    pub train: Vec<u8>,
    /// To evaluate on.
    pub held_out: Vec<u8>,
}

impl Text {
    /// A text of one's own, a file or all files of a folder; its last 15 % are held out.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let texts = documents(path, None)?
            .into_iter()
            .map(|document| document.bytes);
        let bytes = texts.collect::<Vec<_>>().concat();
        Ok(Text::cut(&name.unwrap_or_default(), bytes, HELD_OUT))
    }

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

    /// Length and hash of the part that training never sees, which [`fingerprint`](Source::fingerprint) says nothing of.
    pub fn held_out_fingerprint(&self) -> String {
        fingerprint(&self.held_out)
    }
}

fn fingerprint(bytes: &[u8]) -> String {
    let hash = fnv(bytes.iter().map(|&byte| byte.into()));
    format!("{} bytes, {hash:016x}", bytes.len())
}

impl Source for Text {
    fn name(&self) -> String {
        self.name.clone()
    }

    /// Length and hash of the training part.
    fn fingerprint(&self) -> String {
        fingerprint(&self.train)
    }

    fn vocab_size(&self) -> usize {
        256
    }

    fn is_contiguous(&self) -> bool {
        true
    }

    fn batch(&self, index: u64, sampling: &Sampling) -> Result<Batch, Error> {
        let (starts, wrapped) = windows(self.train.len(), "bytes", index, sampling)?;
        let mut batch = Batch::new(Vec::new(), Vec::new());
        for &at in &starts {
            let window = &self.train[at..at + sampling.length + 1];
            let tokens = |bytes: &[u8]| bytes.iter().map(|&b| b as u32).collect::<Vec<_>>();
            batch.inputs.extend(tokens(&window[..sampling.length]));
            batch.targets.extend(tokens(&window[1..]));
        }
        batch.starts = wrapped.then(|| (0..sampling.batch).map(|b| b * sampling.length).collect());
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Order;

    fn text() -> Text {
        Text::cut("bytes", (0..=255).collect(), 0.0)
    }

    fn sampling(order: Order) -> Sampling {
        Sampling {
            seed: 1,
            batch: 4,
            length: 8,
            order,
        }
    }

    #[test]
    fn windows_are_a_function_of_their_number() {
        let (text, random) = (text(), sampling(Order::Random));
        let batch = text.batch(3, &random).unwrap();
        batch.check("text", &random).unwrap();
        assert_eq!(batch, text.batch(3, &random).unwrap());
        assert_ne!(batch, text.batch(4, &random).unwrap());
        for (input, target) in batch.inputs.iter().zip(&batch.targets) {
            assert_eq!(input + 1, *target);
        }
    }

    #[test]
    fn contiguous_windows_continue_their_slot_until_they_begin_anew() {
        let (text, contiguous) = (text(), sampling(Order::Contiguous));
        let read = |index| text.batch(index, &contiguous).unwrap();
        // 255 successors, four lanes of 63, seven windows of 8 each.
        for index in 0..14 {
            let (a, b) = (read(index), read(index + 1));
            let anew = (index + 1) % 7 == 0;
            assert_eq!(b.starts, anew.then(|| vec![0, 8, 16, 24]));
            for slot in 0..4 {
                assert_eq!(a.targets[slot * 8 + 7] == b.inputs[slot * 8], !anew);
            }
        }
    }

    #[test]
    fn a_text_too_short_is_refused() {
        let short = |bytes, order| {
            let text = Text::cut("bytes", vec![0; bytes], 0.0);
            text.batch(0, &sampling(order)).unwrap_err().to_string()
        };
        assert_eq!(
            short(8, Order::Random),
            "a text of 8 bytes to train on given, expected more than the training length 8: a longer text, or a \
             shorter --length"
        );
        assert_eq!(
            short(32, Order::Contiguous),
            "a text of 32 bytes to train on given, expected 4 lanes of more than the training length 8 each \
             to read it in order: a longer text, or less --batch or --length"
        );
    }
}
