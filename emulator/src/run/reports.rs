//! What a block reports: where, of which thread, in which words.

use super::block::Machine;
use super::warp::Warp;
use crate::memory::Clash;
use crate::op::Slot;
use crate::report::{Finding, Kind};

impl Machine<'_> {
    /// Reports at the current instruction.
    pub(super) fn report(
        &mut self,
        kind: Kind,
        warp: usize,
        lane: usize,
        message: impl FnOnce(&Machine) -> String,
    ) {
        let line = self.line;
        self.report_at(line, kind, warp, lane, message);
    }

    pub(super) fn report_at(
        &mut self,
        line: u32,
        kind: Kind,
        warp: usize,
        lane: usize,
        message: impl FnOnce(&Machine) -> String,
    ) {
        if self.findings.again(line, kind) {
            return;
        }
        let finding = Finding {
            kind,
            kernel: self.program.name.clone(),
            line,
            block: self.block,
            thread: self.thread(warp, lane),
            message: message(self),
            count: 1,
        };
        self.findings.first(finding);
    }

    /// The coordinates of a lane's thread.
    pub(super) fn thread(&self, warp: usize, lane: usize) -> [u32; 3] {
        let index = (32 * warp + lane) as u32;
        let [x, y, _] = self.launch.block;
        [index % x, index / x % y, index / (x * y)]
    }

    pub(super) fn line_of(&self, at: u32) -> u32 {
        self.program.steps.get(at as usize).map_or(0, |s| s.line)
    }

    pub(super) fn report_clash(
        &mut self,
        clash: Clash,
        warp: usize,
        lane: usize,
        writes: bool,
        place: &str,
    ) {
        let kind = match clash.between_blocks {
            true => Kind::BlockRace,
            false => Kind::Race,
        };
        let place = place.to_string();
        self.report(kind, warp, lane, |machine| {
            let now = if writes { "written" } else { "read" };
            let then = if clash.wrote { "written" } else { "read" };
            let line = machine.line_of(clash.at);
            let by = match clash.between_blocks {
                true => "another block".to_string(),
                false => format!("thread {:?}", machine.thread(clash.warp, clash.lane)),
            };
            format!("{place} is {now} here and {then} by {by} in line {line}, with nothing to order them")
        });
    }

    /// Reports the lanes in which a register holds nothing, and takes it as written from there on.
    #[cold]
    pub(super) fn unwritten(&mut self, warp: &mut Warp, slot: Slot, lanes: u32, what: &str) {
        let lane = lanes.trailing_zeros() as usize;
        let origin = warp.origin[slot as usize];
        warp.valid[slot as usize] |= lanes;
        let what = what.to_string();
        self.report(Kind::Unwritten, warp.index, lane, |_| match origin {
            0 => format!("{what} is a register that nothing wrote"),
            line => format!("{what} was loaded in line {line} from bytes that nothing wrote"),
        });
    }
}
