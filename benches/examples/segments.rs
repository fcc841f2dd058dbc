//! What segments whose summary is a matrix cost and gain: one head of one sequence, which is cut, beside two
//! heads, which are whole, on one thread and on two.
//!
//! `cargo run --release -p baton-benches --example segments` prints a line for each: milliseconds for a head, the
//! best of several runs, forward and with the backward of what it kept. Of a whole head on one thread it is what a
//! whole head takes on any number of threads, as one core has it.

use baton_benches::{Problem, Shape};
use std::time::Instant;

const RUNS: usize = 9;

fn main() {
    for name in ["delta_net", "gated_delta_net", "kda"] {
        for sizes in [[64, 64], [128, 128], [128, 64]] {
            for (heads, threads) in [(2, 1), (1, 1), (1, 2)] {
                let [forward, both] = best(name, sizes, heads, threads);
                let cut = if heads == 1 { "cut" } else { "whole" };
                let [rows, columns] = sizes;
                println!(
                    "{name} B1 T8192 K{rows} V{columns} {cut}, {threads} threads: forward {forward:.1} ms, \
                     with backward {both:.1} ms"
                );
            }
        }
    }
}

/// Milliseconds for a head.
fn best(name: &str, sizes: [usize; 2], heads: usize, threads: usize) -> [f64; 2] {
    let shape = Shape {
        batch: 1,
        time: 8192,
        heads,
        groups: heads,
        sizes: sizes.to_vec(),
    };
    let problem = Problem::new(name, shape);
    let kernel = problem.load(threads);
    let (call, arriving) = (problem.call(), problem.arriving());
    let absent = vec![None; problem.recurrence.states.len()];
    let time = |run: &dyn Fn()| {
        run();
        let once = |_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3 / heads as f64
        };
        (0..RUNS).map(once).fold(f64::INFINITY, f64::min)
    };
    let forward = || {
        kernel.forward(&call, false).expect("it runs");
    };
    let both = || {
        let kept = kernel.forward(&call, true).expect("it runs");
        let backward = kernel.backward(&call, kept.saved.as_ref(), &arriving, &absent);
        backward.expect("it runs");
    };
    [time(&forward), time(&both)]
}
