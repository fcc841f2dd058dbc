//! What a launch says of itself: findings and counts.

use std::collections::BTreeMap;
use std::fmt;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An address outside of every buffer, or crossing a buffer's end.
    OutOfBounds,
    /// An address that is no multiple of the access's size.
    Misaligned,
    /// A write to a buffer that is only an input, or to constants.
    ReadOnly,
    /// A value that nothing wrote is computed with, decides something, or is stored to global memory.
    Unwritten,
    /// Two threads of a block touch a byte, one writes, and nothing orders them.
    Race,
    /// Two blocks touch a byte and one writes.
    BlockRace,
    /// A barrier that only some lanes of a warp reach.
    DivergentBarrier,
    /// Barriers that can never be met: warps wait for each other, or disagree on a barrier's count.
    MismatchedBarrier,
    /// The destination of an asynchronous copy is touched before the copy was waited for.
    AsyncNotWaited,
    /// The source of an asynchronous copy is written while the copy is in flight.
    AsyncSource,
    /// Asynchronous copies are in flight when their thread exits.
    AsyncUnfinished,
    /// A warp-wide instruction names or needs lanes that do not execute it.
    InactiveLane,
    /// The instruction budget ran out.
    Endless,
    /// A `trap`, or a branch index outside of its list.
    Trap,
}

/// One place that is wrong, with the first thread that showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// The kernel.
    pub kernel: String,
    /// The line of the PTX text, counted from 1.
    pub line: u32,
    /// The block of the first occurrence.
    pub block: [u32; 3],
    /// The thread of the first occurrence.
    pub thread: [u32; 3],
    /// What was found and what was expected.
    pub message: String,
    /// How often it was seen.
    pub count: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bx, by, bz] = self.block;
        let [x, y, z] = self.thread;
        write!(
            f,
            "{:?} in {} line {}, block ({bx},{by},{bz}) thread ({x},{y},{z}), {} times: {}",
            self.kind, self.kernel, self.line, self.count, self.message
        )
    }
}

/// What was executed. Instructions are counted per warp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Warp instructions by mnemonic.
    pub instructions: BTreeMap<String, u64>,
    /// Warp-wide matrix products.
    pub tensor_ops: u64,
    /// Multiply-adds of those.
    pub tensor_macs: u64,
    /// 32-byte sectors that global loads (asynchronous copies among them) touched.
    pub load_sectors: u64,
    /// The sectors that the same bytes would fill without gaps.
    pub ideal_load_sectors: u64,
    /// 32-byte sectors that global stores and atomics touched.
    pub store_sectors: u64,
    /// The sectors that the same bytes would fill without gaps.
    pub ideal_store_sectors: u64,
    /// Bytes that threads read from global memory.
    pub bytes_read: u64,
    /// Bytes that threads wrote to global memory.
    pub bytes_written: u64,
    /// Passes that shared memory took for its accesses.
    pub shared_wavefronts: u64,
    /// Passes beyond those that the same accesses take without bank conflicts.
    pub bank_conflicts: u64,
    /// Barriers that blocks completed.
    pub barriers: u64,
}

impl Counts {
    /// Warp instructions altogether.
    pub fn total(&self) -> u64 {
        self.instructions.values().sum()
    }

    /// Warp instructions whose mnemonic begins so.
    pub fn of(&self, prefix: &str) -> u64 {
        let of = self.instructions.iter();
        of.filter(|(name, _)| name.starts_with(prefix))
            .map(|(_, count)| count)
            .sum()
    }
}

/// What a launch found and counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One for each kind and line, by line.
    pub findings: Vec<Finding>,
    /// What was executed.
    pub counts: Counts,
}
