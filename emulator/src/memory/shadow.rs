//! Who touched a byte of global memory last, and whether the next touch races with that.
//!
//! Within a block the clock of `run::clocks` decides what is ordered; between blocks of a launch nothing is.
//! A byte keeps its last write and the reads since: of readers that are not ordered with each other it keeps
//! the set of warps and the oldest stamp, so that a race is only missed, never invented, where a partial
//! barrier covered some of them.

use crate::run::clocks::Clocks;

/// One access, as the shadow sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub warp: usize,
    pub lane: usize,
    /// Position in the program.
    pub at: u32,
    /// Volatile or atomic: such accesses do not race with each other.
    pub strong: bool,
    /// Serial number of the block.
    pub block: u32,
    /// The launch's first block.
    pub first_block: u32,
    /// Serial number of the warp instruction.
    pub serial: u32,
}

/// An earlier access that a new one races with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clash {
    pub wrote: bool,
    pub between_blocks: bool,
    pub at: u32,
    pub warp: usize,
    pub lane: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Write {
    block: u32,
    stamp: u32,
    at: u32,
    serial: u32,
    warp: u8,
    lane: u8,
    strong: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Read {
    block: u32,
    stamp: u32,
    at: u32,
    warps: u32,
    /// Lanes of `warp`.
    lanes: u32,
    warp: u8,
    strong: bool,
    /// Blocks of this launch other than `block` read too.
    others: bool,
}

/// The shadow of one buffer; made when the buffer is first touched by a kernel that may write it.
#[derive(Debug, Default)]
pub(crate) struct GlobalShadow {
    writes: Vec<Write>,
    reads: Vec<Read>,
}

pub(crate) fn little_endian(bytes: &[u8]) -> u64 {
    let mut value = [0; 8];
    value[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(value)
}

impl GlobalShadow {
    fn grow(&mut self, bytes: usize) {
        if self.writes.len() != bytes {
            self.writes = vec![Write::default(); bytes];
            self.reads = vec![Read::default(); bytes];
        }
    }

    pub fn read(
        &mut self,
        size: usize,
        range: std::ops::Range<usize>,
        visit: Visit,
        clocks: &Clocks,
    ) -> Option<Clash> {
        self.grow(size);
        let mut clash = None;
        for byte in range {
            let write = self.writes[byte];
            clash = clash.or(write.against(visit, clocks));
            let read = &mut self.reads[byte];
            let here = read.block == visit.block;
            let fresh = Read {
                block: visit.block,
                stamp: clocks.time(),
                at: visit.at,
                warps: 1 << visit.warp,
                lanes: 1 << visit.lane,
                warp: visit.warp as u8,
                strong: visit.strong,
                others: (read.block >= visit.first_block && !here && read.block != 0)
                    || read.others && read.block >= visit.first_block,
            };
            if !here || read.ordered_before(visit, clocks) {
                *read = fresh;
                continue;
            }
            let same = usize::from(read.warp) == visit.warp;
            read.lanes = if same {
                read.lanes | fresh.lanes
            } else {
                fresh.lanes
            };
            read.warp = fresh.warp;
            read.warps |= fresh.warps;
            read.strong &= visit.strong;
            read.at = visit.at;
        }
        clash
    }

    pub fn write(
        &mut self,
        size: usize,
        range: std::ops::Range<usize>,
        visit: Visit,
        clocks: &Clocks,
    ) -> Option<Clash> {
        self.grow(size);
        let mut clash = None;
        for byte in range {
            let write = &mut self.writes[byte];
            clash = clash.or(write.against(visit, clocks));
            clash = clash.or(self.reads[byte].against(visit, clocks));
            if write.stays_under(visit, clocks) {
                continue;
            }
            *write = Write {
                block: visit.block,
                stamp: clocks.time(),
                at: visit.at,
                serial: visit.serial,
                warp: visit.warp as u8,
                lane: visit.lane as u8,
                strong: visit.strong,
            };
        }
        clash
    }

    /// The position of a write to the range by this block later than an instruction's serial number.
    pub fn written_since(
        &self,
        range: std::ops::Range<usize>,
        block: u32,
        serial: u32,
    ) -> Option<u32> {
        let writes = self.writes.get(range)?;
        let later = writes
            .iter()
            .find(|w| w.block == block && w.serial > serial);
        later.map(|write| write.at)
    }
}

impl Write {
    /// An atomic operation after a plain write of the same thread, with no synchronisation since, leaves the
    /// plain write in place: whatever races with the one races with the other.
    fn stays_under(&self, visit: Visit, clocks: &Clocks) -> bool {
        visit.strong
            && !self.strong
            && self.block == visit.block
            && (usize::from(self.warp), usize::from(self.lane)) == (visit.warp, visit.lane)
            && self.stamp > clocks.synchronised(visit.warp)
    }

    fn against(&self, visit: Visit, clocks: &Clocks) -> Option<Clash> {
        if self.block < visit.first_block || self.block == 0 || (self.strong && visit.strong) {
            return None;
        }
        let (warp, lane) = (usize::from(self.warp), usize::from(self.lane));
        let between_blocks = self.block != visit.block;
        let ordered =
            !between_blocks && clocks.ordered((warp, lane), self.stamp, (visit.warp, visit.lane));
        (!ordered).then_some(Clash {
            wrote: true,
            between_blocks,
            at: self.at,
            warp,
            lane,
        })
    }
}

impl Read {
    fn clash(&self, between_blocks: bool, warp: usize, lane: usize) -> Option<Clash> {
        Some(Clash {
            wrote: false,
            between_blocks,
            at: self.at,
            warp,
            lane,
        })
    }

    fn against(&self, visit: Visit, clocks: &Clocks) -> Option<Clash> {
        if self.block < visit.first_block || self.block == 0 || (self.strong && visit.strong) {
            return None;
        }
        let lane = self.lanes.trailing_zeros() as usize & 31;
        if self.block != visit.block || self.others {
            return self.clash(true, usize::from(self.warp), lane);
        }
        let mut warps = self.warps;
        while warps != 0 {
            let warp = warps.trailing_zeros() as usize;
            warps &= warps - 1;
            let mut lanes = match warp == usize::from(self.warp) {
                true => self.lanes,
                false => 1,
            };
            if warp == visit.warp {
                lanes &= !(1 << visit.lane);
            }
            while lanes != 0 {
                let lane = lanes.trailing_zeros() as usize;
                lanes &= lanes - 1;
                if !clocks.ordered((warp, lane), self.stamp, (visit.warp, visit.lane)) {
                    return self.clash(false, warp, lane);
                }
            }
        }
        None
    }

    /// Whether every reader kept here is ordered before the visit, so that it may be forgotten.
    fn ordered_before(&self, visit: Visit, clocks: &Clocks) -> bool {
        self.against(
            Visit {
                strong: false,
                ..visit
            },
            clocks,
        )
        .is_none()
    }
}
