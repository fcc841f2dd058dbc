//! How the time of a run is cut on a GPU, where a thread block runs one head of one range of time.
//!
//! A plan depends on shapes and on the multiprocessors that the schedule is made for, a constant:
//! never on the GPU at hand, so that every GPU gives the same bits. Segments come at the price of a
//! second sweep and a chain; a block fills a multiprocessor, so below a third of them three segments
//! or more take at most two thirds of the time. Fewer than three gain too little. Heads run side by side
//! where that leaves as many rounds of blocks, so that what they share is gained. Only where what a segment
//! does to a state is a decay: there are no kernels that chain matrices.

use super::heads::SIDE_BY_SIDE;
use super::plan::{KEEP_BYTES, Load, Plan, SEGMENT_CHUNKS, Traits, WINDOW_CHUNKS};

/// Multiprocessors that blocks are made for: those of an H100.
const MULTIPROCESSORS: usize = 132;
/// The fewest segments that are worth a second sweep.
const FEW_SEGMENTS: usize = 3;

impl Plan {
    /// The plan of blocks for a load in chunks of `chunk` steps; `keep_bytes` is the caller's choice, if any.
    pub fn of_blocks(traits: Traits, load: Load, chunk: usize, keep_bytes: Option<usize>) -> Plan {
        let blocks = (load.sequences * load.heads).max(1);
        let chunks = load.longest.div_ceil(chunk);
        let segments = (MULTIPROCESSORS / blocks).min(chunks / SEGMENT_CHUNKS);
        let segment = (traits.summary == Some(0) && segments >= FEW_SEGMENTS)
            .then(|| chunks.div_ceil(segments));
        let side_by_side = SIDE_BY_SIDE as usize;
        let rounds = |blocks: usize| blocks.div_ceil(MULTIPROCESSORS);
        let divides = (load.heads / load.groups.max(1)).is_multiple_of(side_by_side);
        let wide = rounds(blocks / side_by_side) * side_by_side <= rounds(blocks);
        let heads = match divides && wide && segment.is_none() {
            true => side_by_side,
            false => 1,
        };
        let kept = load.steps.div_ceil(chunk) as u128 * load.heads as u128;
        let kept = kept * load.state_bytes as u128;
        let window = match kept > keep_bytes.unwrap_or(KEEP_BYTES) as u128 {
            true => WINDOW_CHUNKS,
            false => 1,
        };
        Plan {
            chunk,
            segment,
            heads,
            window,
            across: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sequences: usize, longest: usize, heads: usize) -> Plan {
        let load = Load {
            sequences,
            longest,
            steps: sequences * longest,
            heads,
            groups: 1,
            state_bytes: 128 * 64 * 2,
        };
        let traits = Traits {
            by_channel: false,
            reads: 0,
            summary: Some(0),
            scanned: false,
        };
        Plan::of_blocks(traits, load, 64, None)
    }

    #[test]
    fn few_blocks_are_cut_into_segments_that_fill_the_machine() {
        assert_eq!(plan(1, 32768, 8).segment, Some(32)); // 512 chunks in 16 of 32
        assert_eq!(plan(1, 2048, 8).segment, Some(4)); // none below four chunks
        assert_eq!(plan(1, 1024, 8).segment, Some(4));
        assert_eq!(plan(1, 512, 8).segment, None); // two segments gain too little
        assert_eq!(plan(1, 32768, 45).segment, None);
        assert_eq!(plan(8, 2048, 80).segment, None);
        assert_eq!(plan(0, 0, 8).segment, None);
    }

    #[test]
    fn heads_run_side_by_side_where_that_costs_no_round() {
        assert_eq!(plan(8, 2048, 64).heads, 2); // 512 blocks in 4 rounds, 256 in 2
        assert_eq!(plan(8, 2048, 80).heads, 1); // 640 blocks in 5 rounds, 320 in 3
        assert_eq!(plan(1, 2048, 132).heads, 1); // one round, which half the blocks would leave half empty
        assert_eq!(plan(132, 2048, 3).heads, 1);
        assert_eq!(plan(1, 32768, 8).heads, 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        assert_eq!(plan(8, 2048, 80).window, 1); // 320 MiB
        assert_eq!(plan(8, 4096, 80).window, WINDOW_CHUNKS);
    }
}
