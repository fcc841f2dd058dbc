//! The field: which of all plans are run at all.
//!
//! There are hundreds. The cost model ranks them; the best go on, and beside them a few from everywhere below, so
//! that what the model says no to is measured too: its rank correlation is that of the whole field, and a good
//! plan that it misjudges may still be met.

use baton_codegen::Compiler;
use baton_codegen::schedule::time::Rates;
use baton_codegen::schedule::{Choice, Load, Plan};

/// Candidates that go on for their rank, and those from the rest.
const BEST: usize = 18;
const SPREAD: usize = 6;

/// A plan that may be the best.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// What it is made by.
    pub choice: Choice,
    /// What the cost model says of a run forward and backward.
    pub model_ms: f64,
}

/// The candidates for a load on `threads` threads: the rules' own first, the others by rank.
pub fn field(compiler: &Compiler, load: Load, threads: usize) -> Vec<Candidate> {
    let mut plans: Vec<Plan> = vec![];
    let mut all = vec![];
    for choice in compiler.choices(load) {
        let Some(plan) = compiler.chosen(&choice, load, None) else {
            continue;
        };
        if !plans.contains(&plan) {
            let work = compiler.work(&plan, load, threads);
            let model_ms = 1e3 * work.seconds(&Rates::CORE, threads);
            plans.push(plan);
            all.push(Candidate { choice, model_ms });
        }
    }
    let mut rest = all.split_off(1.min(all.len()));
    // Equal ones stay in the order of the list, which is that of the choices.
    rest.sort_by(|a, b| a.model_ms.total_cmp(&b.model_ms));
    let below = rest.split_off(BEST.min(rest.len()));
    all.append(&mut rest);
    let taken = SPREAD.min(below.len());
    all.extend((0..taken).map(|i| below[(i + 1) * below.len() / taken - 1].clone()));
    all
}

/// Spearman's rank correlation of pairs; none of fewer than three, or where one side is all the same.
pub fn rank_correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let ranks = |of: &dyn Fn(&(f64, f64)) -> f64| -> Vec<f64> {
        let values: Vec<f64> = pairs.iter().map(of).collect();
        // Equal values share the mean of their ranks.
        let rank = |x: &f64| {
            let below = values.iter().filter(|y| *y < x).count();
            let equal = values.iter().filter(|y| *y == x).count();
            below as f64 + (equal as f64 - 1.0) / 2.0
        };
        values.iter().map(rank).collect()
    };
    let (a, b) = (ranks(&|pair| pair.0), ranks(&|pair| pair.1));
    let mean = (n - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (pairs.len() >= 3 && spread > 0.0).then(|| product(&a, &b) / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_correlate() {
        let of = |xs: &[f64], ys: &[f64]| {
            let pairs: Vec<_> = xs.iter().copied().zip(ys.iter().copied()).collect();
            rank_correlation(&pairs)
        };
        let up = [1.0, 2.0, 5.0, 9.0, 11.0];
        assert_eq!(of(&up, &[10.0, 20.0, 21.0, 22.0, 1e9]), Some(1.0));
        assert_eq!(of(&up, &[5.0, 4.0, 3.0, 2.0, 1.0]), Some(-1.0));
        // 1 - 6 (0 + 1 + 1 + 0 + 0) / (5 * 24)
        let one_swap = of(&up, &[1.0, 3.0, 2.0, 4.0, 5.0]).unwrap();
        assert!((one_swap - 0.9).abs() < 1e-12, "{one_swap}");
        let tied = of(&[1.0, 1.0, 2.0], &[1.0, 1.0, 2.0]).unwrap();
        assert!((tied - 1.0).abs() < 1e-12, "{tied}");
        assert_eq!(of(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(of(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
    }
}
