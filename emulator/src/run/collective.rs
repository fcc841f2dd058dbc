//! Instructions by which lanes of a warp exchange values.

use super::atomics::combine;
use super::block::Machine;
use super::warp::{Warp, lanes};
use crate::op::{AtomicOp, Shuffle, Slot, Vote};
use crate::report::Kind;
use crate::types::Type;

impl Machine<'_> {
    /// The lanes that a membermask names among those that execute; reports lanes that should be there.
    fn members(&mut self, warp: &mut Warp, members: Slot, mask: u32) -> u32 {
        let named = self.uniform(warp, members, mask) as u32;
        let outside = mask & !named;
        let absent = named & warp.live & !mask;
        if outside | absent != 0 {
            let lane = if outside != 0 { outside } else { mask }.trailing_zeros() as usize & 31;
            self.report(Kind::InactiveLane, warp.index, lane, |_| {
                format!(
                    "the mask {named:#010x} does not name the lanes that execute this, {mask:#010x}"
                )
            });
        }
        named & mask
    }

    /// All live lanes execute a warp-wide instruction; reports where not.
    pub(super) fn whole_warp(&mut self, warp: &Warp, mask: u32, what: &str) {
        if mask != u32::MAX {
            let lane = mask.trailing_zeros() as usize & 31;
            let what = what.to_string();
            self.report(Kind::InactiveLane, warp.index, lane, |_| {
                format!("{what} takes all 32 lanes of a warp; {mask:#010x} execute it")
            });
        }
    }

    pub(super) fn warp_sync(&mut self, warp: &mut Warp, members: Slot, mask: u32) {
        let members = self.members(warp, members, mask);
        if members == warp.live {
            self.clocks.synchronise(warp.index);
        } else {
            self.clocks.synchronise_some(warp.index, members);
        }
    }

    pub(super) fn shuffle(
        &mut self,
        warp: &mut Warp,
        mode: Shuffle,
        (d, p): (Slot, Option<Slot>),
        [a, b, c]: [Slot; 3],
        members: Slot,
        mask: u32,
    ) {
        let members = self.members(warp, members, mask);
        self.needs(warp, b, mask, "the lane operand");
        self.needs(warp, c, mask, "the clamp operand");
        let (mut values, mut inside, mut valid) = ([0; 32], [0; 32], 0);
        let origin = warp.origin[a as usize];
        for lane in lanes(mask) {
            let step = warp.get(b, lane) as usize & 31;
            let clamp = warp.get(c, lane) as usize;
            let segment = clamp >> 8 & 31;
            let clamp = clamp & 31;
            let highest = lane & segment | clamp & !segment;
            let lowest = lane & segment;
            let (from, within) = match mode {
                Shuffle::Up => (
                    lane.wrapping_sub(step),
                    lane as i64 - step as i64 >= highest as i64,
                ),
                Shuffle::Down => (lane + step, lane + step <= highest),
                Shuffle::Butterfly => (lane ^ step, lane ^ step <= highest),
                Shuffle::Index => {
                    let from = lowest | step & !segment;
                    (from, from <= highest)
                }
            };
            let from = if within { from } else { lane };
            if members >> from & 1 == 0 {
                self.report(Kind::InactiveLane, warp.index, lane, |_| {
                    format!("the value of lane {from} is asked for, which does not take part")
                });
            }
            values[lane] = warp.get(a, from);
            inside[lane] = u64::from(within);
            valid |= (warp.valid[a as usize] >> from & 1) << lane;
        }
        warp.write(d, &values, mask);
        warp.mark(d, mask, valid, origin);
        if let Some(p) = p {
            warp.write(p, &inside, mask);
        }
    }

    pub(super) fn vote(
        &mut self,
        warp: &mut Warp,
        mode: Vote,
        d: Slot,
        (p, negated): (Slot, bool),
        members: Slot,
        mask: u32,
    ) {
        let members = self.members(warp, members, mask);
        let mut holds = self.predicate(warp, p, mask, "the predicate");
        if negated {
            holds = mask & !holds;
        }
        let holds = holds & members;
        let value = match mode {
            Vote::All => u64::from(holds == members),
            Vote::Any => u64::from(holds != 0),
            Vote::Uniform => u64::from(holds == members || holds == 0),
            Vote::Ballot => u64::from(holds),
        };
        warp.write(d, &[value; 32], mask);
    }

    pub(super) fn elect(&mut self, warp: &mut Warp, d: Slot, p: Slot, members: Slot, mask: u32) {
        let members = self.members(warp, members, mask);
        let leader = members.trailing_zeros() as usize & 31;
        let chosen = std::array::from_fn(|lane| u64::from(lane == leader));
        warp.write(d, &[leader as u64; 32], mask);
        warp.write(p, &chosen, mask);
    }

    pub(super) fn reduce(
        &mut self,
        warp: &mut Warp,
        (op, signed): (AtomicOp, bool),
        d: Slot,
        a: Slot,
        members: Slot,
        mask: u32,
    ) {
        let members = self.members(warp, members, mask);
        self.needs(warp, a, mask, "the operand");
        let ty = if signed { Type::S32 } else { Type::U32 };
        let values = lanes(members).map(|lane| warp.get(a, lane));
        let value = values.reduce(|x, y| combine(op, ty, x, y)).unwrap_or(0);
        warp.write(d, &[value; 32], mask);
    }

    pub(super) fn matching(
        &mut self,
        warp: &mut Warp,
        all: bool,
        (d, p): (Slot, Option<Slot>),
        a: Slot,
        members: Slot,
        mask: u32,
    ) {
        let members = self.members(warp, members, mask);
        self.needs(warp, a, mask, "the operand");
        let values = warp.registers[a as usize];
        let equal = |value: u64| {
            let same = lanes(members).filter(|&lane| values[lane] == value);
            same.fold(0u32, |bits, lane| bits | 1 << lane)
        };
        let groups: [u64; 32] = std::array::from_fn(|lane| {
            let group = equal(values[lane]);
            u64::from(if all && group != members { 0 } else { group })
        });
        warp.write(d, &groups, mask);
        if let Some(p) = p {
            let whole = groups.map(|group| u64::from(group != 0));
            warp.write(p, &whole, mask);
        }
    }
}
