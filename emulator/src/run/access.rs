//! Loads and stores: where an address leads, what is wrong with it, and the bytes.

use super::block::Machine;
use super::warp::{Warp, lanes};
use crate::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, Visit, WINDOW_BYTES};
use crate::op::{Access, Address};
use crate::report::Kind;
use crate::types::Space;

/// Where an access of one lane goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Buffer and offset.
    Global(usize, usize),
    /// Offset from the start of the block's shared memory.
    Shared(usize),
    Local(usize),
    Param(usize),
}

impl Machine<'_> {
    pub(super) fn visit(&self, warp: usize, lane: usize, at: u32, strong: bool) -> Visit {
        Visit {
            warp,
            lane,
            at,
            strong,
            block: self.serial,
            first_block: self.first_block,
            serial: self.executed as u32,
        }
    }

    /// The state space that a generic address leads to, and the address within.
    fn resolve(space: Space, address: u64) -> (Space, u64) {
        if space != Space::Generic {
            return (space, address);
        }
        let windows = [
            (SHARED_WINDOW, Space::Shared),
            (LOCAL_WINDOW, Space::Local),
            (PARAM_WINDOW, Space::Param),
        ];
        for (window, space) in windows {
            if (window..window + WINDOW_BYTES).contains(&address) {
                return (space, address - window);
            }
        }
        (Space::Global, address)
    }

    /// Finds the place of an access, or reports why there is none.
    pub(super) fn place(
        &mut self,
        warp: &Warp,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u32,
    ) -> Option<Place> {
        let (space, inner) = Self::resolve(space, address);
        if !inner.is_multiple_of(u64::from(bytes)) {
            self.report(Kind::Misaligned, warp.index, lane, |_| {
                let name = space.name();
                format!("{name} address {inner:#x} is no multiple of the access's {bytes} bytes")
            });
            return None;
        }
        let place = match space {
            Space::Global | Space::Const | Space::Generic => self
                .memory
                .find(inner, bytes)
                .map(|(buffer, offset)| Place::Global(buffer, offset)),
            Space::Shared => self.shared.find(inner, bytes).map(Place::Shared),
            Space::Local => warp.local.find(lane, inner, bytes).map(Place::Local),
            Space::Param => {
                let end = inner.checked_add(u64::from(bytes));
                let inside = end.is_some_and(|end| end <= self.parameters.len() as u64);
                inside.then_some(Place::Param(inner as usize))
            }
        };
        if place.is_none() {
            self.report(Kind::OutOfBounds, warp.index, lane, |machine| {
                let what = match space {
                    Space::Shared => {
                        let at = inner as i64 - machine.shared.base() as i64;
                        let size = machine.shared.size();
                        format!("byte {at} of the block's shared memory, which has {size} bytes")
                    }
                    Space::Local => {
                        let size = warp.local.size();
                        format!("byte {inner} of local memory, which has {size} bytes")
                    }
                    Space::Param => {
                        let size = machine.parameters.len();
                        format!("byte {inner} of the parameters, which have {size} bytes")
                    }
                    _ => machine.memory.describe(inner),
                };
                format!("an access of {bytes} bytes goes to {what}")
            });
        }
        place
    }

    pub(super) fn addresses(&mut self, warp: &mut Warp, address: Address, mask: u32) -> [u64; 32] {
        self.needs(warp, address.base, mask, "the address");
        let base = &warp.registers[address.base as usize];
        std::array::from_fn(|lane| base[lane].wrapping_add_signed(address.offset))
    }

    pub(super) fn load(&mut self, warp: &mut Warp, access: &Access, at: u32, mask: u32) {
        let addresses = self.addresses(warp, access.address, mask);
        let total = access.bytes * access.slots.len() as u32;
        let (mut global, mut shared) = (0, 0);
        let mut valid = [0u32; 4];
        let mut values = [[0u64; 32]; 4];
        for lane in lanes(mask) {
            let found = self.place(warp, lane, access.address.space, addresses[lane], total);
            let Some(place) = found else {
                for valid in &mut valid {
                    *valid |= 1 << lane;
                }
                continue;
            };
            match place {
                Place::Global(..) => global |= 1 << lane,
                Place::Shared(_) => shared |= 1 << lane,
                _ => {}
            }
            self.check_read(warp.index, lane, place, total, at, access.strong);
            for (i, _) in access.slots.iter().enumerate() {
                let (value, written) =
                    self.fetch(warp, place, access.bytes * i as u32, access.bytes);
                values[i][lane] = extend(value, access);
                valid[i] |= u32::from(written) << lane;
            }
        }
        self.count_global(&addresses, global, total, true);
        self.count_shared(&addresses, shared, total);
        for (i, &slot) in access.slots.iter().enumerate() {
            warp.write(slot, &values[i], mask);
            warp.mark(slot, mask, valid[i], self.line);
        }
    }

    /// One element at a place, and whether all of its bytes were written.
    fn fetch(&mut self, warp: &Warp, place: Place, skip: u32, bytes: u32) -> (u64, bool) {
        let skip = skip as usize;
        match place {
            Place::Global(buffer, offset) => {
                let store = self.memory.store(buffer);
                let range = offset + skip..offset + skip + bytes as usize;
                let written =
                    store.written.is_empty() || store.written[range.clone()].iter().all(|w| *w);
                let mut value = [0; 8];
                value[..bytes as usize].copy_from_slice(&store.bytes[range]);
                (u64::from_le_bytes(value), written)
            }
            Place::Shared(at) => self.shared.load(at + skip, bytes),
            Place::Local(at) => warp.local.read(at + skip, bytes),
            Place::Param(at) => {
                let mut value = [0; 8];
                let range = at + skip..at + skip + bytes as usize;
                value[..bytes as usize].copy_from_slice(&self.parameters[range]);
                (u64::from_le_bytes(value), true)
            }
        }
    }

    /// Whether a read races, or comes before an asynchronous copy has landed.
    pub(super) fn check_read(
        &mut self,
        warp: usize,
        lane: usize,
        place: Place,
        bytes: u32,
        at: u32,
        strong: bool,
    ) {
        let visit = self.visit(warp, lane, at, strong);
        let bytes = bytes as usize;
        let clash = match place {
            Place::Global(buffer, offset) => {
                let store = self.memory.store(buffer);
                if !store.writable {
                    return;
                }
                let size = store.bytes.len();
                let range = offset..offset + bytes;
                store.shadow.read(size, range, visit, &self.clocks)
            }
            Place::Shared(start) => {
                self.check_flight(warp, lane, start..start + bytes, "read");
                self.shared.read(start..start + bytes, visit, &self.clocks)
            }
            Place::Local(_) | Place::Param(_) => None,
        };
        if let Some(clash) = clash {
            let place = self.describe(place);
            self.report_clash(clash, warp, lane, false, &place);
        }
    }

    pub(super) fn check_write(
        &mut self,
        warp: usize,
        lane: usize,
        place: Place,
        bytes: u32,
        at: u32,
        strong: bool,
    ) {
        let visit = self.visit(warp, lane, at, strong);
        let bytes = bytes as usize;
        let clash = match place {
            Place::Global(buffer, offset) => {
                let store = self.memory.store(buffer);
                let size = store.bytes.len();
                let range = offset..offset + bytes;
                store.shadow.write(size, range, visit, &self.clocks)
            }
            Place::Shared(start) => {
                self.check_flight(warp, lane, start..start + bytes, "written");
                self.shared.write(start..start + bytes, visit, &self.clocks)
            }
            Place::Local(_) | Place::Param(_) => None,
        };
        if let Some(clash) = clash {
            let place = self.describe(place);
            self.report_clash(clash, warp, lane, true, &place);
        }
    }

    fn check_flight(&mut self, warp: usize, lane: usize, range: std::ops::Range<usize>, how: &str) {
        if self.shared.flying(range.clone()) {
            self.report(Kind::AsyncNotWaited, warp, lane, |_| {
                let start = range.start;
                format!(
                    "shared byte {start} is {how} while an asynchronous copy to it is in flight"
                )
            });
        }
    }

    fn describe(&self, place: Place) -> String {
        match place {
            Place::Global(buffer, offset) => format!("byte {offset} of buffer {buffer}"),
            Place::Shared(at) => format!("shared byte {at}"),
            Place::Local(at) | Place::Param(at) => format!("byte {at}"),
        }
    }

    /// Whether a place may be written; reports where not.
    pub(super) fn writable(&mut self, warp: usize, lane: usize, place: Place) -> bool {
        let writable = match place {
            Place::Global(buffer, _) => self.memory.store(buffer).writable,
            Place::Param(_) => false,
            _ => true,
        };
        if !writable {
            self.report(Kind::ReadOnly, warp, lane, |machine| {
                format!(
                    "{} is written, but is only read by this launch",
                    machine.describe(place)
                )
            });
        }
        writable
    }

    pub(super) fn store(&mut self, warp: &mut Warp, access: &Access, at: u32, mask: u32) {
        let addresses = self.addresses(warp, access.address, mask);
        let total = access.bytes * access.slots.len() as u32;
        let (mut global, mut shared) = (0, 0);
        for lane in lanes(mask) {
            let found = self.place(warp, lane, access.address.space, addresses[lane], total);
            let Some(place) = found.filter(|&place| self.writable(warp.index, lane, place)) else {
                continue;
            };
            match place {
                Place::Global(..) => global |= 1 << lane,
                Place::Shared(_) => shared |= 1 << lane,
                _ => {}
            }
            self.check_write(warp.index, lane, place, total, at, access.strong);
            for (i, &slot) in access.slots.iter().enumerate() {
                if matches!(place, Place::Global(..)) {
                    self.needs(warp, slot, 1 << lane, "what is stored");
                }
                let value = warp.get(slot, lane);
                let written = warp.valid[slot as usize] >> lane & 1 == 1;
                self.put(
                    warp,
                    place,
                    access.bytes * i as u32,
                    access.bytes,
                    (value, written),
                );
            }
        }
        self.count_global(&addresses, global, total, false);
        self.count_shared(&addresses, shared, total);
    }

    pub(super) fn put(
        &mut self,
        warp: &mut Warp,
        place: Place,
        skip: u32,
        bytes: u32,
        (value, written): (u64, bool),
    ) {
        let skip = skip as usize;
        match place {
            Place::Global(buffer, offset) => {
                let store = self.memory.store(buffer);
                let range = offset + skip..offset + skip + bytes as usize;
                let bytes = &value.to_le_bytes()[..bytes as usize];
                store.bytes[range.clone()].copy_from_slice(bytes);
                if !store.written.is_empty() {
                    store.written[range].fill(true);
                }
            }
            Place::Shared(at) => self.shared.save(at + skip, bytes, value, written),
            Place::Local(at) => warp.local.write(at + skip, bytes, value, written),
            Place::Param(_) => {}
        }
    }
}

/// A loaded element as the register holds it.
fn extend(value: u64, access: &Access) -> u64 {
    let Some(bits) = access.sign_to else {
        return value;
    };
    let unused = 64 - 8 * access.bytes;
    let wide = ((value << unused) as i64 >> unused) as u64;
    if bits >= 64 {
        wide
    } else {
        wide & ((1 << bits) - 1)
    }
}
