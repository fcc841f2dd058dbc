//! Asynchronous copies: read when issued, landed when waited for.
//!
//! Between the two the destination is in flight: to touch it is a finding, by the issuing thread too. When its
//! thread waits, a copy lands as that thread's write, so that other threads need a barrier after the wait.
//! Copies that were not committed belong to the next group: `wait_group` does not cover them.

use super::access::Place;
use super::block::Machine;
use super::warp::{Copy, Warp, lanes};
use crate::op::{Address, Slot};
use crate::report::Kind;

impl Machine<'_> {
    pub(super) fn copy_async(
        &mut self,
        warp: &mut Warp,
        (to, from): (Address, Address),
        bytes: u32,
        (size, ignore): (Option<Slot>, Option<Slot>),
        at: u32,
        mask: u32,
    ) {
        let targets = self.addresses(warp, to, mask);
        let sources = self.addresses(warp, from, mask);
        let ignored = match ignore {
            Some(p) => self.predicate(warp, p, mask, "the ignoring predicate"),
            None => 0,
        };
        if let Some(size) = size {
            self.needs(warp, size, mask, "the source's size");
        }
        let (mut global, mut shared) = (0, 0);
        for lane in lanes(mask) {
            let mut length = size.map_or(bytes, |slot| warp.get(slot, lane) as u32);
            if ignored >> lane & 1 == 1 {
                length = 0;
            }
            if length > bytes {
                self.report(Kind::OutOfBounds, warp.index, lane, |_| {
                    format!("{length} bytes are read for a copy of {bytes}")
                });
                length = bytes;
            }
            let Some(Place::Shared(start)) = self.place(warp, lane, to.space, targets[lane], bytes)
            else {
                continue;
            };
            let mut copy = Copy {
                lane,
                at,
                group: warp.groups[lane],
                to: start,
                bytes: [0; 16],
                written: [true; 16],
                length: bytes as usize,
                source: None,
                issued: self.executed as u32,
            };
            if length > 0
                && !self.read_source(warp, lane, from, sources[lane], length, bytes, &mut copy)
            {
                continue;
            }
            if length > 0 {
                global |= 1 << lane;
            }
            shared |= 1 << lane;
            self.check_write(warp.index, lane, Place::Shared(start), bytes, at, false);
            self.shared.launch_copy(start..start + bytes as usize);
            warp.copies.push(copy);
        }
        self.count_global(&sources, global, bytes, true);
        self.count_shared(&targets, shared, bytes);
    }

    #[allow(clippy::too_many_arguments, reason = "the operands of the instruction")]
    fn read_source(
        &mut self,
        warp: &Warp,
        lane: usize,
        from: Address,
        address: u64,
        length: u32,
        bytes: u32,
        copy: &mut Copy,
    ) -> bool {
        if !address.is_multiple_of(u64::from(bytes)) {
            self.report(Kind::Misaligned, warp.index, lane, |_| {
                format!("global address {address:#x} is no multiple of the copy's {bytes} bytes")
            });
            return false;
        }
        // The alignment is that of the whole copy; the bytes read may be fewer, and of any number.
        let place = match self.memory.find(address, length) {
            Some((buffer, offset)) => Some(Place::Global(buffer, offset)),
            None => {
                self.report(Kind::OutOfBounds, warp.index, lane, |machine| {
                    let what = machine.memory.describe(address);
                    format!("a copy of {length} bytes reads {what}")
                });
                None
            }
        };
        let Some(Place::Global(buffer, offset)) = place else {
            return false;
        };
        let _ = from;
        self.check_read(
            warp.index,
            lane,
            Place::Global(buffer, offset),
            length,
            copy.at,
            false,
        );
        let store = self.memory.store(buffer);
        let length = length as usize;
        copy.bytes[..length].copy_from_slice(&store.bytes[offset..offset + length]);
        if !store.written.is_empty() {
            copy.written[..length].copy_from_slice(&store.written[offset..offset + length]);
        }
        copy.source = Some((buffer, offset, length));
        true
    }

    /// `cp.async.wait_group` and `cp.async.wait_all`.
    pub(super) fn wait(&mut self, warp: &mut Warp, groups: Option<u32>, mask: u32) {
        let committed = warp.groups;
        let done = |copy: &Copy| {
            let mine = mask >> copy.lane & 1 == 1;
            let old = match groups {
                None => true,
                Some(left) => copy.group < committed[copy.lane].saturating_sub(left),
            };
            mine && old
        };
        self.land(warp, done, true);
    }

    /// Lands the copies that are chosen.
    pub(super) fn land(&mut self, warp: &mut Warp, chosen: impl Fn(&Copy) -> bool, checked: bool) {
        let copies = std::mem::take(&mut warp.copies);
        for copy in copies {
            if !chosen(&copy) {
                warp.copies.push(copy);
                continue;
            }
            if checked {
                self.check_source(warp.index, &copy);
            }
            let visit = self.visit(warp.index, copy.lane, copy.at, false);
            let (bytes, written) = (&copy.bytes[..copy.length], &copy.written[..copy.length]);
            self.shared
                .land_copy(copy.to, bytes, written, visit, &self.clocks);
        }
    }

    /// Whether the source was written after the copy was issued.
    fn check_source(&mut self, warp: usize, copy: &Copy) {
        let Some((buffer, offset, length)) = copy.source else {
            return;
        };
        let serial = self.serial;
        let store = self.memory.store(buffer);
        let range = offset..offset + length;
        let Some(at) = store.shadow.written_since(range, serial, copy.issued) else {
            return;
        };
        let line = self.line_of(copy.at);
        self.report_at(line, Kind::AsyncSource, warp, copy.lane, |machine| {
            let by = machine.line_of(at);
            format!("line {by} writes to the source of this copy while it is in flight")
        });
    }
}
