//! What may be chosen of a plan for the CPU, beside the rules in `plan`.
//!
//! A [`Choice`] says of a plan what holds for every load of a [`Bucket`]: loads of one kind whose lengths and
//! numbers of sequences lie between the same powers of two. So what was found for one length serves its
//! neighbours, and a choice becomes a plan by shapes alone, as a rule does. What the caller says (bytes that may
//! be kept) still holds.

use super::plan::{Load, Plan, SEGMENT_CHUNKS, WINDOW_CHUNKS, WINDOW_STEPS};

/// Chunk lengths of the CPU's kernels.
pub const CHUNKS: [usize; 4] = [16, 32, 64, 128];
/// Rows of tiles that are heads.
const ROWS: [usize; 5] = [16, 32, 64, 128, 256];
/// Segments of the longest sequence.
const SEGMENTS: [usize; 4] = [1, 2, 4, 8];
/// Chunks between two kept states, and the same where a chunk is one step.
const WINDOWS: [usize; 4] = [1, 4, 8, 16];
const STEP_WINDOWS: [usize; 5] = [8, 16, 32, 64, 128];

/// Loads that one choice serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket {
    /// Sequences, up to this power of two and above the one before.
    pub sequences: usize,
    /// Steps of the longest, alike.
    pub longest: usize,
    /// H
    pub heads: usize,
    /// G
    pub groups: usize,
}

impl Bucket {
    /// That of a load.
    pub fn of(load: Load) -> Bucket {
        Bucket {
            sequences: load.sequences.next_power_of_two(),
            longest: load.longest.next_power_of_two(),
            heads: load.heads,
            groups: load.groups,
        }
    }
}

/// Which programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// Chunks of so many steps.
    Chunks(usize),
    /// Single steps, a head at a time.
    Steps,
    /// Single steps, whose rows are heads.
    Rows,
}

/// What a plan is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Choice {
    /// Which programs run.
    pub form: Form,
    /// Heads of a group that one task runs together, at most.
    pub heads: usize,
    /// Segments of the longest sequence; one where sequences stay whole.
    pub segments: usize,
    /// Chunks between two kept states; 1 keeps every one.
    pub window: usize,
}

impl Choice {
    /// What would make this plan of a load.
    pub fn of(plan: &Plan, load: Load) -> Choice {
        let chunks = load.longest.div_ceil(plan.chunk);
        Choice {
            form: match (plan.across, plan.chunk) {
                (true, _) => Form::Rows,
                (false, 1) => Form::Steps,
                (false, chunk) => Form::Chunks(chunk),
            },
            heads: plan.heads,
            segments: plan.segment.map_or(1, |segment| chunks.div_ceil(segment)),
            window: plan.window,
        }
    }

    /// In how many parts it differs from another.
    pub fn distance(&self, other: &Choice) -> usize {
        let differs = [
            self.form != other.form,
            self.heads != other.heads,
            self.segments != other.segments,
            self.window != other.window,
        ];
        differs.into_iter().filter(|differs| *differs).count()
    }

    /// The plan of a load whose groups have `group_heads` heads.
    pub(crate) fn plan(&self, load: Load, group_heads: usize, keep_bytes: Option<usize>) -> Plan {
        let (chunk, rebuilt) = match self.form {
            Form::Chunks(chunk) => (chunk, WINDOW_CHUNKS),
            Form::Steps | Form::Rows => (1, WINDOW_STEPS),
        };
        let chunks = load.longest.div_ceil(chunk);
        let segments = self.segments.min(chunks / SEGMENT_CHUNKS);
        let window = match self.window {
            1 if load.keeps_too_much(chunk, keep_bytes) => rebuilt,
            window => window,
        };
        Plan {
            chunk,
            heads: self.heads.min(group_heads).max(1),
            segment: (segments > 1).then(|| chunks.div_ceil(segments)),
            window,
            across: self.form == Form::Rows,
        }
    }

    /// All that give plans of their own, of the forms that there are, for groups of `group_heads` heads;
    /// `whole` where sequences may not be cut.
    pub(crate) fn all(forms: &[Form], load: Load, group_heads: usize, whole: bool) -> Vec<Choice> {
        let mut found = vec![];
        for &form in forms {
            let (chunk, windows) = match form {
                Form::Chunks(chunk) => (chunk, &WINDOWS[..]),
                Form::Steps | Form::Rows => (1, &STEP_WINDOWS[..]),
            };
            let chunks = load.longest.div_ceil(chunk);
            let cut = |segments: &&usize| {
                let chunked = matches!(form, Form::Chunks(_)) && !whole;
                **segments == 1 || (chunked && chunks / SEGMENT_CHUNKS >= **segments)
            };
            let rebuilds = |window: &&usize| **window == 1 || **window < chunks;
            let heads: Vec<usize> = match form {
                Form::Rows => ROWS.iter().map(|&rows| rows.min(group_heads)).collect(),
                _ => (0..=group_heads.ilog2())
                    .map(|halvings| group_heads.div_ceil(1 << halvings))
                    .collect(),
            };
            for &heads in &heads {
                for &segments in SEGMENTS.iter().filter(cut) {
                    for &window in windows.iter().filter(rebuilds) {
                        let choice = Choice {
                            form,
                            heads,
                            segments,
                            window,
                        };
                        if !found.contains(&choice) {
                            found.push(choice);
                        }
                    }
                }
            }
        }
        found
    }
}
