//! Local memory of one warp: the same layout in every lane, nothing shared.

use super::POISON;

#[derive(Debug, Default)]
pub(crate) struct Local {
    size: usize,
    bytes: Vec<u8>,
    written: Vec<bool>,
}

impl Local {
    pub fn new(size: u64) -> Local {
        let total = 32 * size as usize;
        Local {
            size: size as usize,
            bytes: vec![POISON; total],
            written: vec![false; total],
        }
    }

    pub fn clear(&mut self) {
        self.written.fill(false);
        self.bytes.fill(POISON);
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Where an access lies, if it lies inside.
    pub fn find(&self, lane: usize, address: u64, bytes: u32) -> Option<usize> {
        let end = address.checked_add(u64::from(bytes))?;
        (end <= self.size as u64).then(|| lane * self.size + address as usize)
    }

    pub fn read(&self, at: usize, bytes: u32) -> (u64, bool) {
        let range = at..at + bytes as usize;
        let written = self.written[range.clone()].iter().all(|w| *w);
        (super::shadow::little_endian(&self.bytes[range]), written)
    }

    pub fn write(&mut self, at: usize, bytes: u32, value: u64, written: bool) {
        let range = at..at + bytes as usize;
        self.bytes[range.clone()].copy_from_slice(&value.to_le_bytes()[..bytes as usize]);
        self.written[range].fill(written);
    }
}
