//! PTX as LLVM's NVPTX back end prints it: untyped loads, registers of bits only, a ragged end.

use baton_emulator::{Launch, Memory};

use crate::support::{assert_clean, bytes, floats, run};

/// exp2, a neighbour through shared memory, back by a shuffle, rounded to bf16.
#[test]
fn a_kernel_of_the_nvptx_back_end() {
    let n = 300;
    let x: Vec<f32> = (0..n).map(|i| (i % 50) as f32 / 8.0).collect();
    let mut memory = Memory::new();
    let input = memory.input(&bytes(&x, f32::to_le_bytes));
    let output = memory.output(4 * n);
    let launch = Launch {
        grid: [3, 1, 1],
        block: [128, 1, 1],
        parameters: vec![
            memory.address(input).into(),
            memory.address(output).into(),
            (n as i32).into(),
        ],
        schedule_seed: 3,
        ..Launch::default()
    };
    let report = run(include_str!("../llvm/neighbour.ptx"), &launch, &mut memory);
    assert_clean(&report);
    assert_eq!(memory.unwritten(output), vec![]);
    for (x, found) in x.iter().zip(floats(memory.read(output))) {
        let wanted = f64::from(*x).exp2();
        assert!(
            (f64::from(found) / wanted - 1.0).abs() <= 2f64.powi(-8),
            "{x}"
        );
        assert_eq!(found.to_bits() & 0xffff, 0);
    }
}
