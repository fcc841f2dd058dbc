//! A decode step, and a few steps in one call from given states, as a draft is verified with.
//!
//! `cargo bench -p baton-benches --bench decode`. Two threads, f32, Mamba-2 of 80 heads.

use baton_benches::{Problem, Shape};
use criterion::{Criterion, criterion_group, criterion_main};

fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode H80 P64 N128");
    let one = Problem::new("mamba2", Shape::ssd(1));
    let kernel = one.load(2);
    let mut states = one.states();
    group.bench_function("step", |bench| {
        bench.iter(|| kernel.step(&one.call(), &mut states).expect("it steps"));
    });
    for time in [2, 4, 8, 16] {
        let few = Problem::new("mamba2", Shape::ssd(time));
        let mut call = few.call();
        call.states = states.iter().map(|state| Some(state.view())).collect();
        group.bench_function(format!("{time} steps in a call"), |bench| {
            bench.iter(|| kernel.forward(&call, false).expect("it runs"));
        });
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
