//! Forward, the forward that keeps states, and backward of built-in recurrences, and the sequential loop.
//!
//! `cargo bench -p baton-benches --bench kernels`; a word filters. Two threads, f32.

use baton_benches::{Problem, Shape, sequential};
use criterion::{Criterion, criterion_group, criterion_main};

fn ssd(c: &mut Criterion) {
    let title = "ssd B1 T2048 H80 P64 N128 G1";
    let problem = Problem::new("mamba2", Shape::ssd(2048));
    runs(c, title, &problem);
    c.bench_function(&format!("{title}/sequential loop, 1 thread"), |bench| {
        bench.iter(|| sequential(&problem));
    });
}

fn others(c: &mut Criterion) {
    for name in ["gla", "gated_delta_net"] {
        let shape = Shape {
            batch: 1,
            time: 2048,
            heads: 16,
            groups: 16,
            sizes: vec![128, 128],
        };
        let title = format!("{name} B1 T2048 H16 K128 V128");
        runs(c, &title, &Problem::new(name, shape));
    }
}

fn runs(c: &mut Criterion, title: &str, problem: &Problem) {
    let kernel = problem.load(2);
    let (call, arriving) = (problem.call(), problem.arriving());
    let absent = vec![None; problem.recurrence.states.len()];
    let mut group = c.benchmark_group(title);
    group.sample_size(20);
    group.bench_function("forward", |bench| {
        bench.iter(|| kernel.forward(&call, false).expect("it runs"));
    });
    group.bench_function("forward, keeping what backward needs", |bench| {
        bench.iter(|| kernel.forward(&call, true).expect("it runs"));
    });
    let kept = kernel.forward(&call, true).expect("it runs");
    group.bench_function("backward", |bench| {
        let saved = kept.saved.as_ref();
        bench.iter(|| {
            kernel
                .backward(&call, saved, &arriving, &absent)
                .expect("it runs")
        });
    });
    group.finish();
}

criterion_group!(benches, ssd, others);
criterion_main!(benches);
