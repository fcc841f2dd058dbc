//! Heads as rows: every phase of drawn sizes, the last block of heads not full.

use super::{Draft, Numbers, check};
use crate::{Compiler, Phase};
use baton_ir::{builtin, text};

#[test]
fn rows_are_heads_and_the_loop_inside_goes_over_steps() {
    let mut numbers = Numbers::new(5);
    let mut draw = |low: f32, high: f32| numbers.next(low, high + 1.0) as usize;
    for name in ["mamba1", "rg_lru", "min_gru"] {
        let recurrence = text::parse(builtin::text(name).expect("a built-in name"));
        let recurrence = recurrence.expect("it parses");
        for _ in 0..6 {
            let sizes = vec![draw(1.0, 40.0); recurrence.dims.len()];
            let compiler = Compiler::of_any(&recurrence, &sizes).expect("it verifies");
            for phase in [Phase::ForwardKeep, Phase::Entering, Phase::Backward] {
                let program = compiler.across(phase, draw(1.0, 40.0));
                let draft = Draft::of(&program.expect("no state is a matrix"));
                check(&draft, draw(1.0, 90.0), draw(1.0, 9.0), 1e-6);
            }
        }
    }
}
