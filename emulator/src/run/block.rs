//! One block at a time: its warps, its barriers, its shared memory, and turns for the warps until all are done.

use super::clocks::Clocks;
use super::findings::Findings;
use super::launch::Launch;
use super::order;
use super::order::Dice;
use super::warp::{Status, Warp};
use crate::decode::{Program, SHARED_BASE};
use crate::lanes::Lanes;
use crate::memory::{Memory, Shared};
use crate::op::{BarrierKind, LaneMask, Slot, Special};
use crate::report::{Counts, Kind, Report};

/// One of the sixteen barriers while somebody has arrived at it.
#[derive(Debug)]
pub(super) struct Barrier {
    /// Threads expected; none: all of the block that have not exited.
    pub count: Option<u32>,
    pub line: u32,
    pub arrivals: Vec<Arrival>,
}

/// A warp's lanes at a barrier.
#[derive(Debug)]
pub(super) struct Arrival {
    pub warp: usize,
    pub line: u32,
    pub waits: bool,
    pub known: Vec<u32>,
    pub result: Option<(BarrierKind, Slot, u32)>,
    pub holding: u32,
    pub lanes: u32,
}

pub(crate) struct Machine<'a> {
    pub program: &'a Program,
    pub launch: &'a Launch,
    pub memory: &'a mut Memory,
    pub parameters: Vec<u8>,
    pub shared: Shared,
    pub clocks: Clocks,
    pub findings: Findings,
    pub counts: Counts,
    /// Executions of each kind of instruction.
    pub tally: Vec<u64>,
    pub block: [u32; 3],
    /// The block's serial number, and that of the launch's first.
    pub serial: u32,
    pub first_block: u32,
    pub barriers: [Option<Barrier>; 16],
    /// The line being executed.
    pub line: u32,
    pub executed: u64,
    /// The block is beyond running on; the next may be run.
    pub abandoned: bool,
    global_addresses: Vec<u64>,
    warps: Vec<Warp>,
    threads: u32,
}

/// In a shuffled schedule a warp runs at most so many instructions in a row.
const SHORT_RUN: u64 = 24;

impl<'a> Machine<'a> {
    pub fn new(
        program: &'a Program,
        module: u64,
        launch: &'a Launch,
        memory: &'a mut Memory,
        parameters: Vec<u8>,
    ) -> Machine<'a> {
        let threads: u32 = launch.block.iter().product();
        let count = threads.div_ceil(32) as usize;
        let globals = program.globals.iter();
        let global_addresses = globals
            .map(|(variable, _)| memory.variable(module, variable))
            .collect();
        let end = program.shared_end + u64::from(launch.dynamic_shared);
        let first_block = memory.blocks;
        Machine {
            program,
            launch,
            parameters,
            shared: Shared::new(SHARED_BASE, end, count),
            clocks: Clocks::new(memory.time, count),
            memory,
            findings: Findings::default(),
            counts: Counts::default(),
            tally: vec![0; program.kinds.len()],
            block: [0; 3],
            serial: first_block,
            first_block,
            barriers: [const { None }; 16],
            line: 0,
            executed: 0,
            abandoned: false,
            global_addresses,
            warps: (0..count).map(|index| Warp::new(index, program)).collect(),
            threads,
        }
    }

    /// The budget is spent.
    pub fn exhausted(&self) -> bool {
        self.executed >= self.launch.budget
    }

    pub fn finish(mut self) -> Report {
        self.memory.time = self.clocks.time();
        self.memory.blocks = self.serial;
        for (name, count) in self.program.kinds.iter().zip(&self.tally) {
            if *count > 0 {
                self.counts.instructions.insert(name.clone(), *count);
            }
        }
        Report {
            findings: self.findings.finish(),
            counts: self.counts,
        }
    }

    pub fn run_block(&mut self, block: [u32; 3]) {
        self.block = block;
        self.abandoned = false;
        self.barriers = [const { None }; 16];
        self.shared.clear();
        self.clocks.restart();
        let mut warps = std::mem::take(&mut self.warps);
        for warp in &mut warps {
            self.start(warp);
        }
        self.take_turns(&mut warps);
        self.warps = warps;
        self.serial += 1;
    }

    fn start(&self, warp: &mut Warp) {
        let first = 32 * warp.index as u32;
        let threads = (self.threads - first).min(32);
        warp.start(if threads == 32 {
            u32::MAX
        } else {
            (1 << threads) - 1
        });
        for &(slot, value) in &self.program.constants {
            warp.fill(slot, [value; 32]);
        }
        for ((_, slot), address) in self.program.globals.iter().zip(&self.global_addresses) {
            warp.fill(*slot, [*address; 32]);
        }
        for &(special, slot) in &self.program.specials {
            warp.fill(slot, self.special(special, warp.index));
        }
    }

    fn special(&self, special: Special, warp: usize) -> Lanes {
        let every = |value: u32| [u64::from(value); 32];
        let lane_wise = |f: &dyn Fn(usize) -> u32| std::array::from_fn(|lane| u64::from(f(lane)));
        match special {
            Special::Thread(axis) => lane_wise(&|lane| self.thread(warp, lane)[axis]),
            Special::BlockSize(axis) => every(self.launch.block[axis]),
            Special::Block(axis) => every(self.block[axis]),
            Special::GridSize(axis) => every(self.launch.grid[axis]),
            Special::Lane => lane_wise(&|lane| lane as u32),
            Special::Warp => every(warp as u32),
            Special::Warps => every(self.threads.div_ceil(32)),
            Special::LaneMask(mask) => lane_wise(&|lane| {
                let own = 1u32 << lane;
                match mask {
                    LaneMask::Equal => own,
                    LaneMask::Less => own - 1,
                    LaneMask::LessEqual => own | (own - 1),
                    LaneMask::Greater => !(own | (own - 1)),
                    LaneMask::GreaterEqual => !(own - 1),
                }
            }),
            Special::DynamicShared => every(self.launch.dynamic_shared),
            Special::TotalShared => every(self.shared.size() as u32),
            Special::Zero => every(0),
            Special::One => every(1),
        }
    }

    fn take_turns(&mut self, warps: &mut [Warp]) {
        let seed = self.launch.schedule_seed;
        let mut dice = Dice::new(order::mix(seed ^ u64::from(self.serial)));
        let mut next = 0;
        loop {
            let running = |warp: &Warp| warp.status == Status::Running;
            let ready = warps.iter().filter(|warp| running(warp)).count();
            if self.abandoned || ready == 0 {
                break;
            }
            let (chosen, turn) = if seed == 0 {
                let ahead = (0..warps.len()).map(|i| (next + i) % warps.len());
                let chosen = ahead.into_iter().find(|&i| running(&warps[i]));
                next = chosen.map_or(0, |i| i + 1);
                (chosen, u64::MAX)
            } else {
                let skip = dice.below(ready as u64) as usize;
                let mut candidates = (0..warps.len()).filter(|&i| running(&warps[i]));
                (candidates.nth(skip), 1 + dice.below(SHORT_RUN))
            };
            let Some(chosen) = chosen else {
                break;
            };
            self.run_warp(&mut warps[chosen], turn);
            self.meet_barriers(warps);
        }
        if !self.abandoned {
            self.report_waiting(warps);
        }
    }

    /// Runs a warp until it waits, is done, or its turn is over.
    fn run_warp(&mut self, warp: &mut Warp, turn: u64) {
        for _ in 0..turn {
            if self.abandoned || warp.status != Status::Running {
                return;
            }
            if warp.path().is_none() {
                warp.status = Status::Done;
                return;
            }
            if self.exhausted() {
                let lane = warp.live.trailing_zeros() as usize & 31;
                let budget = self.launch.budget;
                self.report(Kind::Endless, warp.index, lane, |_| {
                    format!("{budget} warp instructions were run without an end")
                });
                self.abandoned = true;
                return;
            }
            self.executed += 1;
            self.step(warp);
        }
    }
}
