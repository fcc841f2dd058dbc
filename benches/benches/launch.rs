//! What a call costs the host: a step so small that nothing is computed to speak of.
//!
//! `cargo bench -p baton-benches --bench launch`. One head of a state of 4 x 4, on one thread and on two.

use baton_benches::{Problem, Shape};
use criterion::{Criterion, criterion_group, criterion_main};

fn calls(c: &mut Criterion) {
    let shape = Shape {
        batch: 1,
        time: 1,
        heads: 1,
        groups: 1,
        sizes: vec![4, 4],
    };
    for name in ["mamba2", "gated_delta_net"] {
        let one = Problem::new(name, shape.clone());
        let (call, arriving) = (one.call(), one.arriving());
        let absent = vec![None; one.recurrence.states.len()];
        for threads in [1, 2] {
            let kernel = one.load(threads);
            let mut group = c.benchmark_group(format!("launch {name}, {threads} threads"));
            let mut states = one.states();
            group.bench_function("step", |bench| {
                bench.iter(|| kernel.step(&call, &mut states).expect("it steps"));
            });
            group.bench_function("forward", |bench| {
                bench.iter(|| kernel.forward(&call, false).expect("it runs"));
            });
            let kept = kernel.forward(&call, true).expect("it runs").saved;
            group.bench_function("backward", |bench| {
                bench.iter(|| {
                    kernel
                        .backward(&call, kept.as_ref(), &arriving, &absent)
                        .expect("it runs")
                });
            });
            group.finish();
        }
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
