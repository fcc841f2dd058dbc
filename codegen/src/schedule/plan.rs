//! How the work of a run is cut into tasks.
//!
//! A plan depends on shapes only, never on the number of threads: a sum that is cut differently
//! has other bits, and a result must not change with the machine's load. So segments are used
//! below a fixed number of tasks, and heads are grouped for a fixed number of tasks. On a GPU see
//! `blocks`.

use crate::derive::{Summary, summaries};
use baton_ir::recurrence::{Facts, Recurrence};

/// Tasks below which time is cut into segments, at the price of a second sweep. Where summaries are matrices, which take a
/// third, a task counts as often as its sweep is made.
const FEW_TASKS: usize = 4;
/// Tasks aimed at when heads of a group are kept together or time is cut.
const ENOUGH_TASKS: usize = 8;
/// The shortest segment, in chunks.
pub(super) const SEGMENT_CHUNKS: usize = 4;
/// Bytes of entering states that a forward run keeps before it turns to checkpoints.
pub(super) const KEEP_BYTES: usize = 512 << 20;
/// Chunks between two checkpoints.
pub(super) const WINDOW_CHUNKS: usize = 8;
/// The same where a chunk is one step.
pub(super) const WINDOW_STEPS: usize = 32;
/// Numbers of a state in one tile where rows are heads: several such tiles fit the innermost cache.
const ROW_ENTRIES: usize = 1024;
/// Rows of such a tile: where there are so many heads at least the first, at most the second.
const ROWS: [usize; 2] = [16, 256];

/// What a plan needs to know of a recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Whether rows or columns of a state decay, each by its own factor: the work within a chunk is
    /// smallest in short ones then.
    pub by_channel: bool,
    /// How often a state is read in its own update, at most. Work and roundings within a chunk grow
    /// faster than that, so chunks are shorter.
    pub reads: usize,
    /// What it takes to know what a segment does to the states, in sweeps like those that find what it adds to
    /// them: none where that is log decays, which come with these; the size of the matrices in sizes of
    /// the states, rounded up. `None` where it depends on what enters: sequences stay whole.
    pub summary: Option<usize>,
    /// Whether a state is a running extreme or an angle.
    pub scanned: bool,
}

impl Traits {
    /// Those of a recurrence with `sizes` of its dims.
    pub fn of(recurrence: &Recurrence, facts: &Facts, sizes: &[usize]) -> Traits {
        let transitions = &facts.transitions;
        Traits {
            scanned: { transitions.iter() }.any(|t| t.running.is_some()),
            summary: sweeps(recurrence, &summaries(facts), sizes),
            by_channel: { transitions.iter() }.any(|t| t.row.is_some() || t.col.is_some()),
            reads: { transitions.iter() }
                .map(|t| t.reads.len())
                .max()
                .unwrap_or(0),
        }
    }
}

/// See [`Traits::summary`].
fn sweeps(recurrence: &Recurrence, summaries: &[Summary], sizes: &[usize]) -> Option<usize> {
    let (mut matrices, mut states) = (0, 0);
    for (port, summary) in recurrence.states.iter().zip(summaries) {
        match *summary {
            Summary::Diagonal => {}
            Summary::Open => return None,
            Summary::Dense(side) => {
                let dims = port.shape.iter().map(|dim| sizes[dim.index()]);
                matrices += sizes[port.shape[side as usize].index()].pow(2);
                states += dims.product::<usize>();
            }
        }
    }
    Some(matrices.div_ceil(states.max(1)))
}

/// What a plan is made for.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Sequences that have any step.
    pub sequences: usize,
    /// Steps of the longest.
    pub longest: usize,
    /// Steps of all together.
    pub steps: usize,
    /// H
    pub heads: usize,
    /// G
    pub groups: usize,
    /// Bytes of all states of one head.
    pub state_bytes: usize,
}

impl Load {
    /// That of sequences of these lengths.
    pub fn of(
        lengths: impl IntoIterator<Item = usize>,
        [heads, groups]: [usize; 2],
        state_bytes: usize,
    ) -> Load {
        let mut load = Load {
            sequences: 0,
            longest: 0,
            steps: 0,
            heads,
            groups,
            state_bytes,
        };
        for steps in lengths {
            load.sequences += usize::from(steps > 0);
            load.longest = load.longest.max(steps);
            load.steps += steps;
        }
        load
    }

    /// Heads of a group that one task runs, and the number of tasks.
    fn tasks(self) -> (usize, usize) {
        let group_heads = (self.heads / self.groups.max(1)).max(1);
        let groups = (self.sequences * self.groups).max(1);
        let blocks = ENOUGH_TASKS.div_ceil(groups).min(group_heads);
        let heads = group_heads.div_ceil(blocks);
        (heads, groups * group_heads.div_ceil(heads))
    }

    /// Whether the states that enter every chunk are more than may be kept.
    pub(super) fn keeps_too_much(self, chunk: usize, keep_bytes: Option<usize>) -> bool {
        let kept = self.steps.div_ceil(chunk) * self.heads * self.state_bytes;
        kept > keep_bytes.unwrap_or(KEEP_BYTES)
    }
}

/// How a run is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// C
    pub chunk: usize,
    /// Heads of one group that one task runs together, or one block side by side where its kernel can.
    pub heads: usize,
    /// Chunks of a segment; whole sequences when `None`.
    pub segment: Option<usize>,
    /// Chunks between two kept states; 1 keeps every one.
    pub window: usize,
    /// Whether the kernels are those whose rows are heads: `heads` is their number then, and a chunk one step.
    pub across: bool,
}

impl Plan {
    /// The plan of tasks for a load; `chunk` and `keep_bytes` are the caller's choices, if any.
    pub fn of_tasks(
        traits: Traits,
        load: Load,
        chunk: Option<usize>,
        keep_bytes: Option<usize>,
    ) -> Plan {
        let chunk = chunk.unwrap_or_else(|| {
            let usual: usize = match traits.by_channel {
                true => 16,
                false => 64 / traits.reads.max(1).next_power_of_two(),
            };
            usual.min(load.longest.next_power_of_two())
        });
        let (heads, tasks) = load.tasks();
        let long = load.longest >= 2 * SEGMENT_CHUNKS * chunk;
        let pays = |sweeps: usize| tasks * (1 + sweeps) < FEW_TASKS;
        let segment = (traits.summary.is_some_and(pays) && long).then(|| {
            let chunks = load.longest.div_ceil(chunk);
            let segments = (ENOUGH_TASKS / tasks).min(chunks / SEGMENT_CHUNKS);
            chunks.div_ceil(segments)
        });
        let window = match segment {
            None if load.keeps_too_much(chunk, keep_bytes) => WINDOW_CHUNKS,
            _ => 1,
        };
        Plan {
            chunk,
            heads,
            segment,
            window,
            across: false,
        }
    }

    /// The plan for kernels of single steps, which have no summary that a segment could be cut by. A task is one
    /// head, whose state stays in the innermost cache from step to step. States are kept once a window, whatever
    /// would fit: to run a window again within the caches costs less than memory does.
    pub fn of_steps(load: Load) -> Plan {
        Plan {
            chunk: 1,
            heads: 1,
            segment: None,
            window: match load.longest > WINDOW_STEPS {
                true => WINDOW_STEPS,
                false => 1,
            },
            across: false,
        }
    }

    /// The plan for such kernels whose rows are heads, of states of at most `entries` numbers; none for a head
    /// alone. Groups are those of the load where heads `share` an input.
    pub fn of_rows(load: Load, entries: usize, share: bool) -> Option<Plan> {
        let groups = if share { load.groups.max(1) } else { 1 };
        let group_heads = load.heads / groups;
        let [least, most] = ROWS;
        let most = (ROW_ENTRIES / entries.max(1)).clamp(least, most);
        let blocks = FEW_TASKS.div_ceil((load.sequences * groups).max(1));
        let rows = group_heads.div_ceil(blocks).clamp(least, most);
        (group_heads > 1).then(|| Plan {
            heads: rows.min(group_heads),
            across: true,
            ..Plan::of_steps(load)
        })
    }
}
