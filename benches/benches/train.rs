//! A training step of the model that the page compares (benches/training.json), AdamW included, on two threads.
//!
//! `cargo bench -p baton-benches --bench train`.

use baton_data::Text;
use baton_runtime::device::cpu::Cpu;
use baton_train::trainer::Trainer;
use criterion::{Criterion, criterion_group, criterion_main};

fn step(c: &mut Criterion) {
    baton_runtime::memory::keep();
    let config = include_str!("../training.json");
    let config = serde_json::from_str(config).expect("a configuration");
    let bytes = (0..200_000u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8);
    let text = Text::cut("bytes", bytes.collect(), 0.0);
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let mut trainer = Trainer::new(config, &cpu, &text).expect("it starts");
    let mut group = c.benchmark_group("train 1.86 M parameters, batch 8 x 256");
    group.sample_size(10);
    group.bench_function("step", |bench| {
        bench.iter(|| trainer.step().expect("it steps"));
    });
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
