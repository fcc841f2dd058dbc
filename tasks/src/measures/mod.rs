//! What a measure found: plain data, as its file has it.
//!
//! Whoever measures writes a [`Measurement`], whoever shows it reads one; neither needs the other. Results are of the
//! measure's own form, each a type here, tasks' is [`Grid`](crate::Grid). [`Label`] says which run of an experiment the
//! file is of.

mod interval;
mod label;
mod measurement;
mod numbers;
mod perplexity;
mod remembrance;
mod states;

pub use interval::Interval;
pub use label::{Label, RUN};
pub use measurement::Measurement;
pub use perplexity::ByPosition;
pub use remembrance::Remembrance;
pub use states::{LayerStatistics, OverTime};

/// About `count` whole numbers from `first` to `last`, evenly spaced in their logarithm, each once.
pub fn log_spaced(first: usize, last: usize, count: usize) -> Vec<usize> {
    let (first, last) = (first.max(1), last.max(1));
    let ratio = (last as f64 / first as f64).ln();
    let steps = count.min(last).max(2) - 1;
    let point = |i: usize| first as f64 * (ratio * i as f64 / steps as f64).exp();
    let mut points: Vec<usize> = (0..=steps).map(|i| point(i).round() as usize).collect();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::log_spaced;

    #[test]
    fn log_spacing_keeps_both_ends_and_repeats_nothing() {
        assert_eq!(log_spaced(1, 64, 7), [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(log_spaced(1, 3, 20), [1, 2, 3]);
        assert_eq!(log_spaced(5, 5, 4), [5]);
    }
}
