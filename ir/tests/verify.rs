//! The verifier by example: `verify/*.rec`.
//!
//! A comment `//~ CODE `text`` on a line says that there is an error of that code at exactly that
//! text on that line; several may follow each other. All errors are listed, and no others may
//! come. Files stop where a reader of the language stops: those with errors of syntax or of names
//! have none of typing.

use baton_ir::diag::Diagnostic;
use baton_ir::text::{self, place};
use baton_ir::verify::verify;
use std::collections::BTreeSet;

type Finding = (usize, String, String);

fn expected(source: &str) -> Vec<Finding> {
    let mut all = Vec::new();
    for (i, line) in source.lines().enumerate() {
        let Some((_, comment)) = line.split_once("//~") else {
            continue;
        };
        let mut parts = comment.split('`');
        while let (Some(code), Some(text)) = (parts.next(), parts.next()) {
            all.push((i + 1, code.trim().to_string(), text.to_string()));
        }
    }
    all.sort();
    all
}

fn found(source: &str, diagnostics: &[Diagnostic]) -> Vec<Finding> {
    let finding = |d: &Diagnostic| {
        let text = &source[d.span.start as usize..d.span.end as usize];
        (
            place(source, d.span).line,
            d.code.to_string(),
            text.to_string(),
        )
    };
    let mut all: Vec<Finding> = diagnostics.iter().map(finding).collect();
    all.sort();
    all
}

fn check(source: &str) -> Vec<Diagnostic> {
    match text::parse(source) {
        Ok(recurrence) => verify(&recurrence).err().unwrap_or_default(),
        Err(diagnostics) => diagnostics,
    }
}

#[test]
fn every_error_stands_where_the_files_say() {
    let mut codes = BTreeSet::new();
    let mut files: Vec<_> = std::fs::read_dir("tests/verify")
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        let diagnostics = check(&source);
        assert!(
            diagnostics.is_sorted_by_key(|d| d.span),
            "{file:?} is not in order"
        );
        let name = file.file_name().unwrap().to_string_lossy();
        assert_eq!(
            found(&source, &diagnostics),
            expected(&source),
            "\n{}",
            text::render(&name, &source, &diagnostics)
        );
        codes.extend(diagnostics.iter().map(|d| d.code));
    }
    // R004 and R020 cannot be said in a file of reasonable size, or at all: see `text.rs`. R046 is
    // in `bounds.rs`. R041 is no more.
    let all = (1..=5)
        .chain(10..=19)
        .chain(21..=36)
        .chain(40..=45)
        .filter(|&n| ![4, 41].contains(&n));
    let missing: Vec<String> = all
        .map(|n| format!("R{n:03}"))
        .filter(|c| !codes.contains(c.as_str()))
        .collect();
    assert!(missing.is_empty(), "no file shows {missing:?}");
}
