//! Device memory: buffers with guarded address ranges, and what is known of each of their bytes.
//!
//! Every buffer begins 256 bytes into a 64 GiB window of its own, so that an address that leaves its buffer
//! meets no other. Addresses depend on the order of creation only.

mod local;
mod shadow;
mod shared;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::text::tree::Variable;
use crate::types::Space;
pub(crate) use local::Local;
pub(crate) use shadow::{Clash, GlobalShadow, Visit};
pub(crate) use shared::Shared;

/// Generic addresses of shared, local and parameter memory.
pub(crate) const SHARED_WINDOW: u64 = 1 << 40;
pub(crate) const LOCAL_WINDOW: u64 = 2 << 40;
pub(crate) const PARAM_WINDOW: u64 = 3 << 40;
pub(crate) const WINDOW_BYTES: u64 = 1 << 32;

const WINDOW_BITS: u32 = 36;
const FIRST_WINDOW: u64 = 0x100;
const OFFSET: u64 = 256;

/// What fills bytes that nothing wrote: a NaN in every format.
pub(crate) const POISON: u8 = 0xff;

/// A buffer of a [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer(usize);

/// The global memory that launches share.
#[derive(Debug, Default)]
pub struct Memory {
    buffers: Vec<Store>,
    /// Module variables, by module and name.
    variables: BTreeMap<(u64, String), usize>,
    /// Blocks run so far, over all launches: the serial number of the next one.
    pub(crate) blocks: u32,
    /// The clock of orderings, over all launches.
    pub(crate) time: u32,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub bytes: Vec<u8>,
    /// Bytes that were written; empty where all were from the start.
    pub written: Vec<bool>,
    pub writable: bool,
    pub shadow: GlobalShadow,
}

impl Memory {
    /// No buffers.
    pub fn new() -> Memory {
        Memory {
            blocks: 1,
            time: 1,
            ..Memory::default()
        }
    }

    fn push(&mut self, store: Store) -> Buffer {
        self.buffers.push(store);
        Buffer(self.buffers.len() - 1)
    }

    /// A buffer that kernels only read; a write to it is a finding.
    pub fn input(&mut self, bytes: &[u8]) -> Buffer {
        self.push(Store {
            bytes: bytes.to_vec(),
            written: vec![],
            writable: false,
            shadow: GlobalShadow::default(),
        })
    }

    /// A buffer that kernels read and write.
    pub fn in_out(&mut self, bytes: &[u8]) -> Buffer {
        self.push(Store {
            bytes: bytes.to_vec(),
            written: vec![],
            writable: true,
            shadow: GlobalShadow::default(),
        })
    }

    /// A buffer of which nothing is written yet.
    pub fn output(&mut self, bytes: usize) -> Buffer {
        self.push(Store {
            bytes: vec![POISON; bytes],
            written: vec![false; bytes],
            writable: true,
            shadow: GlobalShadow::default(),
        })
    }

    /// The buffer's device address.
    pub fn address(&self, buffer: Buffer) -> u64 {
        address(buffer.0)
    }

    /// The buffer's bytes; those that nothing wrote are 0xff.
    pub fn read(&self, buffer: Buffer) -> &[u8] {
        &self.buffers[buffer.0].bytes
    }

    /// The bytes that no kernel wrote, as ranges.
    pub fn unwritten(&self, buffer: Buffer) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = vec![];
        for (at, written) in self.buffers[buffer.0].written.iter().enumerate() {
            match ranges.last_mut() {
                _ if *written => {}
                Some(range) if range.end == at => range.end += 1,
                _ => ranges.push(at..at + 1),
            }
        }
        ranges
    }

    /// The address of a module's variable, made on first use.
    pub(crate) fn variable(&mut self, module: u64, variable: &Variable) -> u64 {
        let key = (module, variable.name.clone());
        if let Some(&index) = self.variables.get(&key) {
            return address(index);
        }
        let mut bytes = vec![0; variable.bytes as usize];
        if let Some(initial) = &variable.initial {
            bytes[..initial.len()].copy_from_slice(initial);
        }
        let buffer = match variable.space {
            Space::Const => self.input(&bytes),
            _ => self.in_out(&bytes),
        };
        self.variables.insert(key, buffer.0);
        address(buffer.0)
    }

    /// The buffer and offset of an access that lies within one buffer.
    pub(crate) fn find(&self, address: u64, bytes: u32) -> Option<(usize, usize)> {
        let index = (address >> WINDOW_BITS).checked_sub(FIRST_WINDOW)? as usize;
        let offset = (address & ((1 << WINDOW_BITS) - 1)).checked_sub(OFFSET)?;
        let store = self.buffers.get(index)?;
        let inside = offset + u64::from(bytes) <= store.bytes.len() as u64;
        inside.then_some((index, offset as usize))
    }

    pub(crate) fn store(&mut self, index: usize) -> &mut Store {
        &mut self.buffers[index]
    }

    /// Where an address is that lies in no buffer.
    pub(crate) fn describe(&self, address: u64) -> String {
        let index = (address >> WINDOW_BITS).checked_sub(FIRST_WINDOW);
        let known = index.and_then(|index| self.buffers.get(index as usize).map(|b| (index, b)));
        match known {
            Some((index, store)) => {
                let offset = (address & ((1 << WINDOW_BITS) - 1)) as i64 - OFFSET as i64;
                let size = store.bytes.len();
                format!("byte {offset} of buffer {index}, which has {size} bytes")
            }
            None => format!("address {address:#x}, which is in no buffer"),
        }
    }
}

fn address(index: usize) -> u64 {
    ((FIRST_WINDOW + index as u64) << WINDOW_BITS) + OFFSET
}
