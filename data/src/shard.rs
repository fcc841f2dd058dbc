//! One file of tokens, mapped.

use memmap2::Mmap;
use std::ops::Range;

/// One mapped file.
#[derive(Debug)]
pub struct Shard {
    pub(crate) map: Mmap,
    /// The bytes of the tokens.
    pub(crate) tokens: Range<usize>,
    /// Bytes of a token, 2 or 4.
    pub(crate) width: usize,
}

impl Shard {
    /// Tokens in it.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.width
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the tokens of a range.
    pub(crate) fn read(&self, range: Range<usize>, to: &mut Vec<u32>) {
        let from = self.tokens.start;
        let bytes = &self.map[from + range.start * self.width..from + range.end * self.width];
        match self.width {
            2 => to.extend(
                bytes
                    .chunks_exact(2)
                    .map(|b| u16::from_le_bytes([b[0], b[1]]) as u32),
            ),
            _ => to.extend(
                (bytes.chunks_exact(4)).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            ),
        }
    }
}
