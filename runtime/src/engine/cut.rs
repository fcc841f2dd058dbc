//! How the time of a run is cut: sequences, their segments, and windows of chunks.
//!
//! A *range* is what one task or thread block carries its states through: a sequence, or a segment of one.
//! With checkpoints, ranges run window by window, ordered by falling number of windows, so that those
//! which reach a window are the first of the order and their states lie side by side. Everything here
//! depends on shapes only, so a backward run finds what its forward run kept.

use crate::device::check::Extent;
use baton_codegen::schedule::Plan;

/// Batch row, first step, steps and first chunk of a range, as kernels read it.
pub(crate) type Range = [i64; 4];

/// The cut of one run.
pub(crate) struct Cut {
    pub extent: Extent,
    /// Sequence by sequence, in order of time.
    pub ranges: Vec<Range>,
    /// First range and number of ranges of each sequence.
    pub sequences: Vec<[i64; 2]>,
    /// Chunks of all ranges.
    pub chunks: usize,
    plan: Plan,
    /// Ranges by falling number of windows.
    order: Vec<usize>,
    /// How many ranges reach each window; the first has all of them.
    reach: Vec<usize>,
}

impl Cut {
    /// Sequences of (batch row, first step, steps), cut by a plan.
    pub fn by(plan: Plan, extent: Extent, bounds: &[[i64; 3]]) -> Cut {
        let chunk = plan.chunk as i64;
        let (mut ranges, mut sequences, mut chunks) = (vec![], vec![], 0);
        for &[row, start, steps] in bounds {
            let length = plan.segment.map_or(steps, |chunks| chunks as i64 * chunk);
            // An empty sequence is an empty range: its state goes through.
            let count = match steps {
                0 => 1,
                steps => (steps as u64).div_ceil(length as u64) as i64,
            };
            sequences.push([ranges.len() as i64, count]);
            for i in 0..count {
                let steps = length.min(steps - i * length);
                ranges.push([row, start + i * length, steps, chunks]);
                chunks += (steps as u64).div_ceil(chunk as u64) as i64;
            }
        }
        let window = match plan.window {
            1 => u64::MAX,
            window => (window * plan.chunk) as u64,
        };
        let windows = |range: &Range| (range[2] as u64).div_ceil(window).max(1) as usize;
        let mut order: Vec<usize> = (0..ranges.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(windows(&ranges[i])));
        let most = ranges.iter().map(windows).max().unwrap_or(1);
        let reach = |k| ranges.iter().filter(|range| windows(range) > k).count();
        Cut {
            extent,
            reach: (0..most).map(reach).collect(),
            ranges,
            sequences,
            chunks: chunks as usize,
            plan,
            order,
        }
    }

    /// C
    pub fn chunk(&self) -> usize {
        self.plan.chunk
    }

    /// Heads of a group that one task or block runs, where its kernel can.
    pub fn heads(&self) -> usize {
        self.plan.heads
    }

    /// What it was cut by.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether time is cut into segments.
    pub fn segmented(&self) -> bool {
        self.ranges.len() > self.sequences.len()
    }

    /// Whether the states that enter every chunk are kept, else those that enter every window.
    pub fn keeps_all(&self) -> bool {
        self.plan.window == 1
    }

    /// Windows of the longest range.
    pub fn windows(&self) -> usize {
        self.reach.len()
    }

    /// Chunks of a window.
    pub fn window_chunks(&self) -> usize {
        self.plan.window
    }

    /// Ranges that reach window `k`.
    pub fn reaching(&self, k: usize) -> usize {
        self.reach[k]
    }

    /// Runs of all ranges through all their windows.
    pub fn runs(&self) -> usize {
        self.reach.iter().sum()
    }

    /// The ranges in the order of windows.
    pub fn order(&self) -> Vec<i64> {
        self.order.iter().map(|&i| i as i64).collect()
    }

    /// Window `k` of the ranges that reach it; chunks are counted in memory of one window.
    pub fn window(&self, k: usize) -> Vec<Range> {
        let steps = (self.plan.window * self.plan.chunk) as i64;
        let ranges = self.order[..self.reach[k]].iter().enumerate();
        ranges
            .map(|(at, &i)| {
                let [row, start, len, _] = self.ranges[i];
                let before = k as i64 * steps;
                let chunk = (at * self.plan.window) as i64;
                [row, start + before, steps.min(len - before), chunk]
            })
            .collect()
    }

    /// The first row of checkpoint `k`: of the states that enter window `k`, and after it of those
    /// that leave window `k - 1`.
    pub fn checkpoint(&self, k: usize) -> usize {
        match k {
            0 => 0,
            _ => self.ranges.len() + self.reach[..k - 1].iter().sum::<usize>(),
        }
    }

    /// The row of checkpoints that holds what leaves the last range of each sequence.
    pub fn leaving(&self) -> Vec<i64> {
        let places = self.places();
        let row = |i: usize| {
            let windows = self
                .reach
                .iter()
                .filter(|&&reach| reach > places[i])
                .count();
            (self.checkpoint(windows) + places[i]) as i64
        };
        self.last().into_iter().map(|i| row(i as usize)).collect()
    }

    /// The place in the order of the first range of each sequence.
    pub fn arriving(&self) -> Vec<i64> {
        let places = self.places();
        self.first()
            .into_iter()
            .map(|i| places[i as usize] as i64)
            .collect()
    }

    /// Where each range is in the order of windows.
    pub fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.order.len()];
        for (place, &i) in self.order.iter().enumerate() {
            places[i] = place;
        }
        places
    }

    /// The first range of each sequence.
    pub fn first(&self) -> Vec<i64> {
        self.sequences.iter().map(|&[first, _]| first).collect()
    }

    /// The last range of each sequence.
    pub fn last(&self) -> Vec<i64> {
        let last = |&[first, count]: &[i64; 2]| first + count - 1;
        self.sequences.iter().map(last).collect()
    }

    /// The ranges with those of `without` emptied.
    pub fn all_but(&self, without: &[i64]) -> Vec<Range> {
        let mut ranges = self.ranges.clone();
        without.iter().for_each(|&i| ranges[i as usize][2] = 0);
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(segment: Option<usize>, window: usize, bounds: &[[i64; 3]]) -> Cut {
        let plan = Plan {
            chunk: 16,
            segment,
            heads: 1,
            window,
            across: false,
        };
        let extent = Extent {
            batch: 1,
            time: 0,
            heads: 1,
            groups: 1,
            sequences: bounds.len(),
        };
        Cut::by(plan, extent, bounds)
    }

    #[test]
    fn segments_begin_at_chunks_and_count_them_on() {
        let cut = cut(Some(2), 1, &[[0, 0, 0], [0, 0, 70], [0, 70, 32]]);
        let ranges = [
            [0, 0, 0, 0],
            [0, 0, 32, 0],
            [0, 32, 32, 2],
            [0, 64, 6, 4],
            [0, 70, 32, 5],
        ];
        assert_eq!(cut.ranges, ranges);
        assert_eq!(cut.sequences, [[0, 1], [1, 3], [4, 1]]);
        assert_eq!((cut.chunks, cut.windows(), cut.runs()), (7, 1, 5));
        assert!(cut.segmented());
        assert_eq!(cut.last(), [0, 3, 4]);
    }

    #[test]
    fn windows_are_reached_by_the_first_of_the_order() {
        let cut = cut(None, 2, &[[0, 0, 10], [0, 10, 70], [0, 80, 0], [0, 80, 40]]);
        assert_eq!(cut.order(), [1, 3, 0, 2]);
        assert_eq!([0, 1, 2].map(|k| cut.reaching(k)), [4, 2, 1]);
        assert_eq!(cut.runs(), 7);
        assert_eq!(cut.window(1), [[0, 42, 32, 0], [0, 112, 8, 2]]);
        assert_eq!(cut.window(2), [[0, 74, 6, 0]]);
        // Four rows enter, four leave the first window, two the second, one the third.
        assert_eq!([0, 1, 2, 3].map(|k| cut.checkpoint(k)), [0, 4, 8, 10]);
        assert_eq!(cut.leaving(), [4 + 2, 10, 4 + 3, 8 + 1]);
        assert_eq!(cut.arriving(), [2, 0, 3, 1]);
    }
}
