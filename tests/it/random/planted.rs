//! What would be wrong is reported as wrong: breaches planted into random cases.

use super::check::{self, F32, Known, UNIT, accepted};
use super::guard::{Failure, guarded};
use baton_runtime::device::cpu::Cpu;
use baton_tests::Random;
use baton_tests::random::terms::Term;
use baton_tests::random::{Drawn, Expr, Verb};

const CASES: u64 = 100;

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

/// An element that is known to a ten-thousandth of its tensor's largest is made wrong by three of them.
fn breach(known: &mut Known, random: &mut Random) -> bool {
    let terms = known.terms.outputs.last();
    let truth = known.truth.outcome.outputs.last_mut();
    let (terms, truth) = terms.zip(truth).expect("every program has an output");
    let largest = truth.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    let known = |term: &Term| (F32.gradients * term.size).max(UNIT * term.carried);
    let sharp = |&i: &usize| known(&terms[i]) <= 1e-4 * largest;
    let sharp: Vec<usize> = (0..truth.len()).filter(sharp).collect();
    if sharp.is_empty() || largest == 0.0 {
        return false;
    }
    truth[*random.pick(&sharp)] += 3e-4 * largest;
    true
}

#[test]
fn one_number_of_the_truth_off_by_a_hair_is_found() {
    let (mut planted, mut lost) = (0, vec![]);
    for drawn in cases() {
        let seed = drawn.setting.seed;
        let result = guarded(move || {
            let mut random = Random::named(drawn.setting.seed, "breach");
            let mut made = false;
            let verdict = check::check(&drawn, |known| made = breach(known, &mut random));
            Ok((made, matches!(verdict, Err(Failure::Wrong(_)))))
        });
        let (made, wrong) = result.expect("nothing panics");
        planted += u64::from(made);
        lost.extend((made && !wrong).then_some(seed));
    }
    // The rest of the outputs are near-cancelling sums or at an edge in every element.
    println!("{planted} planted, all but {lost:?} found");
    assert!(planted * 4 >= CASES * 3, "{planted} of {CASES} planted");
    assert_eq!(lost, [0; 0]);
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
            let told = Known::new(&other, accepted(&other)?, F32.outputs, |x| x)?;
            let numbers = drawn.numbers(accepted(&drawn)?, |x| x);
            let prepared = super::memory::Prepared::new(&drawn, &numbers);
            let cpu = Cpu::new(Some(1)).expect("threads start");
            let run = prepared
                .run(&cpu)
                .map_err(|why| Failure::Wrong(why.to_string()))?;
            told.agrees(&run, F32)
        });
        found += u64::from(matches!(verdict, Err(Failure::Wrong(_))));
    }
    assert!(planted >= 10, "{planted} cases have such an update");
    println!("{planted} planted, {found} found");
    // A state that nothing reads, and a decay of one, hide where the sum stands.
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
