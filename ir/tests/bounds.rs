//! Time and stack are bounded by the size of a text, whatever it says.
//!
//! The limits are loose: a walk over paths instead of expressions would take longer than the
//! universe has been there, and a quadratic one many times the limit.

use baton_ir::interp::problem::Problem;
use baton_ir::interp::{facts, recurrence};
use baton_ir::recurrence::{Expr, ExprId, Recurrence, UnaryFn};
use baton_ir::{text, verify};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Of one text, parsed, printed, verified and run for a step.
const LIMIT: Duration = Duration::from_secs(2);

fn recurrence(body: &str) -> String {
    format!(
        "recurrence r {{ dims {{ K, V }} inputs {{ q: [K], k: [K], v: [V], g: [] }} \
         state {{ S: [K, V] }}\n{body}\noutput all: [] = sum(q) + sum(k) + sum(v) + g;\n}}"
    )
}

/// Checks a text within the limit; gives the codes of its errors.
fn check(body: &str) -> Vec<&'static str> {
    let source = recurrence(body);
    let start = Instant::now();
    let parsed = text::parse(&source).unwrap_or_else(|e| panic!("{}", e[0]));
    assert_eq!(text::parse(&text::print(&parsed)).as_ref(), Ok(&parsed));
    let codes = match verify::verify(&parsed) {
        Ok(found) => {
            agree(&parsed, &found);
            vec![]
        }
        Err(diagnostics) => diagnostics.iter().map(|d| d.code).collect(),
    };
    let took = start.elapsed();
    assert!(took < LIMIT, "{took:?}: {:.200}", body);
    codes
}

/// The facts and the statements give the same outputs.
fn agree(parsed: &Recurrence, found: &baton_ir::recurrence::Facts) {
    let inputs = [vec![0.3; 4], vec![0.2; 4], vec![0.1; 4], vec![-0.5; 2]];
    let problem = Problem {
        recurrence: parsed,
        sizes: vec![2, 2],
        batch: 1,
        time: 2,
        heads: 1,
        groups: 1,
        cu_seqlens: None,
        inputs: inputs.iter().map(Vec::as_slice).collect(),
        params: vec![],
        states: vec![None],
    };
    let truth = recurrence::forward(&problem).unwrap();
    if found.transitions.iter().all(|t| t.obstacle.is_none()) {
        let given = facts::forward(&problem, found).unwrap();
        for (a, b) in truth.outputs.concat().iter().zip(&given.outputs.concat()) {
            assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a} and {b}");
        }
    }
}

/// `let x1 = f(x0); let x2 = f(x1); ..` and what stands around it.
fn chain(first: &str, count: usize, step: impl Fn(&str) -> String, after: &str) -> String {
    let mut body = format!("let x0 = {first};\n");
    for i in 1..=count {
        let _ = writeln!(body, "let x{i} = {};", step(&format!("x{}", i - 1)));
    }
    body + &after.replace('X', &format!("x{count}"))
}

const REST: &str = "S = exp(g) * S + outer(k, v); output o: [V] = dot(q, S);";

#[test]
fn lets_used_twice() {
    for count in [60, 10_000] {
        let after = format!("output p: [] = X; {REST}");
        assert!(check(&chain("0.9 * g", count, |x| format!("{x} * {x}"), &after)).is_empty());
        let twice = |x: &str| format!("0.5 * ({x} + {x})");
        assert!(check(&chain("g", count, twice, &after)).is_empty());
        // As a decay, whose sign and logarithm are asked for.
        let after = "S = X * S + outer(k, v); output o: [V] = dot(q, S);";
        let codes = check(&chain("sigmoid(g)", count, |x| format!("{x} * {x}"), after));
        assert!(codes.is_empty(), "{codes:?}");
        let mean = |x: &str| format!("0.25 * ({x} + {x})");
        assert!(check(&chain("exp(g)", count, mean, after)).is_empty());
        assert_eq!(check(&chain("g", count, mean, after)), ["R043"]);
    }
}

#[test]
fn lets_that_hold_states() {
    for count in [60, 10_000] {
        let vector = "S = exp(g) * S + outer(k, v); output o: [V] = X;";
        let twice = |x: &str| format!("0.5 * {x} + 0.25 * {x}");
        assert!(check(&chain("dot(q, S)", count, twice, vector)).is_empty());
        let squares = |x: &str| format!("{x} * {x}");
        assert!(check(&chain("dot(q, S)", count, squares, vector)).is_empty());
        let matrix = "S = exp(g) * X; output o: [V] = dot(q, S);";
        assert!(check(&chain("S + outer(k, v)", count, twice, matrix)).is_empty());
        let read = "S = exp(g) * S + outer(k, X); output o: [V] = dot(q, S);";
        assert!(check(&chain("v - dot(k, S)", count, twice, read)).is_empty());
        // Non-linear on the way into an update: one error, at one place.
        let squares = chain("dot(k, S)", count, squares, read);
        assert_eq!(check(&squares), ["R040"]);
    }
}

#[test]
fn repeated_updates() {
    for update in [
        "S = 0.5 * S + 0.4 * S;\n",
        "S = 0.5 * S + 0.4 * S + outer(k, v);\n",
        "S = 0.5 * S + 0.4 * S + outer(k, v - dot(k, S));\n",
        "S = rows(sigmoid(k)) * S + rows(sigmoid(q)) * S + outer(k, dot(k, S) + dot(q, S));\n",
        "S = 0.5 * S + outer(dot(S, v), v) - outer(k, dot(q, S));\n",
    ] {
        let body = update.repeat(40) + "output o: [V] = g * dot(q, S);";
        let codes = check(&body);
        assert!(codes.is_empty(), "{update}: {codes:?}");
    }
    // A sum on both sides is no product: its terms would double with each.
    let update = "S = rows(exp(k)) * (cols(exp(v)) * S) + rows(exp(q)) * (cols(sigmoid(v)) * S);\n";
    let body = update.repeat(40) + "output o: [V] = g * dot(q, S);";
    assert_eq!(check(&body), [""; 0]);
    // The same in one expression, where nothing can be kept of it.
    let both = |x: &str| {
        format!("rows(exp(k)) * (cols(v) * {x}) + rows(exp(q)) * (cols(sigmoid(v)) * {x})")
    };
    let read = "S = exp(g) * S + X; output o: [V] = dot(q, S);";
    assert_eq!(check(&chain("outer(k, v)", 60, both, read)), ["R046"]);
    // Terms that do not collapse, one with each update.
    let update = "S = rows(exp(k)) * S + outer(k, dot(k, S)); S = S + outer(dot(S, v), v);\n";
    let body = update.repeat(100) + "output o: [V] = g * dot(q, S);";
    assert_eq!(check(&body), [""; 0]);
    let update = "S = cols(sigmoid(v)) * (rows(sigmoid(q)) * S) + outer(exp(k), v);\n";
    let body = update.repeat(40) + "output o: [V] = g * dot(q, S);";
    assert_eq!(check(&body), [""; 0]);
}

#[test]
fn many_errors_take_no_time_without_bound() {
    let mut body = String::new();
    for i in 0..3_000 {
        let _ = writeln!(body, "let a{i} = dot(q, v);\nlet b{i} = tanh(outer(k, v));");
    }
    assert!(check(&(body + REST)).len() > 6_000);
    let mut body = String::new();
    for i in 0..3_000 {
        let _ = writeln!(body, "let a{i} = unknown_{i} + kk;");
    }
    let start = Instant::now();
    let source = recurrence(&(body + REST));
    assert!(text::parse(&source).unwrap_err().len() >= 6_000);
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
}

#[test]
fn depth_is_an_error_and_no_overflow() {
    for deep in [
        "-".repeat(100_000) + "g",
        "(".repeat(100_000) + "g",
        "exp(".repeat(100_000) + "g",
        "g".to_string() + &" + g".repeat(100_000),
        "max(g, ".repeat(100_000) + "g",
    ] {
        let source = recurrence(&format!("let x = {deep}; {REST}"));
        let start = Instant::now();
        let errors = text::parse(&source).unwrap_err();
        assert!(errors.iter().any(|d| d.code == "R004"), "{:?}", errors[0]);
        assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    }
    // Built ones are held to the same height.
    let mut built = text::parse(&recurrence(REST)).unwrap();
    for _ in 0..100_000 {
        let last = ExprId(built.exprs.len() as u32 - 1);
        built.exprs.push(Expr::Unary(UnaryFn::Neg, last));
        built.spans.exprs.push(built.spans.name);
    }
    assert_eq!(verify::verify(&built).unwrap_err()[0].code, "R020");
}

/// Errors by the thousand, each with its place and its remedy.
#[test]
fn texts_of_errors() {
    let many = |what: &str| what.repeat(10_000);
    let marks = format!("recurrence r {{{}\n{}}}", many("#;"), many(";"));
    let strange = format!("recurrence r {{{}}}", many("$;"));
    let powers = format!("output p: [] = {};", many("pow(g, 2) + ") + "g");
    let [known, unknown] = ["a", "b"].map(|letter| letter.repeat(150_000));
    let names = format!("let {known} = g; output p: [] = {unknown};");
    let levels = "%\n".repeat(50_000);
    for source in [
        marks,
        strange,
        recurrence(&powers),
        recurrence(&names),
        levels,
    ] {
        let start = Instant::now();
        let _ = text::parse(&source);
        let _ = text::chunked::parse(&source);
        let took = start.elapsed();
        assert!(took < LIMIT, "{took:?}: {:.60}", source);
    }
}

/// A decay of many factors, of which the last is no positive one, in many states.
#[test]
fn factors_without_a_sign() {
    let lets = chain("g", 5_000, |x| format!("{x} * g"), "");
    let states: String = (0..20).map(|i| format!(", n{i}: []")).collect();
    let updates: String = (0..20).map(|i| format!("n{i} = x5000 * n{i};\n")).collect();
    let read: String = (0..20).map(|i| format!(" + n{i}")).collect();
    let source = format!(
        "recurrence r {{ dims {{ K }} inputs {{ k: [K], g: [] }} state {{ S: [K]{states} }}
        {lets}{updates}S = exp(g) * S + k; output o: [] = sum(S){read}; }}"
    );
    let start = Instant::now();
    let codes = verify::verify(&text::parse(&source).unwrap()).unwrap_err();
    assert!(codes.iter().all(|d| d.code == "R043") && codes.len() == 20);
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
}

/// A value through which many states are kept, in many lets.
#[test]
fn comparisons_of_many_states() {
    let states: Vec<String> = (0..128).map(|i| format!("n{i}")).collect();
    let declared: String = states.iter().map(|n| format!(", {n}: []")).collect();
    let updates: String = states
        .iter()
        .map(|n| format!("{n} = exp(g) * {n} + g;\n"))
        .collect();
    let wide =
        chain("X", 3_000, |x| format!("max({x}, {x})"), "").replace('X', &states.join(" + "));
    let source = format!(
        "recurrence r {{ dims {{ K }} inputs {{ k: [K], g: [] }} state {{ S: [K]{declared} }}
        {wide}{updates}S = exp(g) * S + k; output o: [] = sum(S) + x3000; }}"
    );
    let start = Instant::now();
    let _ = verify::verify(&text::parse(&source).unwrap());
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
}
