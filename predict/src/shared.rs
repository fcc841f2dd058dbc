//! Passes of an access through the banks of shared memory.
//!
//! There are 32 banks of 4 bytes. An access of 4 bytes is one pass for all lanes where no two of them ask a bank for
//! different words; of 8 bytes half the lanes go at once, of 16 a quarter; a matrix load goes by its rows, eight
//! of 16 bytes at once. More words of one bank are more passes, and one word for many lanes is one.

use crate::known::LANES;
use crate::unit::Work;

const BANKS: u32 = 32;

/// Passes of the lanes `acting` at their addresses.
pub fn passes(addresses: &[u32; LANES], acting: u32, work: &Work) -> u32 {
    let (width, groups) = match work.matrices {
        // Eight lanes give the rows of each matrix.
        0 => (work.width, LANES / lanes_at_once(work.width)),
        matrices => (16, matrices as usize),
    };
    let at_once = lanes_at_once(width);
    let of_group = |group: usize| {
        let mut words: Vec<u32> = vec![];
        let lanes = addresses.iter().enumerate();
        for (lane, address) in lanes.skip(group * at_once).take(at_once) {
            if acting >> lane & 1 == 1 {
                let first = address / 4;
                words.extend(first..first + width.div_ceil(4));
            }
        }
        words.sort_unstable();
        words.dedup();
        let mut banks = [0; BANKS as usize];
        for word in words {
            banks[(word % BANKS) as usize] += 1;
        }
        banks.into_iter().max().unwrap_or(0)
    };
    (0..groups).map(of_group).sum()
}

fn lanes_at_once(width: u32) -> usize {
    match width {
        0..=4 => 32,
        8 => 16,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Unit;

    fn of(width: u32, matrices: u32, address: impl Fn(u32) -> u32) -> u32 {
        let work = Work {
            width,
            matrices,
            ..Work::of_unit(Unit::Shared)
        };
        let addresses = std::array::from_fn(|lane| address(lane as u32));
        passes(&addresses, u32::MAX, &work)
    }

    #[test]
    fn banks_are_asked_once_or_often() {
        assert_eq!(of(4, 0, |lane| 4 * lane), 1);
        assert_eq!(of(4, 0, |lane| 8 * lane), 2);
        assert_eq!(of(4, 0, |lane| 128 * lane), 32);
        assert_eq!(of(4, 0, |_| 64), 1);
        assert_eq!(of(8, 0, |lane| 8 * lane), 2);
        assert_eq!(of(16, 0, |lane| 16 * lane), 4);
        // One word of 16 bytes for all: a pass for each quarter.
        assert_eq!(of(16, 0, |_| 0), 4);
        // Rows of 128 bytes are all of one bank, unless they are turned.
        assert_eq!(of(0, 4, |lane| 128 * lane), 32);
        assert_eq!(of(0, 4, |lane| 128 * lane + 16 * (lane % 8)), 4);
        assert_eq!(of(0, 2, |lane| 128 * lane + 16 * (lane % 8)), 2);
    }
}
