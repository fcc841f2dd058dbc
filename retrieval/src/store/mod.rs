//! A store of chunks that only grows: landmarks in memory, keys and values there up to a bound and beyond it
//! in a file that is mapped into memory.
//!
//! Chunks lie in blocks. A block that is full never changes again, so a clone shares all of them and copies
//! one, the last, when it grows apart: a reader that comes back to a place costs what it then reads. The
//! oldest blocks in memory move to the file when the bound is passed. That file has no name (it is gone with the last
//! clone, also after a kill), is written by calls, so that a full disk is an error and no fault of a
//! page, and is read through the mapping.
//!
//! [`save`](Store::save) writes everything to one file, whole or not at all; [`load`](Store::load) maps
//! it and reads on, from its end or from where it once ended ([`cut`](Store::cut)). Offsets are 64 bits wide throughout.

mod block;
mod saved;
mod spill;
#[cfg(test)]
mod tests;

use crate::Error;
use crate::choose;
use block::{Block, Numbers};
use spill::Spill;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Chunks of a block of landmarks.
const LANDMARKS: usize = 256;
/// About the bytes of a block of keys and values.
const BYTES: usize = 4 << 20;

/// Numbers of each chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of its landmark.
    pub landmark: usize,
    /// Of its keys, all positions and heads.
    pub keys: usize,
    /// Of its values.
    pub values: usize,
}

/// Where chunks are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Bytes of keys and values in memory, blocks that are not full apart; what is beyond goes to a file.
    pub memory: u64,
    /// Where that file is made; without one a store that passes the bound is refused.
    pub folder: Option<PathBuf>,
    /// Whether keys and values are kept as bf16, rounded to nearest.
    pub half: bool,
}

impl Default for Keeping {
    /// In memory without a bound, in f32.
    fn default() -> Self {
        Keeping {
            memory: u64::MAX,
            folder: None,
            half: false,
        }
    }
}

impl Keeping {
    /// Where what passes the bound goes.
    fn folder(&self) -> Result<&Path, Error> {
        self.folder.as_deref().ok_or_else(|| {
            Error::Given(format!(
                "chunks of more than {} bytes in memory, and no folder for those beyond: give a folder or a larger bound",
                self.memory
            ))
        })
    }
}

/// Chunks in the order that they came in.
#[derive(Clone, Debug)]
pub struct Store {
    layout: Layout,
    keeping: Arc<Keeping>,
    numbers: Numbers,
    landmarks: Vec<Arc<Vec<f32>>>,
    blocks: Vec<Block>,
    len: usize,
    /// The first block that is in memory.
    first: usize,
    file: Arc<Mutex<Option<Spill>>>,
}

impl Store {
    /// An empty store.
    pub fn new(layout: Layout, keeping: Keeping) -> Self {
        let numbers = Numbers::of(keeping.half);
        Store {
            layout,
            keeping: Arc::new(keeping),
            numbers,
            landmarks: Vec::new(),
            blocks: Vec::new(),
            len: 0,
            first: 0,
            file: Arc::default(),
        }
    }

    /// Number of chunks.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Numbers of each chunk.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Bytes of keys and values in memory and in files.
    pub fn bytes(&self) -> [u64; 2] {
        let sum = |mapped: bool| {
            let blocks = self.blocks.iter().filter(|b| b.is_mapped() == mapped);
            blocks.map(|block| block.bytes().len() as u64).sum()
        };
        [sum(false), sum(true)]
    }

    /// Bytes of one chunk.
    fn chunk(&self) -> usize {
        (self.layout.keys + self.layout.values) * self.numbers.bytes()
    }

    /// Chunks of a block.
    fn block(&self) -> usize {
        (BYTES / self.chunk().max(1)).clamp(1, LANDMARKS)
    }

    /// Adds one chunk at the end.
    pub fn push(&mut self, landmark: &[f32], keys: &[f32], values: &[f32]) -> Result<(), Error> {
        let given = [landmark, keys, values].map(<[f32]>::len);
        let Layout {
            landmark: width,
            keys: of_keys,
            values: of_values,
        } = self.layout;
        if given != [width, of_keys, of_values] {
            return Err(Error::Given(format!(
                "a chunk of {given:?} numbers (landmark, keys, values) given, expected {:?}",
                [width, of_keys, of_values]
            )));
        }
        if self.len as u64 >= u64::from(crate::NONE) {
            return Err(Error::Given(format!(
                "a chunk given to a store of {}, which is as many as it holds",
                self.len
            )));
        }
        if self.len.is_multiple_of(LANDMARKS) {
            self.landmarks
                .push(Arc::new(Vec::with_capacity(LANDMARKS * width)));
        }
        if self.len.is_multiple_of(self.block()) {
            self.make_room()?;
            self.blocks.push(Block::empty());
        }
        if let Some(last) = self.landmarks.last_mut() {
            Arc::make_mut(last).extend_from_slice(landmark);
        }
        if let Some(last) = self.blocks.last_mut() {
            last.push(self.numbers, [keys, values]);
        }
        self.len += 1;
        Ok(())
    }

    /// Its first `len` chunks, or all if there are fewer: what it was when it had so many. A file stays as it is.
    pub fn cut(mut self, len: usize) -> Self {
        if len >= self.len {
            return self;
        }
        let (each, chunk, width) = (self.block(), self.chunk(), self.layout.landmark);
        self.landmarks.truncate(len.div_ceil(LANDMARKS));
        if let Some(last) = self.landmarks.last_mut() {
            let before = (len - 1) / LANDMARKS * LANDMARKS;
            Arc::make_mut(last).truncate((len - before) * width);
        }
        self.blocks.truncate(len.div_ceil(each));
        if let Some(last) = self.blocks.last_mut() {
            let before = (len - 1) / each * each;
            last.cut((len - before) * chunk);
        }
        // The last block is one in memory as soon as it grows.
        self.first = self.first.min(self.blocks.len().saturating_sub(1));
        self.len = len;
        self
    }

    /// Moves full blocks to the file, the oldest first, until the others keep to the bound.
    fn make_room(&mut self) -> Result<(), Error> {
        let each = (self.block() * self.chunk()) as u64;
        let most = (self.keeping.memory / each.max(1)) as usize;
        while self.blocks.len() - self.first > most {
            let block = &mut self.blocks[self.first];
            if !block.is_mapped() {
                let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
                let file = match &mut *file {
                    Some(file) => file,
                    none => none.insert(Spill::new(self.keeping.folder()?)?),
                };
                *block = file.write(block.bytes())?;
            }
            self.first += 1;
        }
        Ok(())
    }

    /// All landmarks, for [`choose`](choose::choose).
    pub fn landmarks(&self) -> Vec<choose::Block<'_>> {
        let blocks = self.landmarks.iter().enumerate();
        let blocks = blocks.map(|(i, landmarks)| choose::Block {
            first: i * LANDMARKS,
            landmarks,
        });
        blocks.collect()
    }

    /// Reads keys and values of one chunk.
    pub fn read(&self, chunk: usize, keys: &mut [f32], values: &mut [f32]) {
        let bytes = self.of(chunk);
        let (first, second) = bytes.split_at(self.layout.keys * self.numbers.bytes());
        self.numbers.read(first, keys);
        self.numbers.read(second, values);
    }

    fn of(&self, chunk: usize) -> &[u8] {
        let (each, size) = (self.block(), self.chunk());
        let begin = chunk % each * size;
        &self.blocks[chunk / each].bytes()[begin..begin + size]
    }

    /// Asks for chunks that will be read soon: those in a file are fetched meanwhile.
    pub fn ahead(&self, chunks: impl IntoIterator<Item = usize>) {
        let (each, size) = (self.block(), self.chunk());
        for chunk in chunks {
            self.blocks[chunk / each].ahead(chunk % each * size, size);
        }
    }
}

impl PartialEq for Store {
    /// Whether both hold the same bits, wherever these are.
    fn eq(&self, other: &Self) -> bool {
        self.layout == other.layout
            && self.numbers == other.numbers
            && self.len == other.len
            && self.landmarks == other.landmarks
            && (0..self.len).all(|chunk| self.of(chunk) == other.of(chunk))
    }
}
