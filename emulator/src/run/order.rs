//! The order of blocks and warps, and all else that looks random but is a function of a seed.

/// A small generator of good quality (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % limit.max(1)
    }
}

/// A grid larger than this is not shuffled but run backwards.
const MOST_SHUFFLED: u64 = 1 << 20;

/// All blocks of a grid; seed 0 keeps their order.
pub(crate) fn blocks(count: u64, seed: u64) -> Box<dyn Iterator<Item = u64>> {
    if seed == 0 {
        return Box::new(0..count);
    }
    if count > MOST_SHUFFLED {
        return Box::new((0..count).rev());
    }
    let mut order: Vec<u64> = (0..count).collect();
    let mut dice = Dice::new(seed);
    for last in (1..order.len()).rev() {
        let other = dice.below(last as u64 + 1) as usize;
        order.swap(last, other);
    }
    Box::new(order.into_iter())
}
