//! The demonstration without the command line: `cargo run --release --example demo -- FOLDER`.

use baton_runtime::device::cpu::Cpu;
use baton_train::demo::{DemoOptions, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    baton_train::memory::keep();
    let folder = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "target/demo".into());
    let mut options = DemoOptions::new(folder);
    if let Some(steps) = std::env::args().nth(2) {
        options.steps = steps.parse()?;
    }
    let report = run(&options, &Cpu::new(None)?)?;
    print!("{report}");
    Ok(())
}
