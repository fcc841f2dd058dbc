//! The operators against numbers of the authors' reference code, and against definitions in f64.

mod golden;
mod random;
mod reference;

/// The greatest distance, over the greatest number of `want` or one.
fn distance(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let most = want.iter().fold(1.0f64, |most, x| most.max(x.abs()));
    let pairs = got.iter().zip(want);
    let all = pairs.map(|(&g, &w)| (f64::from(g) - w).abs());
    all.fold(0.0, |most: f64, x| match x.is_nan() {
        true => f64::INFINITY,
        false => most.max(x),
    }) / most
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f64], bound: f64) {
    let far = distance(got, want);
    assert!(far < bound, "{what}: {far:e} apart, expected {bound:e}");
}

/// Outputs.
const FORWARD: f64 = 2e-6;
/// Gradients.
const BACKWARD: f64 = 1e-5;

/// SplitMix64, for sizes and numbers.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Uniform in [-1, 1), exact in f32.
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        let one = |bits: u64| (bits >> 40) as f32 / (1 << 23) as f32 - 1.0;
        (0..count).map(|_| one(self.bits())).collect()
    }
}
