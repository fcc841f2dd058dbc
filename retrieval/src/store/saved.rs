//! The file that a store is saved to and taken up from.
//!
//! ```text
//! 0   8  "BATONCHK"
//! 8   4  version, 1                    all words little-endian
//! 12  4  bytes of a number of keys and values: 4 (f32) or 2 (bf16)
//! 16  8  numbers of a landmark
//! 24  8  numbers of a chunk's keys
//! 32  8  numbers of a chunk's values
//! 40  8  chunks
//! 48  8  a fingerprint of the landmarks (FNV-1a over words of 32 bits)
//! 56  8  zero
//! 64     landmarks as f32, chunk by chunk; then of each chunk its keys and its values
//! ```
//!
//! The length is said by the header, so a file that was cut off is refused. Keys and values carry no
//! fingerprint: a store is opened without reading them.

use super::block::{Block, Numbers};
use super::spill::{Part, unused, wrong};
use super::{Keeping, LANDMARKS, Layout, Store};
use crate::Error;
use memmap2::Mmap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"BATONCHK";
const VERSION: u32 = 1;
const HEADER: usize = 64;

/// FNV-1a over words.
fn fingerprint(blocks: &[Arc<Vec<f32>>]) -> u64 {
    let words = blocks.iter().flat_map(|block| block.iter());
    words.fold(0xcbf2_9ce4_8422_2325, |hash, x| {
        (hash ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01b3)
    })
}

pub(super) fn header(store: &Store) -> Vec<u8> {
    let Layout {
        landmark,
        keys,
        values,
    } = store.layout;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(store.numbers.bytes() as u32).to_le_bytes());
    let sizes = [landmark, keys, values, store.len].map(|size| size as u64);
    let rest = [fingerprint(&store.landmarks), 0];
    for word in sizes.into_iter().chain(rest) {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Writes a store.
pub(super) fn write(store: &Store, out: &mut impl Write) -> std::io::Result<()> {
    out.write_all(&header(store))?;
    for x in store.landmarks.iter().flat_map(|block| block.iter()) {
        out.write_all(&x.to_le_bytes())?;
    }
    for block in &store.blocks {
        out.write_all(block.bytes())?;
    }
    out.flush()
}

impl Store {
    /// A fingerprint of its landmarks, which tells it from a store of another text.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.landmarks)
    }

    /// Writes everything to a file, which is there whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let refuse = |e: std::io::Error| wrong(path, format!("cannot be written: {e}"));
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let part = Part(folder.join(unused()));
        let file = File::create_new(&part.0).map_err(refuse)?;
        let mut out = BufWriter::with_capacity(1 << 20, &file);
        write(self, &mut out).map_err(refuse)?;
        drop(out);
        file.sync_all().map_err(refuse)?;
        std::fs::rename(&part.0, path).map_err(refuse)
    }

    /// Takes up what [`save`](Self::save) wrote: the file is mapped, and what comes in is kept as
    /// `keeping` says, in the file's kind of numbers. A damaged file is refused.
    pub fn load(path: &Path, keeping: Keeping) -> Result<Self, Error> {
        let refuse = |what: &dyn ToString| {
            let what = what.to_string();
            wrong(path, format!("no store of chunks: {what}"))
        };
        let file = File::open(path).map_err(|e| wrong(path, e))?;
        // SAFETY: saved files are replaced, never written in place; nothing is trusted before it is checked.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| refuse(&e))?;
        if map.len() < HEADER || &map[..8] != MAGIC {
            return Err(refuse(&"expected one that begins with BATONCHK"));
        }
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| map[at + i]));
        let small = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| map[at + i]));
        if small(8) != VERSION {
            let version = small(8);
            return Err(refuse(&format!("version {version}, expected {VERSION}")));
        }
        let numbers = match small(12) {
            4 => Numbers::F32,
            2 => Numbers::Bf16,
            other => {
                return Err(refuse(&format!(
                    "numbers of {other} bytes, expected 4 or 2"
                )));
            }
        };
        let [landmark, keys, values, len] = [16, 24, 32, 40].map(word);
        // In 128 bits, as any word may stand in a damaged header.
        let each = (u128::from(keys) + u128::from(values)) * numbers.bytes() as u128;
        let expected = HEADER as u128 + u128::from(len) * (u128::from(landmark) * 4 + each);
        if expected != map.len() as u128 {
            return Err(refuse(&format!(
                "{} bytes, expected {expected} for {len} chunks: it was cut off or damaged",
                map.len()
            )));
        }
        let layout = Layout {
            landmark: landmark as usize,
            keys: keys as usize,
            values: values as usize,
        };
        let keeping = Keeping {
            half: numbers == Numbers::Bf16,
            ..keeping
        };
        let mut store = Store::new(layout, keeping);
        store.len = len as usize;
        let marks = HEADER + store.len * layout.landmark * 4;
        for bytes in map[HEADER..marks].chunks((LANDMARKS * layout.landmark * 4).max(1)) {
            let mut block = vec![0.0; bytes.len() / 4];
            Numbers::F32.read(bytes, &mut block);
            store.landmarks.push(Arc::new(block));
        }
        if fingerprint(&store.landmarks) != word(48) {
            return Err(refuse(&"its landmarks are not as they were written"));
        }
        let map = Arc::new(map);
        let each = store.block() * store.chunk();
        let mut from = marks;
        while from < map.len() {
            let to = map.len().min(from + each);
            store.blocks.push(Block::Mapped(map.clone(), from, to));
            from = to;
        }
        Ok(store)
    }
}
