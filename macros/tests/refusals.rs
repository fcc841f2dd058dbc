//! What the macro refuses is reported as recorded in `refused`. That what it accepts runs is tested in
//! `tests/it/macros`: trybuild has a target folder of its own, in which everything would be built once more;
//! what is refused is only checked there.

#[test]
fn errors_stand_at_their_tokens() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/refused/*.rs");
}
