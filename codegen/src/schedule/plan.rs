//! How the work of a run is cut into tasks.
//!
//! A plan depends on shapes only, never on the number of threads: a sum that is cut differently
//! has other bits, and a result must not change with the machine's load. So segments are used
//! below a fixed number of tasks, and heads are grouped for a fixed number of tasks. On a GPU see
//! `blocks`.

use baton_ir::recurrence::Class;

/// Tasks below which time is cut into segments, at the price of a second sweep.
const FEW_TASKS: usize = 4;
/// Tasks aimed at when heads of a group are kept together or time is cut.
const ENOUGH_TASKS: usize = 8;
/// The shortest segment, in chunks.
pub(super) const SEGMENT_CHUNKS: usize = 4;
/// Bytes of entering states that a forward run keeps before it turns to checkpoints.
pub(super) const KEEP_BYTES: usize = 512 << 20;
/// Chunks between two checkpoints.
pub(super) const WINDOW_CHUNKS: usize = 8;

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
}

impl Plan {
    /// The plan of tasks for a load; `chunk` and `keep_bytes` are the caller's choices, if any.
    pub fn of_tasks(
        class: Class,
        load: Load,
        chunk: Option<usize>,
        keep_bytes: Option<usize>,
    ) -> Plan {
        let chunk = chunk.unwrap_or_else(|| {
            let usual: usize = if class == Class::Scalar { 64 } else { 16 };
            usual.min(load.longest.next_power_of_two()).max(16)
        });
        let group_heads = (load.heads / load.groups.max(1)).max(1);
        let groups = (load.sequences * load.groups).max(1);
        let blocks = ENOUGH_TASKS.div_ceil(groups).min(group_heads);
        let heads = group_heads.div_ceil(blocks);
        let tasks = groups * group_heads.div_ceil(heads);
        let segment =
            (tasks < FEW_TASKS && load.longest >= 2 * SEGMENT_CHUNKS * chunk).then(|| {
                let chunks = load.longest.div_ceil(chunk);
                let segments = (ENOUGH_TASKS / tasks).min(chunks / SEGMENT_CHUNKS);
                chunks.div_ceil(segments)
            });
        let kept = load.steps.div_ceil(chunk) * load.heads * load.state_bytes;
        let window = if kept > keep_bytes.unwrap_or(KEEP_BYTES) && segment.is_none() {
            WINDOW_CHUNKS
        } else {
            1
        };
        Plan {
            chunk,
            heads,
            segment,
            window,
        }
    }
}
