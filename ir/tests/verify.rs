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
    // in `bounds.rs`. R041, R042 and R044 are no more.
    let all = (1..=5)
        .chain(10..=19)
        .chain(21..=36)
        .chain(40..=45)
        .filter(|&n| ![4, 41, 42, 44].contains(&n));
    let missing: Vec<String> = all
        .map(|n| format!("R{n:03}"))
        .filter(|c| !codes.contains(c.as_str()))
        .collect();
    assert!(missing.is_empty(), "no file shows {missing:?}");
}

/// What is often written, and what its error says to write in its place.
#[test]
fn errors_say_what_to_write() {
    let text = |body: &str| {
        format!(
            "recurrence r {{ dims {{ K, V, D }} inputs {{ q: [K], k: [K], v: [V], d: [D], r: [], g: [] }}
             state {{ S: [K, V], n: [] }} {body} }}"
        )
    };
    let rest = "S = exp(g) * S + outer(k, v * sum(d)); n = n + r; output o: [V] = dot(q, S) * n;";
    for (body, code, part) in [
        ("let a = q^2; ", "R001", "`pow(a, 2)`"),
        ("let a = q @ k; ", "R001", "`dot(a, b)`"),
        ("# a comment\n", "R001", "`//`"),
        ("let a = 2 $ 3; ", "R001", "remove it"),
        ("let a = sigmoyd(g); ", "R014", "did you mean `sigmoid`?"),
        ("let a = matmul(q, k); ", "R014", "`outer` or `dot`"),
        ("let a = dot(d, S); ", "R026", "a vector [K] leaves [V]"),
        (
            "let a = v - dot(v, S); ",
            "R021",
            "a vector [K] in place of `v` leaves [V]",
        ),
        (
            "let a = dot(q, S) + dot(v, S) * g; ",
            "R021",
            "a vector [K] in place of `v` leaves [V]",
        ),
        (
            "output p: [V] = -dot(v, S) / g; ",
            "R028",
            "a vector [K] in place of `v` leaves [V]",
        ),
        (
            "output p: [V] = dot(v, S); ",
            "R028",
            "a vector [K] in place of `v` leaves [V]",
        ),
        (
            "n = select(r > 0.5, 0, 1) * n; ",
            "R043",
            "`select(r > 0.5, 1e-30, 1)`",
        ),
        ("n = (1 - r) * n; ", "R043", "`select(r > 0.5, 1e-30, 1)`"),
        (
            "n = select(r > 0.5, 0, n); ",
            "R040",
            "`select(r > 0.5, 1e-30, 1)`",
        ),
        (
            "S = select(r > 0.5, 0, S); ",
            "R022",
            "`select(r > 0.5, 1e-30, 1)`",
        ),
    ] {
        let source = text(&format!("{body}{rest}"));
        let found = check(&source);
        let of = found.iter().find(|d| d.code == code);
        let help = of.and_then(|d| d.remedy.as_deref()).unwrap_or("none");
        // What follows a character without a meaning is no second error.
        let again = code == "R001" && found.iter().any(|d| d.code == "R003");
        assert!(
            help.contains(part) && !again,
            "{body}: {help}\n{}",
            text::render("it", &source, &found)
        );
    }
    // What the last of them say to write.
    let source = text(&format!("n = select(r > 0.5, 1e-30, 1) * n; {rest}"));
    let found = check(&source);
    assert!(found.is_empty(), "{}", text::render("it", &source, &found));
}
