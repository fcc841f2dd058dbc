//! Ill-formed texts: refused with a place, or accepted and then right; never a panic.

use super::check::{F32, Known, Seen};
use super::guard::{Failure, guarded};
use super::memory::Prepared;
use super::{first, programs};
use baton_codegen::derive_any;
use baton_ir::diag::Diagnostic;
use baton_ir::text;
use baton_ir::verify::verify;
use baton_runtime::device::cpu::Cpu;
use baton_tests::random::{Drawn, ill_formed};

/// Texts for each well-formed program.
const TEXTS: u64 = 2;

/// Whether every diagnostic says where and what.
fn placed(source: &str, diagnostics: &[Diagnostic]) -> Result<(), Failure> {
    let wrong = |what: String| Err(Failure::Wrong(what));
    if diagnostics.is_empty() {
        return wrong("refused without a diagnostic".into());
    }
    for diagnostic in diagnostics {
        let span = diagnostic.span;
        let (start, end) = (span.start as usize, span.end as usize);
        if start > end || source.get(start..end).is_none() {
            return wrong(format!("{}: {start}..{end} is no place", diagnostic.code));
        }
        if text::render("drawn.rec", source, std::slice::from_ref(diagnostic)).is_empty()
            || diagnostic.message.is_empty()
        {
            return wrong(format!("{} says nothing", diagnostic.code));
        }
    }
    Ok(())
}

/// What holds for any text; numbers and sizes are those of the program that it was made from.
fn any_text(source: &str, drawn: &Drawn) -> Result<Seen, Failure> {
    let refused = Seen::default();
    let recurrence = match text::parse(source) {
        Ok(recurrence) => recurrence,
        Err(diagnostics) => return placed(source, &diagnostics).map(|()| refused),
    };
    let printed = text::print(&recurrence);
    let again = text::parse(&printed).map(|again| text::print(&again));
    if again.as_ref() != Ok(&printed) {
        return Err(Failure::Wrong(format!(
            "the canonical text is another: {printed}"
        )));
    }
    let facts = match verify(&recurrence) {
        Ok(facts) => facts,
        Err(diagnostics) => return placed(source, &diagnostics).map(|()| refused),
    };
    if let Err(diagnostic) = derive_any(&recurrence, &facts) {
        return placed(source, &[diagnostic]).map(|()| refused);
    }
    let known = Known::new(drawn, recurrence, F32.outputs, |x| x)?;
    // The interpreters of levels 2 and 3 multiply what a mask leaves out: a NaN of another step reaches it.
    let finite = known.truth.is_finite();
    let steps = finite && super::levels::check(drawn, &known)?;
    let prepared = Prepared::new(drawn, &known.numbers);
    let cpu = Cpu::new(Some(1)).expect("threads start");
    let error = |why: baton_runtime::Error| Failure::Wrong(why.to_string());
    let found = prepared.run(&cpu).map_err(error)?;
    known.agrees(&found, F32)?;
    Ok(Seen {
        compared: known.compared(),
        levels: finite,
        steps,
    })
}

/// What a text is run at, where it turns out to be well-formed: little.
fn small(mut drawn: Drawn) -> Drawn {
    let setting = &mut drawn.setting;
    setting.time %= 20;
    setting
        .sizes
        .iter_mut()
        .for_each(|(_, size)| *size = 1 + *size % 20);
    for dim in ["K", "V", "W"] {
        if !setting.sizes.iter().any(|(name, _)| name == dim) {
            setting.sizes.push((dim.into(), 5));
        }
    }
    (setting.batch, setting.heads, setting.groups) = (1, 1, 1);
    setting.cu_seqlens = None;
    (setting.absent, setting.wild) = (false, false);
    drawn
}

fn ill_formed_texts(number: u64) {
    let mut accepted = 0;
    let mut count = 0;
    let end = first() + programs() * TEXTS;
    for seed in (first()..end).filter(|seed| seed % 2 == number) {
        let (source, drawn) = ill_formed::text(seed);
        let drawn = small(drawn);
        let shown = source.clone();
        let run = guarded(move || any_text(&source, &drawn));
        match run {
            Ok(seen) => accepted += u64::from(seen.levels),
            Err(failure) => panic!(
                "{failure}\n\n{shown}\n\nagain: BATON_RANDOM_SEED={seed} BATON_RANDOM_PROGRAMS=1 \
                 cargo test -p baton-tests --test it random::text"
            ),
        }
        count += 1;
    }
    println!("{count} texts, {accepted} accepted and right");
    // Both ends of the claim are met.
    assert!(
        count < 400 || (accepted * 50 > count && accepted * 2 < count),
        "{accepted} of {count}"
    );
}

#[test]
fn ill_formed_texts_0() {
    ill_formed_texts(0);
}

#[test]
fn ill_formed_texts_1() {
    ill_formed_texts(1);
}

/// A place outside the text, or none, is noticed.
#[test]
fn a_refusal_without_a_place_is_found() {
    let source = "recurrence r {}";
    let mut diagnostics = text::parse("recurrence").expect_err("it is none");
    assert!(placed(source, &diagnostics).is_ok());
    assert!(placed(source, &[]).is_err());
    diagnostics[0].span.end = 1000;
    assert!(placed(source, &diagnostics).is_err());
}
