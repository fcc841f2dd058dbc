//! One warp: its registers, its local memory, its copies in flight, and the stack of paths that have diverged.

use crate::decode::Program;
use crate::lanes::Lanes;
use crate::memory::Local;
use crate::op::{NOWHERE, Slot};

/// A path: lanes, where they are, and where they meet the others again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub at: u32,
    pub meet: u32,
    pub lanes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    /// At a barrier of this number.
    Waiting(u32),
    Done,
}

/// One thread's copy in flight.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub lane: usize,
    pub at: u32,
    pub group: u32,
    pub to: usize,
    pub bytes: [u8; 16],
    pub written: [bool; 16],
    pub length: usize,
    /// Buffer, offset and bytes read.
    pub source: Option<(usize, usize, usize)>,
    /// Serial number of the instruction that issued it.
    pub issued: u32,
}

#[derive(Debug)]
pub(super) struct Warp {
    pub index: usize,
    pub registers: Vec<Lanes>,
    /// Lanes in which a register holds a written value.
    pub valid: Vec<u32>,
    /// The line of the load that left a register unwritten; 0 where nothing ever wrote it.
    pub origin: Vec<u32>,
    pub frames: Vec<Frame>,
    /// Lanes that have not exited.
    pub live: u32,
    pub status: Status,
    pub local: Local,
    pub copies: Vec<Copy>,
    /// Groups of copies that each lane has committed.
    pub groups: [u32; 32],
}

impl Warp {
    pub fn new(index: usize, program: &Program) -> Warp {
        let slots = program.slots as usize;
        Warp {
            index,
            registers: vec![[0; 32]; slots],
            valid: vec![0; slots],
            origin: vec![0; slots],
            frames: vec![],
            live: 0,
            status: Status::Done,
            local: Local::new(program.local_bytes),
            copies: vec![],
            groups: [0; 32],
        }
    }

    /// For a block's start. Constants and special registers are set by the block.
    pub fn start(&mut self, live: u32) {
        self.valid.fill(0);
        self.origin.fill(0);
        self.local.clear();
        self.copies.clear();
        self.groups = [0; 32];
        self.live = live;
        self.frames.clear();
        self.frames.push(Frame {
            at: 0,
            meet: NOWHERE,
            lanes: live,
        });
        self.status = Status::Running;
    }

    pub fn fill(&mut self, slot: Slot, lanes: Lanes) {
        self.registers[slot as usize] = lanes;
        self.valid[slot as usize] = u32::MAX;
    }

    pub fn get(&self, slot: Slot, lane: usize) -> u64 {
        self.registers[slot as usize][lane]
    }

    pub fn set(&mut self, slot: Slot, lane: usize, value: u64) {
        self.registers[slot as usize][lane] = value;
        self.valid[slot as usize] |= 1 << lane;
    }

    /// Writes whole lanes under a mask.
    pub fn write(&mut self, slot: Slot, values: &Lanes, mask: u32) {
        let slot = slot as usize;
        if mask == u32::MAX {
            self.registers[slot] = *values;
        } else {
            let register = &mut self.registers[slot];
            for lane in 0..32 {
                if mask >> lane & 1 == 1 {
                    register[lane] = values[lane];
                }
            }
        }
        self.valid[slot] |= mask;
    }

    /// Marks whether lanes of a register hold written values, as `valid` says.
    pub fn mark(&mut self, slot: Slot, mask: u32, valid: u32, origin: u32) {
        let slot = slot as usize;
        self.valid[slot] = self.valid[slot] & !mask | valid & mask;
        if mask & !valid != 0 {
            self.origin[slot] = origin;
        }
    }

    /// The current path, once those that are finished or have met are gone.
    pub fn path(&mut self) -> Option<&mut Frame> {
        while let Some(frame) = self.frames.last() {
            if frame.lanes == 0 || frame.at == frame.meet || frame.at == NOWHERE {
                self.frames.pop();
            } else {
                break;
            }
        }
        self.frames.last_mut()
    }

    /// Sends lanes of the current path to places; they meet again at `meet`.
    pub fn branch(&mut self, places: &[(u32, u32)], meet: u32) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        let mut used = places.iter().filter(|(lanes, _)| *lanes != 0);
        if let (Some(&(_, at)), None) = (used.next(), used.next()) {
            frame.at = at;
            return;
        }
        if meet == frame.meet {
            self.frames.pop();
        } else {
            frame.at = meet;
        }
        for &(lanes, at) in places {
            if lanes != 0 && at != meet {
                self.frames.push(Frame { at, meet, lanes });
            }
        }
    }

    /// Lanes exit.
    pub fn exit(&mut self, lanes: u32) {
        self.live &= !lanes;
        for frame in &mut self.frames {
            frame.lanes &= !lanes;
        }
    }
}

/// The lanes of a mask, lowest first.
pub(super) fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let lane = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            lane
        })
    })
}
