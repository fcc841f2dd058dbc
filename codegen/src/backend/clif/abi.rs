//! How compiled code is called: one array of 64-bit words for one task.
//!
//! | words | hold |
//! |---|---|
//! | 0 | steps of the task, at least 1 |
//! | 1 | heads of the task, at least 1 |
//! | 2 | address of the scratch, aligned to 64 bytes |
//! | 3 for each port | address of its first head and step; bytes from step to step (`Pace::Step`) or chunk to chunk (`Pace::Chunk`); bytes from head to head |
//! | 2 for each carry | address of its first head; bytes from head to head |
//!
//! Chunk c covers steps `c * C .. min(steps, (c + 1) * C)`. The dims of a port and of a carry are
//! contiguous. Words that a port has no use for (time of a `Pace::Task`, heads where they share)
//! are not read. Every address that compiled code touches is computed from these words.

use baton_ir::tile::{CarryId, PortId, TileProgram};

/// Steps of the task.
pub(super) const LEN: usize = 0;
/// Heads of the task.
pub(super) const HEADS: usize = 1;
/// The scratch.
pub(super) const SCRATCH: usize = 2;

/// The words of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abi {
    ports: usize,
    carries: usize,
}

impl Abi {
    /// The words of `program`.
    pub fn new(program: &TileProgram) -> Self {
        Self {
            ports: program.ports.len(),
            carries: program.carries.len(),
        }
    }

    /// Their number.
    pub fn words(&self) -> usize {
        3 + 3 * self.ports + 2 * self.carries
    }

    /// Where the three words of a port begin.
    pub fn port(&self, port: PortId) -> usize {
        3 + 3 * port.index()
    }

    /// Where the two words of a carry begin.
    pub fn carry(&self, carry: CarryId) -> usize {
        3 + 3 * self.ports + 2 * carry.index()
    }

    /// The words of a task whose ports and carries are still to be set.
    pub fn task(&self, len: usize, heads: usize, scratch: *mut u8) -> Vec<i64> {
        let mut words = vec![0; self.words()];
        words[LEN] = len as i64;
        words[HEADS] = heads as i64;
        words[SCRATCH] = scratch as i64;
        words
    }

    /// Sets where a port lies; strides in bytes.
    pub fn set_port(&self, words: &mut [i64], port: PortId, base: *mut u8, time: i64, head: i64) {
        words[self.port(port)..][..3].copy_from_slice(&[base as i64, time, head]);
    }

    /// Sets where a carry lies; stride in bytes.
    pub fn set_carry(&self, words: &mut [i64], carry: CarryId, base: *mut u8, head: i64) {
        words[self.carry(carry)..][..2].copy_from_slice(&[base as i64, head]);
    }
}
