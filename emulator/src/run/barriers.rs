//! Block barriers: who has arrived, when one is met, and who waits in vain.

use super::block::{Arrival, Barrier, Machine};
use super::warp::{Status, Warp};
use crate::op::{BarrierKind, Slot};
use crate::report::Kind;

/// A barrier instruction with its operands read.
pub(super) struct Call {
    pub kind: BarrierKind,
    pub id: u32,
    pub count: Option<u32>,
    pub d: Option<Slot>,
    /// Lanes whose predicate holds.
    pub holding: u32,
}

impl Machine<'_> {
    pub(super) fn barrier(&mut self, warp: &mut Warp, lanes: u32, call: Call) {
        let first = lanes.trailing_zeros() as usize & 31;
        if lanes != warp.live {
            let missing = (warp.live & !lanes).trailing_zeros() as usize;
            self.report(Kind::DivergentBarrier, warp.index, first, |machine| {
                format!(
                    "{} of the warp's {} live lanes reach this barrier; thread {:?} does not",
                    lanes.count_ones(),
                    warp.live.count_ones(),
                    machine.thread(warp.index, missing)
                )
            });
            self.abandoned = true;
            return;
        }
        if call.id > 15
            || call
                .count
                .is_some_and(|count| count == 0 || count % 32 != 0)
        {
            self.report(Kind::MismatchedBarrier, warp.index, first, |_| {
                let (id, count) = (call.id, call.count);
                format!(
                    "barriers are numbered 0 to 15 and count whole warps; found {id}, {count:?}"
                )
            });
            self.abandoned = true;
            return;
        }
        let line = self.line;
        let arrival = Arrival {
            warp: warp.index,
            line,
            waits: call.kind != BarrierKind::Arrive,
            known: self.clocks.arrive(warp.index),
            result: call.d.map(|d| (call.kind, d, lanes)),
            holding: call.holding,
            lanes,
        };
        if arrival.waits {
            warp.status = Status::Waiting(call.id);
        }
        let barrier = self.barriers[call.id as usize].get_or_insert(Barrier {
            count: call.count,
            line,
            arrivals: vec![],
        });
        let (count, other) = (barrier.count, barrier.line);
        barrier.arrivals.push(arrival);
        if count != call.count {
            self.report(Kind::MismatchedBarrier, warp.index, first, |_| {
                let describe = |count: Option<u32>| match count {
                    Some(count) => format!("{count} threads"),
                    None => "all threads".to_string(),
                };
                format!(
                    "barrier {} is for {} here and for {} in line {other}",
                    call.id,
                    describe(call.count),
                    describe(count)
                )
            });
            self.abandoned = true;
        }
    }

    /// Opens every barrier that has all its threads.
    pub(super) fn meet_barriers(&mut self, warps: &mut [Warp]) {
        for id in 0..self.barriers.len() {
            let Some(barrier) = &self.barriers[id] else {
                continue;
            };
            let arrived = barrier.arrivals.len() as u32 * 32;
            let met = match barrier.count {
                Some(count) => arrived >= count,
                None => warps.iter().all(|warp| {
                    warp.status == Status::Done
                        || barrier.arrivals.iter().any(|a| a.warp == warp.index)
                }),
            };
            if met && let Some(barrier) = self.barriers[id].take() {
                self.open(barrier, warps);
            }
        }
    }

    fn open(&mut self, barrier: Barrier, warps: &mut [Warp]) {
        self.counts.barriers += 1;
        let holding: u32 = barrier
            .arrivals
            .iter()
            .map(|a| a.holding.count_ones())
            .sum();
        let threads: u32 = barrier.arrivals.iter().map(|a| a.lanes.count_ones()).sum();
        for arrival in barrier.arrivals.iter().filter(|arrival| arrival.waits) {
            for other in &barrier.arrivals {
                self.clocks.learn(arrival.warp, &other.known);
            }
            let warp = &mut warps[arrival.warp];
            warp.status = Status::Running;
            if let Some((kind, d, lanes)) = arrival.result {
                let value = match kind {
                    BarrierKind::And => u64::from(holding == threads),
                    BarrierKind::Or => u64::from(holding > 0),
                    _ => u64::from(holding),
                };
                warp.write(d, &[value; 32], lanes);
            }
        }
    }

    /// Nobody runs: those that wait do so forever.
    pub(super) fn report_waiting(&mut self, warps: &[Warp]) {
        let mut waiting = vec![];
        for (id, barrier) in self.barriers.iter().enumerate() {
            for arrival in barrier.iter().flat_map(|barrier| &barrier.arrivals) {
                if arrival.waits && warps[arrival.warp].status == Status::Waiting(id as u32) {
                    waiting.push((id, arrival.warp, arrival.line, arrival.lanes));
                }
            }
        }
        let places: Vec<String> = waiting
            .iter()
            .map(|(id, warp, line, _)| format!("warp {warp} at barrier {id} in line {line}"))
            .collect();
        let places = places.join(", ");
        for (_, warp, line, lanes) in waiting {
            let lane = lanes.trailing_zeros() as usize & 31;
            self.report_at(line, Kind::MismatchedBarrier, warp, lane, |_| {
                format!("nobody can go on: {places}")
            });
        }
    }
}
