//! A launch's time: rounds of blocks over all multiprocessors, and rounds of the loop within a block.
//!
//! A few rounds of the loop are run to the clock; more of them are as long as the last ones were. The parts are what
//! the launch would take if one thing alone took time, so each is a bound from below, and the largest says what to
//! change first.

use crate::Error;
use crate::clocks::{Busy, Without, clocks};
use crate::machine::Machine;
use crate::sass::Listing;
use crate::unit::{Work, works};
use crate::walk::Walk;
use std::collections::BTreeMap;

/// Rounds of the loop that are run to the clock, and of a shorter run by which one round is told from the rest.
const FEW: [usize; 2] = [4, 8];

/// What is launched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Launch {
    /// Blocks.
    pub blocks: usize,
    /// Threads of a block.
    pub threads: usize,
    /// Registers of a thread.
    pub registers: usize,
    /// Bytes of shared memory of a block.
    pub shared_bytes: usize,
    /// Rounds of the longest loop in each.
    pub rounds: usize,
    /// Bytes that the launch must read from memory at least; what it reads beyond them comes from the second cache.
    /// Where none are given, all come from memory.
    pub unique: Option<f64>,
}

/// Seconds that the launch would take if one thing alone took time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// Issuing its instructions.
    pub issue: f64,
    /// What waits for what, were nothing else in the way.
    pub chain: f64,
    /// Tensor cores.
    pub tensor: f64,
    /// Sums and products of f32.
    pub float: f64,
    /// Integers, comparisons, selections.
    pub integer: f64,
    /// Exponentials.
    pub special: f64,
    /// Shared memory.
    pub shared: f64,
    /// The second cache.
    pub cache: f64,
    /// Memory.
    pub memory: f64,
    /// Launching it.
    pub launch: f64,
}

impl Parts {
    /// All, with their names.
    pub fn named(&self) -> [(&'static str, f64); 10] {
        [
            ("issue", self.issue),
            ("chain", self.chain),
            ("tensor", self.tensor),
            ("float", self.float),
            ("integer", self.integer),
            ("special", self.special),
            ("shared", self.shared),
            ("cache", self.cache),
            ("memory", self.memory),
            ("launch", self.launch),
        ]
    }

    /// The largest.
    pub fn largest(&self) -> (&'static str, f64) {
        let named = self.named();
        named.into_iter().fold(
            ("launch", 0.0),
            |most, one| {
                if one.1 > most.1 { one } else { most }
            },
        )
    }
}

/// What a launch would take.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Seconds.
    pub seconds: f64,
    /// Bounds from below.
    pub parts: Parts,
    /// Blocks that a multiprocessor holds at once.
    pub resident: usize,
    /// How often blocks follow each other on the busiest multiprocessor.
    pub turns: usize,
    /// Clocks of one round of the loop, of all blocks that are resident.
    pub round_clocks: f64,
    /// What is busy in one round, in clocks.
    pub round: Busy,
    /// Instructions of a warp in one round, by opcode without modifiers; the mean of a block's warps.
    pub counts: BTreeMap<String, f64>,
    /// Clocks that one round would take less, were one thing free and all else as it is.
    pub savings: Vec<(&'static str, f64)>,
    /// Bytes that the launch reads.
    pub read: f64,
    /// Bytes that it writes.
    pub written: f64,
    /// Addresses of loops that were gone through once as nothing is known of how often they go round.
    pub once: Vec<u32>,
}

/// Predicts a launch of a kernel.
pub fn predict(listing: &Listing, launch: &Launch, machine: &Machine) -> Result<Prediction, Error> {
    let resident = machine.resident(launch.threads, launch.registers, launch.shared_bytes);
    if launch.blocks == 0 || launch.threads == 0 || resident == 0 {
        return Err(Error::Launch {
            what: format!(
                "{} blocks of {} threads with {} registers and {} bytes of shared memory given, expected some that a \
                 multiprocessor of an {} holds",
                launch.blocks, launch.threads, launch.registers, launch.shared_bytes, machine.name
            ),
        });
    }
    let work = works(listing, machine);
    let [few, more] = FEW.map(|most| launch.rounds.clamp(1, most));
    let [short, long] = [few, more].map(|rounds| -> Result<Vec<Walk>, Error> {
        let warps = 0..launch.threads.div_ceil(32) as u32;
        warps
            .map(|warp| Walk::new(listing, &work, warp, rounds))
            .collect()
    });
    let (short, long) = (short?, long?);
    let whole = |short: f64, long: f64| match more > few {
        true => long + (long - short) / (more - few) as f64 * (launch.rounds - more) as f64,
        false => long,
    };
    let bytes = |reads: bool| {
        let of = |walks: &[Walk]| {
            walks
                .iter()
                .map(|walk| moved(walk, &work, reads))
                .sum::<f64>()
        };
        launch.blocks as f64 * whole(of(&short), of(&long))
    };
    let (read, written) = (bytes(true), bytes(false));
    let from_memory = launch.unique.unwrap_or(read).min(read) / read.max(1.0);
    let of_one = launch.blocks.div_ceil(machine.multiprocessors);
    let at_once = resident.min(of_one);
    let run = |blocks: usize, without: Without| {
        let of = |walks: &[Walk]| clocks((listing, &work), walks, blocks, machine, without);
        (of(&short), of(&long))
    };
    let together = run(at_once, Without::default());
    let last = match of_one % at_once {
        0 => None,
        rest => Some(run(rest, Without::default())),
    };
    let alone = run(1, Without::CONTENTION);
    let full = (of_one / at_once) as f64;
    // Of full turns and a last one with fewer blocks.
    let all = |f: &dyn Fn(&Busy) -> f64| {
        let of = |(short, long): &(Busy, Busy)| whole(f(short), f(long));
        (full * of(&together) + last.as_ref().map_or(0.0, of)) / machine.hertz
    };
    let turns = of_one.div_ceil(at_once);
    let chain = whole(alone.0.clocks, alone.1.clocks) * turns as f64 / machine.hertz;
    let parts = Parts {
        issue: all(&|busy| busy.issued),
        chain,
        tensor: all(&|busy| busy.tensor),
        float: all(&|busy| busy.float),
        integer: all(&|busy| busy.integer),
        special: all(&|busy| busy.special),
        shared: all(&|busy| busy.passes),
        cache: (read + written) / machine.cache,
        memory: (read * from_memory + written) / machine.memory,
        launch: machine.launch,
    };
    let seconds = all(&|busy| busy.clocks).max(parts.cache).max(parts.memory);
    let round = match more > few {
        true => difference(&together, (more - few) as f64),
        false => together.1,
    };
    let each = |busy: &(Busy, Busy)| match more > few {
        true => (busy.1.clocks - busy.0.clocks) / (more - few) as f64,
        false => busy.1.clocks,
    };
    let saved = |(name, without)| (name, round.clocks - each(&run(at_once, without)));
    let nothing = Without::default();
    let savings = [
        (
            "issue",
            Without {
                issue: true,
                ..nothing
            },
        ),
        (
            "tensor",
            Without {
                tensor: true,
                ..nothing
            },
        ),
        (
            "arithmetic",
            Without {
                arithmetic: true,
                ..nothing
            },
        ),
        (
            "shared",
            Without {
                shared: true,
                ..nothing
            },
        ),
        (
            "memory",
            Without {
                memory: true,
                ..nothing
            },
        ),
    ];
    let mut once: Vec<u32> = long.iter().flat_map(|walk| walk.once.clone()).collect();
    once.sort_unstable();
    once.dedup();
    Ok(Prediction {
        seconds: seconds + machine.launch,
        parts,
        resident,
        turns,
        round_clocks: round.clocks,
        round,
        counts: counts(listing, &long),
        savings: savings.into_iter().map(saved).collect(),
        read,
        written,
        once,
    })
}

/// One of so many rounds by which two runs differ.
fn difference((short, long): &(Busy, Busy), rounds: f64) -> Busy {
    let of = |f: &dyn Fn(&Busy) -> f64| (f(long) - f(short)) / rounds;
    Busy {
        clocks: of(&|b| b.clocks),
        issued: of(&|b| b.issued),
        tensor: of(&|b| b.tensor),
        float: of(&|b| b.float),
        integer: of(&|b| b.integer),
        special: of(&|b| b.special),
        passes: of(&|b| b.passes),
        read: of(&|b| b.read),
        written: of(&|b| b.written),
    }
}

/// Bytes that a warp reads or writes behind the first cache.
fn moved(walk: &Walk, work: &[Work], reads: bool) -> f64 {
    let bytes = |step: &crate::Step| {
        let work = &work[step.index];
        match if reads { work.reads } else { work.writes } {
            true => f64::from(work.width * step.lanes.count_ones()),
            false => 0.0,
        }
    };
    walk.steps.iter().map(bytes).sum()
}

/// What a warp executes in the last whole round of the loop, where at least one lane acts.
fn counts(listing: &Listing, walks: &[Walk]) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for walk in walks {
        let steps = match walk.rounds[..] {
            [.., before, last] => &walk.steps[before..last],
            [last] => &walk.steps[..last],
            [] => &walk.steps[..],
        };
        for step in steps.iter().filter(|step| step.lanes != 0) {
            let base = listing.code[step.index].base().to_string();
            *counts.entry(base).or_insert(0.0) += 1.0 / walks.len() as f64;
        }
    }
    counts
}
