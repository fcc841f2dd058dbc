//! The examples of the documents are run: recurrences verify, derive and have the class they claim.
//!
//! Rust examples of the README are doc tests of `baton`; `examples/own-crate` is what docs/own-crate.md builds.

use baton_codegen::{Compiler, derive_any, grad};
use baton_ir::recurrence::Class;
use baton_ir::{builtin, text, verify};
use baton_tests::on_gpu;
use std::fs;
use std::path::Path;

/// The fenced blocks of one language in a page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let source = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{page}: {why}"));
    let (mut found, mut inside) = (vec![], None::<(String, bool)>);
    for line in source.lines() {
        let fence = line.trim_start();
        match &mut inside {
            Some((block, wanted)) if fence.starts_with("```") => {
                if *wanted {
                    found.push(std::mem::take(block));
                }
                inside = None;
            }
            Some((block, _)) => {
                block.push_str(line);
                block.push('\n');
            }
            None if fence.starts_with("```") => {
                inside = Some((String::new(), fence == format!("```{language}")));
            }
            None => {}
        }
    }
    found
}

#[test]
fn recurrences_in_documents_derive() {
    let mut count = 0;
    for page in ["README.md", "docs/language.md", "docs/add-a-recurrence.md"] {
        for block in blocks(page, "rec") {
            let recurrence = text::parse(&block).unwrap_or_else(|why| panic!("{page}: {why:?}"));
            let facts = verify::verify(&recurrence).unwrap_or_else(|why| panic!("{page}: {why:?}"));
            let derived =
                derive_any(&recurrence, &facts).unwrap_or_else(|why| panic!("{page}: {why:?}"));
            grad(&derived.0);
            count += 1;
        }
    }
    assert!(count >= 5, "only {count} examples found");
}

/// The built-in recurrences as a table: from their files, so none is missing and none is wrong.
#[test]
fn the_family_is_listed() {
    let mut table =
        String::from("| recurrence | class | lines | kernels | source |\n|---|---|---|---|---|\n");
    for name in builtin::NAMES {
        let source = builtin::text(name).expect("a built-in name");
        let recurrence = text::parse(source).expect("it parses");
        let facts = verify::verify(&recurrence).expect("it verifies");
        let sizes = vec![16; recurrence.dims.len()];
        let chunked = Compiler::new(&recurrence, &sizes).is_ok();
        let kernels = match (chunked, on_gpu().contains(name)) {
            (true, true) => "CPU, GPU",
            (true, false) => "CPU",
            _ => "CPU, step by step",
        };
        let (header, body): (Vec<&str>, Vec<&str>) =
            source.lines().partition(|line| line.starts_with("//"));
        let header = header.join(" ").replace("// ", "");
        let paper = header
            .split_once("(arXiv ")
            .and_then(|(_, rest)| rest.split_once(')'));
        let (paper, _) = paper.unwrap_or_else(|| panic!("{name} names no paper"));
        let lines = body.iter().filter(|line| !line.trim().is_empty()).count();
        let class = facts.class().name();
        table += &format!("| `{name}` | {class} | {lines} | {kernels} | arXiv {paper} |\n");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/language.md");
    let page = fs::read_to_string(path).expect("the page");
    assert!(page.contains(&table), "docs/language.md lacks\n{table}");
}

/// The table of classes says which are only recognised; the text of each kind is recognised.
#[test]
fn classes_are_recognised() {
    let recognise = |body: &str| {
        let source = format!(
            "recurrence r {{ dims {{ K, V }} inputs {{ q: [K], k: [K], v: [V], a: [K], b: [K], m: [K, V], g: [] }} \
             state {{ S: [K, V] }} {body} output o: [V] = dot(q + k * g + a + b, S) * sum(v); }}"
        );
        let recurrence = text::parse(&source).unwrap_or_else(|why| panic!("{why:?}"));
        match verify::verify(&recurrence) {
            Ok(facts) => facts.class(),
            // Every input has to be read somewhere; what is not is no matter here.
            Err(why) if why.iter().all(|d| d.code == "R031") => {
                let source = source.replace(", m: [K, V]", "");
                let recurrence = text::parse(&source).unwrap_or_else(|why| panic!("{why:?}"));
                verify::verify(&recurrence)
                    .unwrap_or_else(|why| panic!("{why:?}"))
                    .class()
            }
            Err(why) => panic!("{why:?}"),
        }
    };
    for (body, class) in [
        ("S = exp(g) * S + outer(k, v);", Class::Scalar),
        ("S = rows(exp(a)) * S + outer(k, v);", Class::Diagonal),
        (
            "S = S + outer(k, v); S = cols(sigmoid(v)) * S;",
            Class::Diagonal,
        ),
        ("S = exp(m) * S + outer(k, v);", Class::Elementwise),
        (
            "S = exp(g) * S; S = S + outer(k, g * (v - dot(k, S)));",
            Class::Delta,
        ),
        (
            "S = rows(exp(a)) * S; S = S + outer(k, g * (v - dot(k, S)));",
            Class::Delta,
        ),
        (
            "S = rows(exp(a)) * S + outer(b, dot(q, S)) + outer(k, v);",
            Class::DiagonalPlusLowRank,
        ),
    ] {
        assert_eq!(recognise(body), class, "{body}");
    }
}
