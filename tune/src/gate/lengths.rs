//! How long and how wide the cases of the gate are.

use crate::field::Candidate;
use crate::inputs::Seed;
use crate::subject::Subject;
use baton_codegen::schedule::cost::RunShape;
use baton_codegen::schedule::{Choice, Form};

/// Heads of a group, and groups, where more would show nothing new.
const HEADS: usize = 3;
const GROUPS: usize = 2;

/// What candidates do along time and heads, at most: cases are as long as meets all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Steps of a chunk.
    pub chunk: usize,
    /// Steps of a sequence that is cut, or whose states are not all kept.
    pub reach: usize,
    /// Heads that are rows of a tile, where some candidate has such.
    pub rows: Option<usize>,
}

impl Lengths {
    /// Those of plans for the CPU.
    pub fn of(field: &[Candidate]) -> Lengths {
        let chunk = |choice: &Choice| match choice.form {
            Form::Chunks(steps) => steps,
            Form::Steps | Form::Rows => 1,
        };
        let choices = || field.iter().map(|candidate| &candidate.choice);
        let rows = choices().filter(|choice| choice.form == Form::Rows);
        // Two segments of four chunks at least, and two windows at least.
        let reach = choices().map(|choice| {
            let segments = if choice.segments > 1 { 8 } else { 0 };
            let window = if choice.window > 1 { choice.window } else { 0 };
            chunk(choice) * segments.max(window)
        });
        Lengths {
            chunk: choices().map(chunk).max().unwrap_or(1).max(16),
            reach: reach.max().unwrap_or(0),
            rows: rows.map(|choice| choice.heads).max(),
        }
    }

    /// The shapes of the cases: ragged rows, packed sequences, and one long sequence.
    pub(super) fn shapes(
        self,
        subject: &Subject,
        random: &mut Seed,
    ) -> Vec<(RunShape, Option<Vec<i64>>)> {
        let Lengths {
            chunk: longest_chunk,
            reach,
            rows,
        } = self;
        let shared = subject.per_group();
        let run = subject.run;
        let most = run.heads / if shared { run.groups } else { 1 };
        let each = match rows {
            Some(rows) => rows + random.between(1, rows.min(16)),
            None => HEADS,
        };
        let heads = each.min(most);
        let extents = |batch: usize, time: usize, groups: usize, each: usize| {
            let groups = if shared { run.groups.min(groups) } else { 1 };
            let heads = each * groups;
            RunShape {
                batch,
                time,
                heads,
                groups: if shared { groups } else { heads },
                entering: true,
            }
        };
        // No chunk divides it: nor, of steps, any window.
        let ragged = |random: &mut Seed, from: usize, over: usize| {
            let time = from + random.between(1, over);
            time + usize::from(time.is_multiple_of(16)) * random.between(1, 15)
        };
        let time = ragged(random, 0, longest_chunk + longest_chunk / 2);
        let rows_of_time = extents(2, time, GROUPS, heads);

        let time = ragged(random, longest_chunk, longest_chunk);
        let mut ends: Vec<i64> = (0..2).map(|_| random.between(1, time) as i64).collect();
        ends.extend([0, 0, time as i64, ends[0]]);
        ends.sort_unstable();
        let packed = extents(1, time, GROUPS, heads);

        let time = ragged(random, reach, longest_chunk);
        let heads = if rows.is_some() { heads } else { heads.min(2) };
        let long = extents(1, time, 1, heads);
        vec![(rows_of_time, None), (packed, Some(ends)), (long, None)]
    }
}
