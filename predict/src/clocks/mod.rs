//! The clocks of one multiprocessor: all warps that it holds, against its schedulers and units.
//!
//! A scheduler issues one instruction a clock, of the warp that went last as long as that can go on, else of the
//! oldest that can. A warp can when the clocks that its last instruction says are over, when the barriers that the
//! next one waits for are clear, and when its unit is free. Latencies of arithmetic need no table: they are in those
//! clocks, as the assembler knows them. Where nothing can be issued, time goes on to when something can.

mod parts;

use crate::machine::Machine;
use crate::sass::{Instruction, Listing};
use crate::unit::{Unit, Work};
use crate::walk::{Step, Walk};
use parts::{BARRIERS, Scheduler, Warp, few_left, number};

/// Clocks of work that may wait before shared memory until its queue stops warps. Not published: it
/// matters little, as warps wait for what they loaded anyway.
const QUEUE: f64 = 32.0;

/// What was busy, and for how long, in clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Busy {
    /// From the first instruction to the end of everything.
    pub clocks: f64,
    /// Instructions of the busiest scheduler.
    pub issued: f64,
    /// Its tensor core.
    pub tensor: f64,
    /// Its f32.
    pub float: f64,
    /// Its integers: the busier of products and the rest.
    pub integer: f64,
    /// Its exponentials.
    pub special: f64,
    /// Passes through shared memory.
    pub passes: f64,
    /// Bytes that are read from behind.
    pub read: f64,
    /// Bytes that are written there.
    pub written: f64,
}

/// What costs nothing in a run, to see what the rest comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without {
    /// Issue: every warp has a scheduler to itself.
    pub issue: bool,
    /// Tensor cores.
    pub tensor: bool,
    /// All other arithmetic.
    pub arithmetic: bool,
    /// Passes through shared memory.
    pub shared: bool,
    /// Memory: what is asked of it is there as if it were in the first cache.
    pub memory: bool,
}

impl Without {
    /// Nothing is in anyone's way: what is left is the chain of what waits for what.
    pub const CONTENTION: Without = Without {
        issue: true,
        tensor: true,
        arithmetic: true,
        shared: true,
        memory: false,
    };
}

/// Runs `blocks` blocks whose warps go these ways.
pub fn clocks(
    (listing, work): (&Listing, &[Work]),
    walks: &[Walk],
    blocks: usize,
    machine: &Machine,
    without: Without,
) -> Busy {
    let warps = walks.len() * blocks;
    let schedulers = if without.issue {
        warps
    } else {
        machine.schedulers
    };
    let warp = |index: usize| Warp::new(&walks[index % walks.len()].steps, index / walks.len());
    let mut all = Multiprocessor {
        code: &listing.code,
        work,
        machine,
        without,
        warps: (0..warps).map(warp).collect(),
        schedulers: vec![Scheduler::default(); schedulers.max(1)],
        meetings: vec![Meeting::default(); blocks],
        shared: 0.0,
        memory: 0.0,
        busy: Busy::default(),
    };
    all.run();
    all.busy
}

/// Who of a block has come to a barrier, by its number.
#[derive(Clone, Default)]
struct Meeting {
    arrived: std::collections::BTreeMap<u32, usize>,
}

struct Multiprocessor<'a> {
    code: &'a [Instruction],
    work: &'a [Work],
    machine: &'a Machine,
    without: Without,
    warps: Vec<Warp<'a>>,
    schedulers: Vec<Scheduler>,
    meetings: Vec<Meeting>,
    /// When the way through shared memory is free.
    shared: f64,
    /// When the way to memory is free.
    memory: f64,
    busy: Busy,
}

impl Multiprocessor<'_> {
    fn run(&mut self) {
        let mut now = 0;
        let mut end: f64 = 0.0;
        loop {
            let mut next = u64::MAX;
            let mut issued = false;
            for scheduler in 0..self.schedulers.len() {
                match self.pick(scheduler, now) {
                    Ok(warp) => {
                        end = end.max(self.issue(scheduler, warp, now));
                        issued = true;
                    }
                    Err(first) => next = next.min(first),
                }
            }
            if issued {
                now += 1;
            } else if next == u64::MAX {
                break;
            } else {
                now = next;
            }
        }
        let busiest =
            |f: &dyn Fn(&Scheduler) -> f64| self.schedulers.iter().map(f).fold(0.0, f64::max);
        let busy = Busy {
            clocks: end.max(self.shared).max(self.memory),
            issued: busiest(&|s| s.issued as f64),
            tensor: busiest(&|s| s.spent[0]),
            float: busiest(&|s| s.spent[1]),
            integer: busiest(&|s| s.spent[2].max(s.spent[3])),
            special: busiest(&|s| s.spent[4]),
            ..self.busy
        };
        self.busy = busy;
    }

    /// The warp that goes now, or when the first one can.
    fn pick(&self, scheduler: usize, now: u64) -> Result<usize, u64> {
        let mut first = u64::MAX;
        let mut chosen = None;
        let last = self.schedulers[scheduler].last;
        for warp in (scheduler..self.warps.len()).step_by(self.schedulers.len()) {
            let Some(earliest) = self.earliest(scheduler, &self.warps[warp]) else {
                continue;
            };
            if earliest > now {
                first = first.min(earliest);
            } else if last == Some(warp) {
                return Ok(warp);
            } else {
                chosen = chosen.or(Some(warp));
            }
        }
        chosen.ok_or(first)
    }

    /// When a warp's next instruction can be issued; none where it waits for others, or is through.
    fn earliest(&self, scheduler: usize, warp: &Warp) -> Option<u64> {
        if warp.done() || warp.meeting.is_some() {
            return None;
        }
        let step = &warp.steps[warp.at];
        let instruction = &self.code[step.index];
        let work = &self.work[step.index];
        let mut first = warp.ready;
        for (barrier, times) in warp.barriers.iter().enumerate() {
            if instruction.control.wait >> barrier & 1 == 1 {
                first = times.iter().fold(first, |first, &time| first.max(time));
            }
        }
        if instruction.base() == "DEPBAR" {
            first = first.max(few_left(instruction, warp));
        }
        if step.lanes != 0 && !self.free(work.unit) {
            let free = match work.unit {
                Unit::Shared | Unit::Memory | Unit::Local => self.shared - QUEUE,
                unit => self.schedulers[scheduler].free(unit),
            };
            first = first.max(free.max(0.0).floor() as u64);
        }
        Some(first)
    }

    /// Issues a warp's next instruction; gives when everything of it is over.
    fn issue(&mut self, scheduler: usize, index: usize, now: u64) -> f64 {
        let step = self.warps[index].steps[self.warps[index].at];
        let instruction = &self.code[step.index];
        let work = self.work[step.index];
        let (read, there) = self.execute(scheduler, &work, step, now);
        let control = instruction.control;
        let own = &mut self.schedulers[scheduler];
        own.issued += 1;
        own.last = (!control.yields).then_some(index);
        let warp = &mut self.warps[index];
        warp.at += 1;
        warp.ready = now + u64::from(control.stall.max(1));
        for times in &mut warp.barriers {
            times.retain(|time| *time > now);
        }
        let mut there = there.ceil() as u64;
        match instruction.base() {
            "LDGSTS" => warp.copies = warp.copies.max(there),
            "LDGDEPBAR" => there = there.max(warp.copies),
            _ => {}
        }
        for (barrier, time) in [(control.write, there), (control.read, read.ceil() as u64)] {
            if let Some(barrier) = barrier {
                warp.barriers[usize::from(barrier).min(BARRIERS - 1)].push(time);
            }
        }
        let block = warp.block;
        if instruction.base() == "BAR" && !instruction.has("ARV") {
            let barrier = number(instruction, 0).unwrap_or(0);
            warp.meeting = Some(barrier);
            *self.meetings[block].arrived.entry(barrier).or_default() += 1;
            self.meet(block, barrier, number(instruction, 1), now);
        } else if warp.done() {
            let open: Vec<u32> = self.meetings[block].arrived.keys().copied().collect();
            for barrier in open {
                self.meet(block, barrier, None, now);
            }
        }
        (now + 1).max(read.ceil() as u64) as f64
    }

    /// Whether a unit is nobody's bottleneck in this run.
    fn free(&self, unit: Unit) -> bool {
        match unit {
            Unit::Tensor => self.without.tensor,
            Unit::Float | Unit::Product | Unit::Integer | Unit::Special => self.without.arithmetic,
            Unit::Shared | Unit::Memory | Unit::Local => self.without.shared,
            Unit::Constant | Unit::Other => true,
        }
    }

    /// Gives work to a unit: when its operands are read, and when its result is there.
    fn execute(&mut self, scheduler: usize, work: &Work, step: Step, now: u64) -> (f64, f64) {
        let now = now as f64;
        let machine = self.machine;
        if step.lanes == 0 {
            return (now + 1.0, now + 1.0);
        }
        let own = &mut self.schedulers[scheduler];
        if let Some((free, place)) = own.unit(work.unit) {
            *free = free.max(now) + work.clocks;
            own.spent[place] += work.clocks;
            return (now + 1.0, now + f64::from(machine.special_latency));
        }
        let passes = f64::from(step.passes);
        let begin = match (work.unit, self.without.shared) {
            (Unit::Constant, _) => return (now + 1.0, now + f64::from(machine.cached_latency)),
            (Unit::Other, _) => return (now + 1.0, now + f64::from(machine.shared_latency)),
            (_, true) => now,
            (_, false) => self.shared.max(now),
        };
        self.busy.passes += passes;
        self.shared = begin + passes;
        let through = begin + passes;
        match work.unit {
            Unit::Memory => {
                let bytes = f64::from(work.width * step.lanes.count_ones());
                let (read, written) = (work.reads, work.writes);
                self.busy.read += if read { bytes } else { 0.0 };
                self.busy.written += if written { bytes } else { 0.0 };
                // A burst goes at the port's rate; what memory can do is a bound of the whole launch.
                let sent = match self.without.memory || self.without.shared {
                    true => begin,
                    false => self.memory.max(begin) + bytes / machine.port,
                };
                self.memory = sent;
                let latency = match self.without.memory {
                    true => machine.cached_latency,
                    false => machine.memory_latency,
                };
                (through, sent + f64::from(latency))
            }
            Unit::Local => (through, through + f64::from(machine.cached_latency)),
            _ => (through, through - 1.0 + f64::from(machine.shared_latency)),
        }
    }

    /// Lets a block's warps go on where all of them have come; who is through is not waited for.
    fn meet(&mut self, block: usize, barrier: u32, threads: Option<u32>, now: u64) {
        let mine = |warp: &Warp| warp.block == block;
        let alive = self
            .warps
            .iter()
            .filter(|w| mine(w) && (!w.done() || w.meeting.is_some()));
        let expected = threads.map_or(alive.count(), |threads| threads as usize / 32);
        let arrived = &mut self.meetings[block].arrived;
        if arrived
            .get(&barrier)
            .is_some_and(|&count| count >= expected)
        {
            arrived.remove(&barrier);
            for warp in &mut self.warps {
                if warp.block == block && warp.meeting == Some(barrier) {
                    warp.meeting = None;
                    warp.ready = warp.ready.max(now + 1);
                }
            }
        }
    }
}
