//! Forward, backward, step and cold compile of the built-in recurrences, and the sequential loop.
//!
//! `cargo bench -p baton-benches` runs all; a word filters. Two threads, f32.

use baton_benches::{Problem, Shape, sequential};
use baton_runtime::device::cpu::Cpu;
use baton_runtime::{Device, Options};
use criterion::{Criterion, criterion_group, criterion_main};

const THREADS: usize = 2;

fn ssd(c: &mut Criterion) {
    baton_runtime::memory::keep();
    let shape = Shape {
        batch: 1,
        time: 2048,
        heads: 80,
        groups: 1,
        sizes: vec![128, 64],
    };
    let problem = Problem::new("mamba2", shape);
    runs(c, "ssd B1 T2048 H80 P64 N128 G1", &problem);
    c.bench_function(
        "ssd B1 T2048 H80 P64 N128 G1/sequential loop, 1 thread",
        |bench| {
            bench.iter(|| sequential(&problem));
        },
    );
}

fn diagonal(c: &mut Criterion) {
    for name in ["linear_attention", "gla", "rwkv6"] {
        let shape = Shape {
            batch: 1,
            time: 2048,
            heads: 16,
            groups: 16,
            sizes: vec![128, 128],
        };
        runs(
            c,
            &format!("{name} B1 T2048 H16 K128 V128"),
            &Problem::new(name, shape),
        );
    }
}

fn runs(c: &mut Criterion, title: &str, problem: &Problem) {
    let cpu = Cpu::new(Some(THREADS)).expect("threads start");
    let load = |cpu: &Cpu| {
        cpu.load(
            &problem.recurrence,
            &problem.shape.sizes,
            &Options::default(),
        )
        .expect("it loads")
    };
    let kernel = load(&cpu);
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
    let one = Problem::new(
        &problem.recurrence.name,
        Shape {
            time: 1,
            ..problem.shape.clone()
        },
    );
    let mut states = one.states();
    group.bench_function("step", |bench| {
        bench.iter(|| kernel.step(&one.call(), &mut states).expect("it steps"));
    });
    group.bench_function("compile of forward, at T 1", |bench| {
        bench.iter(|| {
            let fresh = Cpu::new(Some(1)).expect("threads start");
            load(&fresh).forward(&one.call(), false).expect("it runs")
        });
    });
    group.finish();
}

criterion_group!(benches, ssd, diagonal);
criterion_main!(benches);
