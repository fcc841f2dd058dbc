//! Random recurrences at random sizes: the heart of the suite.
//!
//! `baton_tests::random` draws programs, settings and numbers; here is what must hold for them. On the
//! CPU (`check`): outputs, leaving states and every gradient are the truth's to within the bounds of the
//! suite, 2e-6 and 1e-5 *of the terms* of each element (`baton_tests::random::terms`): not the norm of
//! a tensor, so that no large element hides a small one, and not the value itself, so that a gradient
//! that is a near-cancelling sum is judged by what was summed. Bits do not depend on threads, single
//! steps give what a run gives. Levels 2 and 3 in f64 (`levels`) agree to 1e-11 of the terms. Texts
//! that are mostly ill-formed (`text`) are refused with a place, or accepted and then right.
//!
//! An error, a panic or no end is a failure. It is shrunk and printed with its seed and the command
//! that runs it again. Seeds are fixed, so a run is the same everywhere; `BATON_RANDOM_PROGRAMS` and
//! `BATON_RANDOM_SEED` choose others. That a wrong result is found is tested in `planted`, that
//! everything is met in `everything_is_met`.

mod check;
#[cfg(feature = "mlir")]
mod gpu;
mod guard;
mod levels;
mod memory;
mod planted;
mod text;

use baton_tests::random::shrink::shrink;
use baton_tests::random::{Coverage, Drawn};
use check::Seen;
use guard::{Failure, guarded};

/// Programs of a run where nothing says how many.
const PROGRAMS: u64 = 800;
/// Attempts at making a failure smaller.
const ATTEMPTS: usize = 400;

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
    )
}

/// Programs to run in all.
fn programs() -> u64 {
    variable("BATON_RANDOM_PROGRAMS").unwrap_or(PROGRAMS)
}

/// The seed of the first program; the others follow.
fn first() -> u64 {
    variable("BATON_RANDOM_SEED").unwrap_or(0)
}

/// A shrunken failure as a test case.
fn report(
    kind: &str,
    drawn: Drawn,
    failure: Failure,
    check: impl Fn(&Drawn) -> Result<(), Failure>,
) -> String {
    let seed = drawn.setting.seed;
    let mut last = failure.clone();
    let small = match failure {
        // What the verifier refuses has a place already, and anything can be refused.
        Failure::Refused(_) | Failure::Endless => drawn,
        _ => shrink(drawn, ATTEMPTS, |candidate| match check(candidate) {
            Err(why @ (Failure::Wrong(_) | Failure::Panic(_))) => {
                last = why;
                true
            }
            _ => false,
        }),
    };
    let Drawn { program, setting } = &small;
    format!(
        "{last}\n\n{program}\n{setting:?}\n\nagain: BATON_RANDOM_SEED={seed} BATON_RANDOM_PROGRAMS=1 \
         cargo test -p baton-tests --test it random::{kind}\n"
    )
}

/// What a shard saw.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    ran: u64,
    /// The mean share of elements that were compared.
    compared: f64,
    levels: u64,
    steps: u64,
}

/// Runs `check` on the seeds of one of [`SHARDS`] tests, which run side by side.
fn shard(
    kind: &'static str,
    number: u64,
    draw: impl Fn(u64) -> Drawn,
    check: fn(&Drawn) -> Result<Seen, Failure>,
) -> Counts {
    let mut failures = vec![];
    let mut counts = Counts::default();
    let seeds = first()..first() + programs();
    for seed in seeds.filter(|seed| seed / 4 % SHARDS == number) {
        let drawn = draw(seed);
        let run = |drawn: &Drawn| {
            let drawn = drawn.clone();
            guarded(move || check(&drawn))
        };
        match run(&drawn) {
            Ok(seen) => {
                counts.ran += 1;
                counts.compared += seen.compared;
                counts.levels += u64::from(seen.levels);
                counts.steps += u64::from(seen.steps);
            }
            Err(failure) => {
                failures.push(report(kind, drawn, failure, |d| run(d).map(|_| ())));
                eprintln!("{}", failures[failures.len() - 1]);
                if failures.len() == 10 {
                    break;
                }
            }
        }
    }
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} of {} programs failed, the first:\n{}",
        counts.ran + count as u64,
        failures[0]
    );
    counts.compared /= counts.ran.max(1) as f64;
    counts
}

/// Tests that a run is divided into.
const SHARDS: u64 = 4;

fn well_formed(number: u64) {
    let check = |drawn: &Drawn| check::check(drawn, |_| ());
    let counts = shard("well_formed", number, Drawn::new, check);
    println!("{counts:?}");
    let Counts {
        ran,
        compared,
        levels,
        steps,
    } = counts;
    if ran < 100 {
        return;
    }
    // The rest comes after an edge that rounding decides, or cancels.
    assert!(compared >= 0.78, "{compared} of the elements were compared");
    assert!(levels * 4 >= ran, "{levels} of {ran} ran on levels 2 and 3");
    assert!(
        steps * 20 >= levels,
        "{steps} of {levels} have no chunked form"
    );
}

#[test]
fn well_formed_0() {
    well_formed(0);
}

#[test]
fn well_formed_1() {
    well_formed(1);
}

#[test]
fn well_formed_2() {
    well_formed(2);
}

#[test]
fn well_formed_3() {
    well_formed(3);
}

/// Every remainder, function, shape and option is among the programs of a plain run.
#[test]
fn everything_is_met() {
    let mut coverage = Coverage::default();
    (0..PROGRAMS).for_each(|seed| coverage.add(&Drawn::new(seed)));
    assert_eq!(coverage.missing(), Vec::<String>::new());
    // And a few programs do not meet everything: the list can be missed.
    let mut few = Coverage::default();
    (0..20).for_each(|seed| few.add(&Drawn::new(seed)));
    assert!(!few.missing().is_empty());
}
