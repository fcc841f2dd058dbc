//! What would be wrong is reported as wrong: breaches planted into random cases.

use super::check::{self, Known, accepted};
use super::guard::{Failure, guarded};
use crate::devices::{GRADIENTS, OUTPUTS};
use baton_runtime::device::cpu::Cpu;
use baton_tests::Random;
use baton_tests::random::{Drawn, Expr, Truth, Verb};

const CASES: u64 = 60;

/// Cases whose numbers are plain, so that there is something to see.
fn cases() -> impl Iterator<Item = Drawn> {
    let plain = |drawn: &Drawn| {
        let setting = &drawn.setting;
        let steps = setting.batch * setting.time;
        (20..400).contains(&steps)
            && !setting.wild
            && !setting.absent
            && setting.cu_seqlens.is_none()
    };
    (0..).map(Drawn::new).filter(plain).take(CASES as usize)
}

/// How many of the cases are reported as wrong.
fn reported(found: impl Fn(&Drawn) -> Result<(), Failure>) -> u64 {
    let wrong = |drawn: Drawn| u64::from(matches!(found(&drawn), Err(Failure::Wrong(_))));
    cases().map(wrong).sum()
}

#[test]
fn one_number_of_the_truth_off_by_a_hair_is_found() {
    let found = reported(|drawn| {
        let drawn = drawn.clone();
        guarded(move || {
            let mut random = Random::named(drawn.setting.seed, "breach");
            let breach = |truth: &mut Truth| {
                // An output whose terms do not cancel much, or another tensor if there is none.
                let outputs = truth.outcome.outputs.iter_mut();
                let tensor = outputs.last().expect("every program has an output");
                let largest = tensor.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
                let at = random.below(tensor.len());
                tensor[at] += 3e-4 * largest;
            };
            check::check(&drawn, breach).map(|_| ())
        })
    });
    assert!(found * 3 >= CASES * 2, "{found} of {CASES}");
}

#[test]
fn a_decay_that_is_off_by_one_step_is_found() {
    let mut planted = 0;
    let mut found = 0;
    for drawn in cases() {
        let mut other = drawn.clone();
        // `S = a * S + b` becomes `S = a * (S + b)`.
        let mut changed = false;
        for stmt in &mut other.program.body {
            let Expr::Apply("+", sum) = &stmt.value else {
                continue;
            };
            if let (Verb::Update, Expr::Apply("*", product)) = (&stmt.verb, &sum[0])
                && product[1] == Expr::name(&stmt.name)
                && !matches!(product[0], Expr::Apply("rows" | "cols", _))
            {
                let inner = Expr::two("+", product[1].clone(), sum[1].clone());
                stmt.value = Expr::two("*", product[0].clone(), inner);
                changed = true;
                break;
            }
        }
        if !changed {
            continue;
        }
        planted += 1;
        let verdict = guarded(move || {
            let told = Known::new(&other, accepted(&other)?, GRADIENTS, |x| x)?;
            let numbers = drawn.numbers(accepted(&drawn)?, |x| x);
            let prepared = super::memory::Prepared::new(&drawn, &numbers);
            let cpu = Cpu::new(Some(1)).expect("threads start");
            let run = prepared
                .run(&cpu)
                .map_err(|why| Failure::Wrong(why.to_string()))?;
            told.agrees(&run, [OUTPUTS, GRADIENTS])
        });
        found += u64::from(matches!(verdict, Err(Failure::Wrong(_))));
    }
    assert!(planted >= 10, "{planted} cases have such an update");
    assert!(found * 3 >= planted * 2, "{found} of {planted}");
}

#[test]
fn a_panic_and_a_refusal_are_failures() {
    let panicked = guarded::<()>(|| panic!("planted"));
    assert!(matches!(panicked, Err(Failure::Panic(what)) if what.contains("planted")));
    let mut drawn = Drawn::new(0);
    drawn.program.body[0].value = Expr::name("nothing");
    assert!(matches!(accepted(&drawn), Err(Failure::Refused(_))));
}
