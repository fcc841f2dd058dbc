//! How long a plan takes on a CPU, by the cost model: what is counted, at a rate for each thing.
//!
//! A plan is a list of [`Sweep`]s, programs that run over the load. Their operations and bytes are those of
//! [`Cost`]; beside them there are nodes, each of which costs a call and its loops however small its tiles are,
//! and tasks, whose last round leaves threads idle. The rates are of one core of one machine ([`Rates::CORE`]): they
//! rank plans of one recurrence and shape, and are no promise of milliseconds.

use super::cost::{Cost, RunShape};
use super::{Load, Plan};
use baton_ir::tile::{Region, Role, TileProgram};

/// Bytes of kept states that stay in a core's caches from when they are rebuilt to when they are read.
const CACHED: f64 = (1 << 20) as f64;

/// A program over a load.
pub(crate) struct Sweep {
    pub program: TileProgram,
    /// The share of the load's steps that it runs over.
    pub share: f64,
}

/// What a plan comes to, by the thing that takes time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Multiplies and adds of products.
    pub products: f64,
    /// Additions, multiplications, selections and comparisons.
    pub pointwise: f64,
    /// Exponentials and their kin.
    pub functions: f64,
    /// Bytes to and from memory.
    pub bytes: f64,
    /// Nodes that run.
    pub nodes: f64,
    /// Tasks that are started.
    pub tasks: f64,
    /// How much longer the rounds of tasks are than the work would be if it could be shared evenly.
    pub uneven: f64,
}

/// Seconds for one of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// See [`Work`].
    pub products: f64,
    /// See [`Work`].
    pub pointwise: f64,
    /// See [`Work`].
    pub functions: f64,
    /// See [`Work`].
    pub bytes: f64,
    /// See [`Work`].
    pub nodes: f64,
    /// See [`Work`].
    pub tasks: f64,
}

impl Rates {
    /// One core of an AMD EPYC with AVX-512.
    pub const CORE: Rates = Rates {
        products: 7e-12,
        pointwise: 7e-11,
        functions: 4e-10,
        bytes: 1.2e-10,
        nodes: 6e-8,
        tasks: 2e-6,
    };
}

impl Work {
    /// What `sweeps` of a plan for a load come to on `threads` threads; `groups` are those that tasks know.
    pub(crate) fn of(
        sweeps: &[Sweep],
        plan: &Plan,
        load: Load,
        groups: usize,
        threads: usize,
    ) -> Work {
        let group_heads = load.heads / groups.max(1);
        let blocks = group_heads.div_ceil(plan.heads).max(1);
        let ranges = match plan.segment {
            Some(segment) => load.steps.div_ceil(segment * plan.chunk),
            None => load.sequences,
        };
        let tasks = ranges.max(1) * groups * blocks;
        let runs = match plan.window {
            1 => 1,
            window => load.longest.div_ceil(window * plan.chunk).max(1),
        };
        let lanes = (groups * blocks).min(load.heads).max(1);
        let run = RunShape {
            batch: 1,
            time: load.steps,
            heads: load.heads.next_multiple_of(lanes),
            groups: lanes,
            entering: false,
        };
        // Where loops are exchanged, so are what steps and what heads are to a program.
        let run = match plan.across {
            true => RunShape {
                batch: groups,
                time: group_heads,
                heads: load.steps,
                groups: 1,
                ..run
            },
            false => run,
        };
        let kept = (plan.window * plan.heads * load.state_bytes) as f64;
        let mut work = Work::default();
        for Sweep { program, share } in sweeps {
            let cost = Cost::new(program, run, |_| size_of::<f32>() as u64);
            let ports = program.ports.iter().zip(&cost.ports);
            let moved = ports.map(|(port, &bytes)| match port.role {
                Role::Entering(_) if plan.window > 1 && kept <= CACHED => 0.0,
                _ => bytes as f64,
            });
            let chunks = run.chunks(program.chunk) as f64;
            let nodes = program.nodes.iter().map(|node| match node.region {
                Region::Heads => chunks * run.heads as f64,
                Region::Before | Region::After => chunks * run.groups as f64,
            });
            work.products += share * cost.flops.products as f64;
            work.pointwise += share * cost.flops.pointwise as f64;
            work.functions += share * cost.flops.functions as f64;
            work.bytes += share * moved.sum::<f64>();
            work.nodes += share * nodes.sum::<f64>();
            work.tasks += (tasks * runs) as f64;
        }
        let threads = threads.max(1);
        work.uneven = (tasks.div_ceil(threads) * threads) as f64 / tasks as f64;
        work
    }

    /// Seconds of one thread of so many.
    pub fn seconds(&self, rates: &Rates, threads: usize) -> f64 {
        let all = self.products * rates.products
            + self.pointwise * rates.pointwise
            + self.functions * rates.functions
            + self.bytes * rates.bytes
            + self.nodes * rates.nodes
            + self.tasks * rates.tasks;
        all * self.uneven / threads.max(1) as f64
    }
}
