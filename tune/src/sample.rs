//! A measured time and its spread.

use baton_codegen::schedule::cost::Cost;
use serde_json::{Value, json};
use std::time::Instant;

/// Times of the same thing in milliseconds, sorted.
pub struct Sample(Vec<f64>);

impl Sample {
    /// A sample of these times; at least one.
    pub fn new(mut milliseconds: Vec<f64>) -> Self {
        milliseconds.sort_by(f64::total_cmp);
        Sample(milliseconds)
    }

    /// The time below which a share of the sample lies, between neighbours in proportion.
    pub fn quantile(&self, share: f64) -> f64 {
        let at = share * (self.0.len() - 1) as f64;
        let (low, high) = (self.0[at.floor() as usize], self.0[at.ceil() as usize]);
        low + (high - low) * at.fract()
    }

    /// The times as data, with what they say of a run of this cost on a machine that does `peak` operations
    /// a second.
    pub fn data(&self, cost: Option<&Cost>, peak: f64) -> Value {
        let mut value = json!({
            "median_ms": self.quantile(0.5),
            "p10_ms": self.quantile(0.1),
            "p90_ms": self.quantile(0.9),
            "min_ms": self.quantile(0.0),
            "repetitions": self.0.len(),
        });
        if let Some(cost) = cost {
            let rate = |count: u64| count as f64 / (self.quantile(0.5) * 1e-3);
            value["flops"] = json!(cost.flops.products);
            value["bytes"] = json!(cost.bytes());
            value["gflops"] = json!(rate(cost.flops.products) * 1e-9);
            value["gbytes_per_second"] = json!(rate(cost.bytes()) * 1e-9);
            value["peak_share"] = json!(rate(cost.flops.products) / peak);
        }
        value
    }
}

/// What `f` returns and how long it took, in milliseconds.
pub fn timed<R>(f: impl FnOnce() -> R) -> (R, f64) {
    let begun = Instant::now();
    let result = f();
    (result, begun.elapsed().as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_codegen::schedule::cost::Flops;

    #[test]
    fn quantiles_and_rates() {
        let sample = Sample::new(vec![5.0, 1.0, 3.0, 2.0, 4.0]);
        let quantiles = [0.0, 0.1, 0.5, 0.9].map(|share| sample.quantile(share));
        assert_eq!(quantiles, [1.0, 1.4, 3.0, 4.6]);
        let cost = Cost {
            ports: vec![2_000],
            carries: vec![1_000],
            flops: Flops {
                products: 6_000_000,
                ..Flops::default()
            },
        };
        let data = sample.data(Some(&cost), 8e9);
        assert_eq!(data["gflops"].as_f64(), Some(2.0));
        assert_eq!(data["peak_share"].as_f64(), Some(0.25));
    }
}
