//! Counting what memory traffic a warp instruction makes.
//!
//! The hardware serves an access of 4 bytes or less for all lanes at once, one of 8 bytes by half warps and
//! one of 16 bytes by quarters. A pass over global memory costs the 32-byte sectors it touches; a pass over
//! shared memory takes as many wavefronts as the busiest of its 32 banks has different words.

use super::block::Machine;
use super::warp::lanes;

fn passes(bytes: u32) -> impl Iterator<Item = u32> {
    let lanes = match bytes {
        0..=4 => 32,
        8 => 16,
        _ => 8,
    };
    let one = if lanes == 32 {
        u32::MAX
    } else {
        (1 << lanes) - 1
    };
    (0..32 / lanes).map(move |i| one << (i * lanes))
}

/// Sorts and counts what is different.
fn different(values: &mut [u64]) -> usize {
    values.sort_unstable();
    let changes = values.windows(2).filter(|pair| pair[0] != pair[1]).count();
    changes + usize::from(!values.is_empty())
}

impl Machine<'_> {
    pub(super) fn count_global(
        &mut self,
        addresses: &[u64; 32],
        mask: u32,
        bytes: u32,
        loads: bool,
    ) {
        if mask == 0 {
            return;
        }
        let mut sectors = 0;
        for pass in passes(bytes) {
            let mut touched = [0; 32];
            let mut count = 0;
            for lane in lanes(mask & pass) {
                touched[count] = addresses[lane] / 32;
                count += 1;
            }
            sectors += different(&mut touched[..count]) as u64;
        }
        let mut starts = [0; 32];
        let mut count = 0;
        for lane in lanes(mask) {
            starts[count] = addresses[lane];
            count += 1;
        }
        let distinct = different(&mut starts[..count]) as u64 * u64::from(bytes);
        let ideal = distinct.div_ceil(32);
        let moved = u64::from(mask.count_ones() * bytes);
        if loads {
            self.counts.load_sectors += sectors;
            self.counts.ideal_load_sectors += ideal;
            self.counts.bytes_read += moved;
        } else {
            self.counts.store_sectors += sectors;
            self.counts.ideal_store_sectors += ideal;
            self.counts.bytes_written += moved;
        }
    }

    pub(super) fn count_shared(&mut self, addresses: &[u64; 32], mask: u32, bytes: u32) {
        if mask == 0 {
            return;
        }
        for pass in passes(bytes) {
            let mut words = [0; 32];
            let mut count = 0;
            for lane in lanes(mask & pass) {
                for word in 0..u64::from(bytes.div_ceil(4)) {
                    words[count] = addresses[lane] / 4 + word;
                    count += 1;
                }
            }
            self.count_wavefronts(&mut words[..count]);
        }
    }

    /// One pass over words of shared memory.
    pub(super) fn count_wavefronts(&mut self, words: &mut [u64]) {
        if words.is_empty() {
            return;
        }
        words.sort_unstable();
        let mut banks = [0u64; 32];
        let mut last = None;
        for &word in words.iter() {
            if last != Some(word) {
                banks[(word % 32) as usize] += 1;
            }
            last = Some(word);
        }
        let wavefronts = banks.into_iter().max().unwrap_or(0);
        self.counts.shared_wavefronts += wavefronts;
        self.counts.bank_conflicts += wavefronts - 1;
    }
}
