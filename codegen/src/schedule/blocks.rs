//! How the time of a run is cut on a GPU, where a thread block runs one head of one range of time.
//!
//! A plan depends on shapes and on the multiprocessors that the schedule is made for, a constant:
//! never on the GPU at hand, so that every GPU gives the same bits. Segments come at the price of a
//! second sweep and a chain; with as many blocks as run at once, three segments or more take at most two thirds of the
//! time where a block has a multiprocessor to itself, and somewhat more where two share one. Fewer than three gain
//! too little. Only where what a segment does to a state is a decay: there are no kernels that chain matrices.

use super::plan::{KEEP_BYTES, Load, Plan, SEGMENT_CHUNKS, Traits, WINDOW_CHUNKS};

/// Multiprocessors that blocks are made for: those of an H100.
const MULTIPROCESSORS: usize = 132;
/// The fewest segments that are worth a second sweep.
const FEW_SEGMENTS: usize = 3;

impl Plan {
    /// The plan of blocks, of which `beside` share a multiprocessor, for a load in chunks of `chunk` steps; `keep_bytes`
    /// is the caller's choice, if any.
    pub fn of_blocks(
        traits: Traits,
        load: Load,
        chunk: usize,
        keep_bytes: Option<usize>,
        beside: u32,
    ) -> Plan {
        let blocks = (load.sequences * load.heads).max(1);
        let chunks = load.longest.div_ceil(chunk);
        let segments = (MULTIPROCESSORS * beside as usize / blocks).min(chunks / SEGMENT_CHUNKS);
        let segment = (traits.summary == Some(0) && segments >= FEW_SEGMENTS)
            .then(|| chunks.div_ceil(segments));
        let kept = load.steps.div_ceil(chunk) as u128 * load.heads as u128;
        let kept = kept * load.state_bytes as u128;
        let window = match kept > keep_bytes.unwrap_or(KEEP_BYTES) as u128 {
            true => WINDOW_CHUNKS,
            false => 1,
        };
        Plan {
            chunk,
            segment,
            heads: 1,
            window,
            across: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sequences: usize, longest: usize, heads: usize) -> Plan {
        plan_beside(sequences, longest, heads, 1)
    }

    fn plan_beside(sequences: usize, longest: usize, heads: usize, beside: u32) -> Plan {
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
        Plan::of_blocks(traits, load, 64, None, beside)
    }

    #[test]
    fn few_blocks_are_cut_into_segments_that_fill_the_machine() {
        assert_eq!(plan(1, 32768, 8).segment, Some(32)); // 512 chunks in 16 of 32
        assert_eq!(plan(1, 2048, 8).segment, Some(4)); // none below four chunks
        assert_eq!(plan(1, 1024, 8).segment, Some(4));
        assert_eq!(plan(1, 512, 8).segment, None); // two segments gain too little
        assert_eq!(plan(1, 32768, 45).segment, None);
        assert_eq!(plan_beside(1, 32768, 8, 2).segment, Some(16)); // in 33, as twice the blocks run at once
        assert_eq!(plan_beside(1, 32768, 45, 2).segment, Some(103)); // 512 chunks in 5
        assert_eq!(plan_beside(1, 32768, 89, 2).segment, None);
        assert_eq!(plan(8, 2048, 80).segment, None);
        assert_eq!(plan(0, 0, 8).segment, None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        assert_eq!(plan(8, 2048, 80).window, 1); // 320 MiB
        assert_eq!(plan(8, 4096, 80).window, WINDOW_CHUNKS);
    }
}
