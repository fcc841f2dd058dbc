//! Blocks of chunks, in memory or in a mapped file, and the numbers in them.

use half::bf16;
use memmap2::Mmap;
use std::sync::Arc;

/// How a number is kept: little-endian, in four bytes or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    F32,
    Bf16,
}

impl Numbers {
    pub fn of(half: bool) -> Self {
        if half { Numbers::Bf16 } else { Numbers::F32 }
    }

    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Numbers::F32 => 4,
            Numbers::Bf16 => 2,
        }
    }

    fn write(self, numbers: &[f32], out: &mut Vec<u8>) {
        match self {
            Numbers::F32 => numbers
                .iter()
                .for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            Numbers::Bf16 => {
                let rounded = numbers.iter().map(|&x| bf16::from_f32(x));
                rounded.for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
            }
        }
    }

    /// Reads as many numbers as `out` has.
    pub fn read(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Numbers::F32 => {
                let (numbers, _) = bytes.as_chunks::<4>();
                let pairs = out.iter_mut().zip(numbers);
                pairs.for_each(|(x, bytes)| *x = f32::from_le_bytes(*bytes));
            }
            Numbers::Bf16 => {
                let (numbers, _) = bytes.as_chunks::<2>();
                let pairs = out.iter_mut().zip(numbers);
                // The number is the upper half of an f32.
                pairs.for_each(|(x, &[low, high])| *x = f32::from_le_bytes([0, 0, low, high]));
            }
        }
    }
}

/// Consecutive chunks.
#[derive(Clone, Debug)]
pub enum Block {
    /// In memory.
    Memory(Arc<Vec<u8>>),
    /// A range of a mapped file.
    Mapped(Arc<Mmap>, usize, usize),
}

impl Block {
    pub fn empty() -> Self {
        Block::Memory(Arc::default())
    }

    pub fn is_mapped(&self) -> bool {
        matches!(self, Block::Mapped(..))
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Block::Memory(bytes) => bytes,
            Block::Mapped(map, from, to) => &map[*from..*to],
        }
    }

    /// Adds a chunk's parts; what is shared or mapped is copied first.
    pub fn push(&mut self, numbers: Numbers, parts: [&[f32]; 2]) {
        if self.is_mapped() {
            *self = Block::Memory(Arc::new(self.bytes().to_vec()));
        }
        if let Block::Memory(bytes) = self {
            let bytes = Arc::make_mut(bytes);
            parts.iter().for_each(|part| numbers.write(part, bytes));
        }
    }

    /// Leaves so many of its bytes; a file keeps all of them.
    pub fn cut(&mut self, size: usize) {
        match self {
            Block::Memory(bytes) => Arc::make_mut(bytes).truncate(size),
            Block::Mapped(_, from, to) => *to = (*to).min(*from + size),
        }
    }

    /// Asks the system for a part of it, which need not do anything.
    pub fn ahead(&self, from: usize, size: usize) {
        #[cfg(unix)]
        if let Block::Mapped(map, begin, _) = self {
            let _ = map.advise_range(memmap2::Advice::WillNeed, begin + from, size);
        }
        #[cfg(not(unix))]
        let _ = (from, size);
    }
}
