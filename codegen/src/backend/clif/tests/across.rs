//! Heads as rows: every phase of drawn sizes, the last block of heads not full.

use super::{Draft, Numbers, check};
use crate::{Compiler, Phase};
use baton_ir::{builtin, text};

#[test]
fn rows_are_heads_and_the_loop_inside_goes_over_steps() {
    let mut numbers = Numbers::new(5);
    let mut draw = |low: f32, high: f32| numbers.next(low, high + 1.0) as usize;
    let mut found = 0;
    for name in builtin::NAMES {
        let recurrence = text::parse(builtin::text(name).expect("a built-in name"));
        let recurrence = recurrence.expect("it parses");
        for _ in 0..6 {
            let sizes: Vec<usize> = recurrence.dims.iter().map(|_| draw(1.0, 40.0)).collect();
            let compiler = Compiler::of_any(&recurrence, &sizes).expect("it verifies");
            for phase in [Phase::ForwardKeep, Phase::Entering, Phase::Backward] {
                let rows = draw(1.0, 40.0);
                if let Some(program) = compiler.across(phase, rows) {
                    // The bounds of whole recurrences.
                    let bound = if phase == Phase::Backward { 1e-5 } else { 2e-6 };
                    check(&Draft::of(&program), draw(1.0, 90.0), draw(1.0, 9.0), bound);
                    found += 1;
                }
            }
        }
    }
    assert!(found >= 3 * 6 * 3, "{found} programs ran");
}
