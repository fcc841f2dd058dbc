//! What is derived and placed is well-formed at its level, and its text gives it back.

use baton_codegen::schedule::{lower, side_by_side};
use baton_codegen::{derive_any, grad};
use baton_ir::chunked::{Chunked, Target};
use baton_ir::tile::TileProgram;
use baton_ir::{builtin, text, verify};

/// Beside the built-ins: decays on both sides, equal dims, dims with the names of axes, states that are vectors and
/// numbers, a state that the heads of a group share; numbers that are not finite, names that a kernel's own would meet; running
/// extremes, either operand first.
const EXTRAS: &[&str] = &[
    "recurrence sides {
        dims { K, V }
        inputs { q: [K], k: [K] per group, v: [V], g: [], w: [K], u: [V] }
        state { S: [K, V] }
        S = exp(g) * (cols(exp(u)) * (rows(exp(w)) * S)) + outer(k, v);
        output o: [V] = dot(q, S);
    }",
    "recurrence square {
        dims { K }
        inputs { q: [K], k: [K], v: [K], g: [K] }
        state { S: [K, K] }
        output o: [K] = dot(q, S);
        S = rows(exp(g)) * S + outer(k, v);
    }",
    "recurrence shared {
        dims { t, s }
        inputs { x: [t] per group, a: [] per group, h: [s] }
        params { d: [] }
        state { z: [t], n: [] }
        z = exp(a) * z + x;
        n = n + sum(h);
        output y: [t] = z;
        output m: [] = n + d;
    }",
    "recurrence far {
        dims { K }
        inputs { x: [K], x_1: [K], S_entering: [K] }
        state { S: [K], log_row_S: [K] }
        S = exp(-exp(x)) * S + min(exp(1000), 1 / 1e-300) * x;
        log_row_S = exp(-exp(x_1)) * log_row_S + S_entering;
        output y: [K] = S + log_row_S * tanh(1 / 1e-400);
    }",
    "recurrence extremes {
        dims { K, V }
        inputs { x: [K], a: [] per group, v: [V] }
        state { m: [K], low: [], S: [K, V] }
        low = min(a, low);
        m = max(m + a, x);
        S = rows(exp(low - relu(m))) * S + outer(x, v);
        output y: [V] = dot(m, S);
    }",
];

fn sources() -> impl Iterator<Item = &'static str> {
    let builtins = builtin::NAMES.iter().filter_map(|name| builtin::text(name));
    builtins.chain(EXTRAS.iter().copied())
}

fn check_chunked(program: &Chunked) {
    let source = text::chunked::print(program);
    let (parsed, spans) = text::chunked::parse(&source)
        .unwrap_or_else(|e| panic!("{source}\n{}", text::render("it", &source, &e)));
    assert_eq!(parsed, **program, "{source}");
    verify::chunked::verify(parsed, &spans)
        .unwrap_or_else(|e| panic!("{source}\n{}", text::render("it", &source, &e)));
}

fn check_tile(program: &TileProgram) {
    let source = text::tile::print(program);
    let (parsed, spans) = text::tile::parse(&source)
        .unwrap_or_else(|e| panic!("{source}\n{}", text::render("it", &source, &e)));
    assert_eq!(parsed, **program, "{source}");
    verify::tile::verify(parsed, &spans)
        .unwrap_or_else(|e| panic!("{source}\n{}", text::render("it", &source, &e)));
}

#[test]
fn derived_programs_verify_and_their_text_gives_them_back() {
    for source in sources() {
        let recurrence =
            text::parse(source).unwrap_or_else(|e| panic!("{}", text::render("it", source, &e)));
        let facts = verify::verify(&recurrence)
            .unwrap_or_else(|e| panic!("{}", text::render("it", source, &e)));
        let (forward, steps) = derive_any(&recurrence, &facts).expect("no input is a matrix");
        let reverse = grad(&forward);
        check_chunked(&forward);
        check_chunked(&reverse);
        for (sizes, chunk) in [([5, 3], 16), ([4, 4], 4), ([1, 2], 1)] {
            let sizes = &sizes[..recurrence.dims.len()];
            let chunk = if steps { 1 } else { chunk };
            let name = || format!("{}_kernel", recurrence.name);
            check_tile(&lower(&forward, sizes, chunk, true, name()));
            check_tile(&lower(&forward, sizes, chunk, false, name()));
            check_tile(&lower(&reverse, sizes, chunk, false, name()));
            let summary = forward.keep(|target| !matches!(target, Target::Output(_)));
            check_tile(&lower(&summary, sizes, chunk, false, name()));
            for program in [&forward, &reverse] {
                let one = lower(program, sizes, chunk, false, name());
                check_tile(&side_by_side(&one, 2).program);
            }
        }
    }
}
