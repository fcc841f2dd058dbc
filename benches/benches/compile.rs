//! The stages from a recurrence's text to machine code, each on its own, and the first run of a fresh device.
//!
//! `cargo bench -p baton-benches --bench compile`. A scalar class, a diagonal one and one that reads its own state.

use baton_benches::{Problem, Shape};
use baton_codegen::target::Native;
use baton_codegen::{Compiler, Phase, derive_any, grad};
use baton_ir::verify::verify;
use baton_ir::{builtin, text};
use criterion::{Criterion, criterion_group, criterion_main};

const SIZES: [usize; 2] = [64, 64];
const CHUNK: usize = 16;

fn stages(c: &mut Criterion) {
    for name in ["mamba2", "gla", "gated_delta_net"] {
        let source = builtin::text(name).expect("a built-in name");
        let recurrence = text::parse(source).expect("it parses");
        let facts = verify(&recurrence).expect("it verifies");
        let (forward, _) = derive_any(&recurrence, &facts).expect("it derives");
        let compiler = Compiler::of_any(&recurrence, &SIZES).expect("it compiles");
        let program = compiler.program(Phase::Backward, CHUNK);
        let mut group = c.benchmark_group(format!("compile {name}"));
        group.bench_function("parse", |bench| bench.iter(|| text::parse(source)));
        group.bench_function("verify", |bench| bench.iter(|| verify(&recurrence)));
        group.bench_function("derive", |bench| {
            bench.iter(|| derive_any(&recurrence, &facts));
        });
        group.bench_function("differentiate", |bench| bench.iter(|| grad(&forward)));
        group.bench_function("schedule backward", |bench| {
            bench.iter(|| compiler.program(Phase::Backward, CHUNK));
        });
        group.sample_size(20);
        group.bench_function("emit backward", |bench| {
            bench.iter(|| compiler.emit(&Native, program.clone()).expect("it emits"));
        });
        let shape = Shape {
            batch: 1,
            time: 1,
            heads: 1,
            groups: 1,
            sizes: SIZES.to_vec(),
        };
        let one = Problem::new(name, shape);
        group.bench_function("first forward of a fresh device", |bench| {
            bench.iter(|| one.load(1).forward(&one.call(), false).expect("it runs"));
        });
        group.finish();
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
