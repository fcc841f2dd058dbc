//! Shared memory of one block: bytes, what is written, what an asynchronous copy is about to write, and the
//! last accesses. Reads are kept per warp, exactly: the rings of producer and consumer warps need it.

use std::ops::Range;

use super::POISON;
use super::shadow::{Clash, Visit, little_endian};
use crate::run::clocks::Clocks;

#[derive(Clone, Copy, Debug, Default)]
struct Write {
    stamp: u32,
    at: u32,
    warp: u8,
    lane: u8,
    strong: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Read {
    stamp: u32,
    at: u32,
    /// Lanes that read since their warp's last synchronisation.
    lanes: u32,
    strong: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    warps: usize,
    base: u64,
    bytes: Vec<u8>,
    written: Vec<bool>,
    /// Copies in flight to the byte.
    flying: Vec<u8>,
    writes: Vec<Write>,
    /// By byte, then warp.
    reads: Vec<Read>,
}

impl Shared {
    pub fn new(base: u64, end: u64, warps: usize) -> Shared {
        let size = end.saturating_sub(base) as usize;
        Shared {
            warps,
            base,
            bytes: vec![POISON; size],
            written: vec![false; size],
            flying: vec![0; size],
            writes: vec![Write::default(); size],
            reads: vec![Read::default(); size * warps],
        }
    }

    /// For the next block. The accesses stay: the clock has gone on, so that they count as ordered.
    pub fn clear(&mut self) {
        self.bytes.fill(POISON);
        self.written.fill(false);
        self.flying.fill(0);
    }

    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn base(&self) -> u64 {
        self.base
    }

    /// Where an access lies, if it lies inside.
    pub fn find(&self, address: u64, bytes: u32) -> Option<usize> {
        let at = address.checked_sub(self.base)?;
        let end = at.checked_add(u64::from(bytes))?;
        (end <= self.bytes.len() as u64).then_some(at as usize)
    }

    pub fn load(&self, at: usize, bytes: u32) -> (u64, bool) {
        let range = at..at + bytes as usize;
        let written = self.written[range.clone()].iter().all(|w| *w);
        (little_endian(&self.bytes[range]), written)
    }

    pub fn save(&mut self, at: usize, bytes: u32, value: u64, written: bool) {
        let range = at..at + bytes as usize;
        self.bytes[range.clone()].copy_from_slice(&value.to_le_bytes()[..bytes as usize]);
        self.written[range].fill(written);
    }

    pub fn flying(&self, range: Range<usize>) -> bool {
        self.flying[range].iter().any(|count| *count > 0)
    }

    pub fn launch_copy(&mut self, range: Range<usize>) {
        for count in &mut self.flying[range] {
            *count = count.saturating_add(1);
        }
    }

    /// A copy arrives: as a write of its thread, now.
    pub fn land_copy(
        &mut self,
        at: usize,
        bytes: &[u8],
        written: &[bool],
        visit: Visit,
        clocks: &Clocks,
    ) {
        for (i, (byte, written)) in bytes.iter().zip(written).enumerate() {
            self.bytes[at + i] = *byte;
            self.written[at + i] = *written;
            self.flying[at + i] = self.flying[at + i].saturating_sub(1);
            self.stamp(at + i, visit, clocks);
        }
    }

    fn stamp(&mut self, byte: usize, visit: Visit, clocks: &Clocks) {
        self.writes[byte] = Write {
            stamp: clocks.time(),
            at: visit.at,
            warp: visit.warp as u8,
            lane: visit.lane as u8,
            strong: visit.strong,
        };
    }

    fn against_write(&self, byte: usize, visit: Visit, clocks: &Clocks) -> Option<Clash> {
        let write = self.writes[byte];
        let (warp, lane) = (usize::from(write.warp), usize::from(write.lane));
        let unordered = write.stamp != 0
            && !(write.strong && visit.strong)
            && warp < self.warps
            && !clocks.ordered((warp, lane), write.stamp, (visit.warp, visit.lane));
        unordered.then_some(Clash {
            wrote: true,
            between_blocks: false,
            at: write.at,
            warp,
            lane,
        })
    }

    pub fn read(&mut self, range: Range<usize>, visit: Visit, clocks: &Clocks) -> Option<Clash> {
        let mut clash = None;
        for byte in range {
            clash = clash.or_else(|| self.against_write(byte, visit, clocks));
            let read = &mut self.reads[byte * self.warps + visit.warp];
            if read.stamp <= clocks.synchronised(visit.warp) {
                *read = Read {
                    strong: true,
                    ..Read::default()
                };
            }
            read.stamp = clocks.time();
            read.at = visit.at;
            read.lanes |= 1 << visit.lane;
            read.strong &= visit.strong;
        }
        clash
    }

    pub fn write(&mut self, range: Range<usize>, visit: Visit, clocks: &Clocks) -> Option<Clash> {
        let mut clash = None;
        for byte in range {
            clash = clash.or_else(|| self.against_write(byte, visit, clocks));
            if clash.is_none() {
                clash = self.against_reads(byte, visit, clocks);
            }
            let old = self.writes[byte];
            let own = (usize::from(old.warp), usize::from(old.lane)) == (visit.warp, visit.lane);
            let unsynchronised = old.stamp > clocks.synchronised(visit.warp);
            // As in global memory: a plain write stays under the same thread's atomic operations.
            if !(visit.strong && !old.strong && own && unsynchronised) {
                self.stamp(byte, visit, clocks);
            }
        }
        clash
    }

    fn against_reads(&self, byte: usize, visit: Visit, clocks: &Clocks) -> Option<Clash> {
        for warp in 0..self.warps {
            let read = self.reads[byte * self.warps + warp];
            if read.stamp == 0 || (read.strong && visit.strong) {
                continue;
            }
            let mut lanes = read.lanes;
            if warp == visit.warp {
                lanes &= !(1 << visit.lane);
            } else {
                // Other warps are ordered as a whole: one lane stands for all.
                lanes &= lanes.wrapping_neg();
            }
            while lanes != 0 {
                let lane = lanes.trailing_zeros() as usize;
                lanes &= lanes - 1;
                if !clocks.ordered((warp, lane), read.stamp, (visit.warp, visit.lane)) {
                    return Some(Clash {
                        wrote: false,
                        between_blocks: false,
                        at: read.at,
                        warp,
                        lane,
                    });
                }
            }
        }
        None
    }
}
