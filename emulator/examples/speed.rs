//! How fast the emulator is: a tensor-core product of two 512 x 512 matrices.
//!
//! `cargo run -p baton-emulator --example speed`

use std::time::Instant;

use baton_emulator::{Launch, Memory, Module, Result};

const SIDE: i32 = 512;

fn main() -> Result<()> {
    let module = Module::parse(include_str!("../tests/nvrtc/matmul.ptx"))?;
    let mut memory = Memory::new();
    let elements = (SIDE * SIDE) as usize;
    let ones: Vec<u8> = [0x80, 0x3f].repeat(elements);
    let (a, b) = (memory.input(&ones), memory.input(&ones));
    let c = memory.output(4 * elements);
    let mut parameters: Vec<_> = [a, b, c].map(|x| memory.address(x).into()).to_vec();
    parameters.extend([SIDE.into(), SIDE.into()]);
    let launch = Launch {
        grid: [SIDE as u32 / 64, SIDE as u32 / 64, 1],
        block: [128, 1, 1],
        parameters,
        ..Launch::default()
    };
    let start = Instant::now();
    let report = module.kernel("matmul")?.launch(&launch, &mut memory)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{seconds:.2} s, {} warp instructions, {} matrix products, {} findings",
        report.counts.total(),
        report.counts.tensor_ops,
        report.findings.len()
    );
    Ok(())
}
