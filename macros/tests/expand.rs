//! What the macro accepts runs; what it refuses is reported as recorded in `tests/macros/fail`.

#[test]
fn definitions_run() {
    let cases = trybuild::TestCases::new();
    cases.pass("../tests/macros/pass/*.rs");
}

#[test]
fn errors_stand_at_their_tokens() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("../tests/macros/fail/*.rs");
}
