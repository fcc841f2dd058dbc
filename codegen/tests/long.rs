//! Long texts: ten thousand statements, each made of the one before, go through every room.
//!
//! The tests run on a thread with the stack of a test, which a walk that calls itself for each statement
//! overflows, and within a limit that a quadratic one exceeds many times.

use baton_codegen::target::Native;
use baton_codegen::{Compiler, Phase};
use baton_ir::text;
use std::fmt::Write;
use std::time::{Duration, Instant};

const STATEMENTS: usize = 10_000;
/// Of one text, verified, derived, differentiated and lowered.
const LIMIT: Duration = Duration::from_secs(30);

/// `x0 = first; x1 = f(x0); ..` before an update that may read the state.
fn source(
    first: &str,
    dims: &str,
    count: usize,
    step: impl Fn(&str) -> String,
    update: &str,
) -> String {
    let mut body = format!("let x0 = {first};\n");
    for i in 1..=count {
        let _ = writeln!(body, "let x{i} = {};", step(&format!("x{}", i - 1)));
    }
    format!(
        "recurrence long {{ dims {{ K, V }} inputs {{ q: [K], k: [K], v: [V], g: [] }}
        state {{ S: [K, V] }}
        {body}
        {update}
        output o: [V] = dot(q, S);
        output x: [{dims}] = x{count};
        }}"
    )
}

fn compiler(source: &str) -> Compiler {
    let recurrence = text::parse(source).unwrap_or_else(|e| panic!("{}", e[0]));
    Compiler::of_any(&recurrence, &[5, 3]).unwrap_or_else(|e| panic!("{}", e[0]))
}

const CHUNKED: &str = "S = exp(g) * S + outer(k, v);";
const STEPPED: &str = "S = exp(g) * S + outer(l2norm(k), v - dot(l2norm(k), S));";

#[test]
fn ten_thousand_statements_are_lowered() {
    let square = |x: &str| format!("0.5 * {x} * {x}");
    let mixed = |x: &str| format!("tanh({x} + exp(-{x}))");
    let single = |x: &str| format!("silu({x})");
    for update in [CHUNKED, STEPPED] {
        for (first, dims) in [("g", ""), ("k", "K")] {
            let texts = match update == CHUNKED {
                true => [
                    source(first, dims, STATEMENTS, square, update),
                    source(first, dims, STATEMENTS, single, update),
                ]
                .to_vec(),
                false => vec![source(first, dims, STATEMENTS, mixed, update)],
            };
            for source in texts {
                let start = Instant::now();
                let compiler = compiler(&source);
                for phase in [Phase::Forward, Phase::Backward] {
                    let program = compiler.program(phase, 16);
                    assert!(!program.nodes.is_empty());
                }
                let took = start.elapsed();
                assert!(took < LIMIT, "{took:?}: {source:.200}");
            }
        }
    }
}

/// A long text has code: fewer statements, as what a compiler of machine code does with a loop of so many
/// instructions is another matter.
#[test]
fn a_long_text_has_code() {
    let source = source("g", "", 200, |x| format!("silu({x})"), CHUNKED);
    let compiler = compiler(&source);
    for phase in [Phase::Forward, Phase::Backward] {
        assert!(compiler.compile(&Native, phase, 16).is_ok());
    }
}

/// What is lowered does not depend on how long the text is: the nodes of each statement are those of the
/// next, and a statement that one other reads is a part of its map.
#[test]
fn statements_that_are_read_once_are_one_map() {
    let nodes = |count: usize| {
        let source = source("g", "", count, |x| format!("silu({x})"), CHUNKED);
        let program = compiler(&source);
        program.program(Phase::Forward, 16).nodes.len()
    };
    assert_eq!(nodes(2), nodes(200));
}
