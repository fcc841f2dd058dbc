//! The facts of a recurrence are all of it: run step by step in f64 they give what the statements
//! give, outputs and states, to 1e-12.
//!
//! Built-ins, the families that are not derived yet, and random recurrences that are linear in
//! their states by construction: reads on either side, before, between and after updates, across
//! states, of vectors and numbers, with decays of every kind around them.

use baton_ir::interp::problem::Problem;
use baton_ir::interp::{facts, recurrence};
use baton_ir::recurrence::{Class, Facts, Obstacle, Port, Recurrence, StateId};
use baton_ir::{builtin, text, verify};
use draw::{Draw, Noise};

mod draw;

const BOUND: f64 = 1e-12;
const SIZES: [usize; 2] = [3, 4];

fn parse(source: &str) -> Recurrence {
    text::parse(source).unwrap_or_else(|e| panic!("{}", text::render("it", source, &e)))
}

fn verified(source: &str) -> (Recurrence, Facts) {
    let parsed = parse(source);
    let facts =
        verify::verify(&parsed).unwrap_or_else(|e| panic!("{}", text::render("it", source, &e)));
    (parsed, facts)
}

/// Runs both on the same numbers: 5 steps of 2 heads in 2 rows.
fn agree(parsed: &Recurrence, found: &Facts, seed: u64) {
    let mut problem = Problem {
        recurrence: parsed,
        sizes: SIZES[..parsed.dims.len()].to_vec(),
        batch: 2,
        time: 5,
        heads: 2,
        groups: 1,
        cu_seqlens: None,
        inputs: vec![],
        params: vec![],
        states: vec![],
    };
    let mut noise = Noise(seed | 1);
    let mut draw = |ports: &[Port], rows: usize| -> Vec<Vec<f64>> {
        let draw = |port: &Port| noise.vector(rows * problem.row(port));
        ports.iter().map(draw).collect()
    };
    let inputs = draw(&parsed.inputs, 10);
    let params = draw(&parsed.params, 1);
    let states = draw(&parsed.states, 2);
    problem.inputs = inputs.iter().map(Vec::as_slice).collect();
    problem.params = params.iter().map(Vec::as_slice).collect();
    problem.states = states.iter().map(|s| Some(s.as_slice())).collect();
    let truth = recurrence::forward(&problem).unwrap();
    let given = facts::forward(&problem, found).unwrap();
    let pairs = truth.outputs.iter().zip(&given.outputs);
    for (wanted, found) in pairs.chain(truth.states.iter().zip(&given.states)) {
        let size = wanted.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
        for (a, b) in wanted.iter().zip(found) {
            assert!(
                (a - b).abs() <= BOUND * size,
                "{a} and {b}\n{}",
                text::print(parsed)
            );
        }
    }
}

/// A recurrence over two matrices, a vector and a number that says `body`; every input is read.
fn with(body: &str) -> String {
    format!(
        "recurrence r {{ dims {{ K, V }}
        inputs {{ q: [K], k: [K], p: [K], a: [K], u: [V], v: [V], w: [V], g: [], h: [] }}
        state {{ S: [K, V], R: [V, K], n: [K], c: [] }}
        {body}
        output all: [] = sum(q) + sum(k) + sum(p) + sum(a) + sum(u) + sum(v) + sum(w) + g + h;
        output o: [V] = dot(q, S);
        output z: [V] = tanh(dot(R, p)) + c * sum(n);
        }}"
    )
}

/// Decays of the states that a body leaves alone.
const OTHERS: &str =
    "R = rows(sigmoid(u)) * R + outer(u, a); n = exp(g) * n + k; c = exp(h) * c + 1;";

#[test]
fn built_ins() {
    for name in builtin::NAMES {
        let (parsed, found) = verified(builtin::text(name).unwrap());
        assert!(
            found.transitions.iter().all(|t| t.obstacle.is_none()),
            "{name}"
        );
        let reads = found.transitions.iter().any(|t| !t.reads.is_empty());
        let more = reads || found.class() == Class::Coupled;
        assert_eq!(found.class() > Class::Diagonal, more, "{name}");
        agree(&parsed, &found, 7);
    }
}

/// Each with the class and the number of reads of S.
#[test]
fn families() {
    for (body, class, reads) in [
        // The delta rule, gated before and after, by a number, by rows and by columns.
        ("S = S + outer(k, g * (v - dot(k, S)));", Class::Delta, 1),
        (
            "S = exp(g) * S; S = S + outer(k, h * (v - dot(k, S)));",
            Class::Delta,
            1,
        ),
        (
            "S = rows(exp(a)) * S; S = S + outer(k, h * (v - dot(k, S)));",
            Class::Delta,
            1,
        ),
        (
            "S = cols(exp(v)) * S; S = S + outer(k, h * (v - dot(k, S)));",
            Class::Delta,
            1,
        ),
        (
            "S = S + outer(k, h * (v - dot(k, S))); S = rows(exp(a)) * S;",
            Class::Delta,
            1,
        ),
        // What an erase leaves is scaled: the gate is inside the read.
        (
            "S = S - outer(h * k, dot(k, exp(g) * S)) + outer(k, v);",
            Class::Delta,
            1,
        ),
        // Two and three Householder factors, gates between them.
        (
            "S = S + outer(k, g * (v - dot(k, S))); S = S + outer(p, h * (u - dot(p, S)));",
            Class::Delta,
            2,
        ),
        (
            "S = S + outer(k, g * (v - dot(k, S))); S = exp(g) * S;
             S = S + outer(p, h * (u - dot(p, S))); S = rows(sigmoid(a)) * S;
             S = S + outer(q, h * (w - dot(q, S)));",
            Class::Delta,
            3,
        ),
        // The same factor twice is one read.
        (
            "S = S + outer(k, g * (v - dot(k, S))); S = S + outer(k, h * (u - dot(k, S)));",
            Class::Delta,
            1,
        ),
        // As rwkv7.
        (
            "S = rows(exp(a)) * S + outer(p, dot(k, S)) + outer(q, v);",
            Class::DiagonalPlusLowRank,
            1,
        ),
        // The other side, and both.
        (
            "S = S + outer(dot(S, w), u);",
            Class::DiagonalPlusLowRank,
            1,
        ),
        ("S = S + outer(k - dot(S, w), g * w);", Class::Delta, 1),
        (
            "S = S + outer(k, v - dot(k, S)); S = S + outer(dot(S, w), u);",
            Class::DiagonalPlusLowRank,
            3,
        ),
        (
            "S = S + outer(dot(S, w), u); S = S + outer(k, v - dot(k, S));",
            Class::DiagonalPlusLowRank,
            3,
        ),
        (
            "S = S + dot(dot(k, S), w) * outer(p, u);",
            Class::DiagonalPlusLowRank,
            1,
        ),
    ] {
        let source = with(&format!("{body} {OTHERS}"));
        let (parsed, found) = verified(&source);
        let transition = &found.transitions[0];
        assert_eq!(
            (transition.class, transition.reads.len()),
            (class, reads),
            "{body}"
        );
        let others = found.transitions[1..].iter().map(|t| t.class);
        assert!(others.clone().all(|class| class <= Class::Diagonal));
        agree(&parsed, &found, 11);
    }
}

/// Readouts at any place between the updates, also above the diagonal class.
#[test]
fn readouts_between_updates() {
    for body in [
        "output y: [V] = dot(q, S); S = exp(g) * S; output x: [V] = dot(p, S);
         S = S + outer(k, h * (v - dot(k, S))); output t: [V] = exp(dot(p, S));
         S = S + outer(p, h * (u - dot(p, S)));",
        "S = S + outer(k, v - dot(k, S)); output y: [K] = dot(S, w);
         S = S + outer(dot(S, w), u); output x: [V] = dot(a, S);
         output s: [] = dot(dot(S, w), k); S = rows(sigmoid(a)) * S;",
        "let old = dot(k, S); S = exp(g) * S + outer(k, v); let now = dot(k, S);
         S = S + outer(p, old - now); output y: [V] = silu(old) * now;",
    ] {
        let (parsed, found) = verified(&with(&format!("{body} {OTHERS}")));
        agree(&parsed, &found, 13);
    }
}

#[test]
fn reads_of_other_states() {
    for body in [
        "S = exp(g) * S + outer(k, dot(R, p)); n = exp(g) * n + dot(S, v);
         R = rows(sigmoid(u)) * R + outer(u, n); c = exp(h) * c + dot(dot(q, S), w) + sum(n);",
        "n = exp(g) * n + dot(S, v); S = exp(g) * S + c * outer(k, v) + outer(n, w);
         c = exp(h) * c - dot(n, p); R = cols(sigmoid(a)) * R + outer(dot(k, S), a);",
        "S = S + outer(k, v - dot(k, S)); n = n - k * dot(k, n) + dot(S, w);
         S = exp(g) * S + outer(n, u); c = 0.5 * c + 1; R = R + outer(u, n) * c;",
    ] {
        let (parsed, found) = verified(&with(body));
        assert_eq!(found.class(), Class::Coupled, "{body}");
        agree(&parsed, &found, 17);
    }
}

/// Sums of vectors and numbers, contracted: a number stands for a vector of equal entries.
#[test]
fn numbers_in_the_place_of_vectors() {
    for body in [
        "n = exp(g) * n + k; output y: [] = sum(n + g);",
        "n = exp(g) * n + g; output y: [] = sum(n) + dot(k, n + h) + sum(g + n * k);",
        "n = exp(g) * n + k * g; output y: [K] = l2norm(n + g); output x: [] = dot(n + 1, n - g);",
        "n = rows_(g) * n + 1;",
        "n = exp(a) * n + (g + 1); output y: [] = sum(n * (n + g)); output x: [] = sum(n - n);",
        "n = exp(g) * n + k; let m = n + g; n = 0.5 * n + dot(k, m) + sum(m);
         output y: [] = sum(m) + dot(m, a);",
        "n = exp(g) * n + k; output y: [K] = dot(outer(n + g, v), w + h);
         output x: [V] = dot(k, outer(n + g, v) + outer(a, w + 1));",
        "n = exp(g) * n + dot(outer(k, v + g), w + h); output y: [] = sum(k * 0 + sum(n));",
    ] {
        let body = body.replace("rows_(g)", "exp(g)");
        let body = format!(
            "{body} S = S + outer(k + g, v); R = R + outer(u, a + g); c = exp(h) * c + sum(n + g);"
        );
        let (parsed, found) = verified(&with(&body));
        agree(&parsed, &found, 19);
    }
}

/// Other states in decays, in what is added, in weights and in gates; states that are overwritten.
#[test]
fn states_above_others() {
    for (body, class) in [
        (
            "n = 0.5 * n + 0.1 * l2norm(k) * dot(l2norm(dot(S, w)), n); S = S + outer(k, v);",
            Class::Scalar,
        ),
        (
            "n = 0.5 * n + 0.1 * k * dot(n, dot(S, w)) + dot(dot(R, p), v) * a; S = S + outer(k, v);",
            Class::Scalar,
        ),
        (
            "S = 0.5 * S + outer(k, exp(tanh(sum(n))) * v); n = sigmoid(c) * n + k;",
            Class::Coupled,
        ),
        (
            "n = exp(a) * n + k; S = rows(sigmoid(n)) * S + outer(k, v); output r: [V] = dot(silu(n), S);",
            Class::Coupled,
        ),
        (
            "S = S + outer(k, v - dot(l2norm(n), S)); n = 0.5 * n + k * sigmoid(c);",
            Class::Coupled,
        ),
        (
            "S = outer(k, v); n = n + dot(S, w); n = 0.5 * n;",
            Class::Latch,
        ),
        (
            "let before = n; n = k; S = 0.9 * S + outer(before, v); S = S + outer(n, w);",
            Class::Coupled,
        ),
        (
            "S = outer(k, dot(k, S)) + outer(dot(S, w), u);",
            Class::DiagonalPlusLowRank,
        ),
        (
            "n = n + k; output r: [V] = dot(dot(S, w), outer(n, v)); S = S + outer(n, w); n = k * h;",
            Class::Coupled,
        ),
        (
            "c = 0.5 * c + g; n = n * exp(-abs(c)) + k; S = cols(sigmoid(v * c)) * S + sum(n) * outer(k, v);",
            Class::Coupled,
        ),
    ] {
        let rest = [
            ("n = ", "n = exp(g) * n + k;"),
            ("R = ", "R = rows(sigmoid(u)) * R + outer(u, a);"),
            ("c = ", "c = exp(h) * c + 1;"),
        ];
        let rest = rest
            .iter()
            .filter(|(update, _)| !body.contains(update))
            .map(|(_, all)| *all);
        let (parsed, found) = verified(&with(&format!("{} {body}", rest.collect::<String>())));
        assert_eq!(found.transitions[0].class, class, "{body}");
        agree(&parsed, &found, 29);
    }
}

/// What the facts cannot hold is said, of that state and no other, and never run in part.
#[test]
fn obstacles_are_kept_with_their_state() {
    for (body, wanted) in [
        ("S = exp(outer(k, v) * m) * S;", Obstacle::FullDecay),
        ("S = 0.5 * S + m;", Obstacle::FullAddition),
        (
            "S = cols(exp(v)) * S + rows(exp(k)) * S;",
            Obstacle::FullDecay,
        ),
        (
            "S = 0.5 * S + outer(k, v) + T;",
            Obstacle::Whole(StateId(1)),
        ),
    ] {
        let source = format!(
            "recurrence r {{ dims {{ K, V }} inputs {{ q: [K], k: [K], v: [V], m: [K, V] }}
             state {{ S: [K, V], T: [K, V], n: [K] }}
             {body} T = 0.5 * T + outer(k, v); n = 0.5 * n + k;
             output o: [V] = dot(q, S) + dot(q, T) + sum(n) + v;
             output p: [K] = dot(0.5 * S, v); }}"
        );
        let source = match body.contains("* m") || body.contains("+ m") {
            true => source,
            false => source.replace(", m: [K, V]", ""),
        };
        let (parsed, found) = verified(&source);
        let found_obstacles: Vec<_> = found.transitions.iter().map(|t| t.obstacle).collect();
        assert_eq!(found_obstacles, [Some(wanted), None, None], "{body}");
        assert_eq!(found.transitions[1].class, Class::Scalar);
        let problem = Problem {
            recurrence: &parsed,
            sizes: SIZES.to_vec(),
            batch: 0,
            time: 0,
            heads: 1,
            groups: 1,
            cu_seqlens: None,
            inputs: vec![&[]; parsed.inputs.len()],
            params: vec![],
            states: vec![None; 3],
        };
        let refused = facts::forward(&problem, &found).unwrap_err();
        assert!(refused.contains("`S`"), "{refused}");
    }
}

/// A state stands as it is in what it is the largest of, or it is not linear in itself.
#[test]
fn running_extremes() {
    let recurrence = |update: &str| {
        format!(
            "recurrence r {{ dims {{ K }} inputs {{ x: [K], a: [], f: [K] }} state {{ m: [K], c: [] }}
             c = 0.5 * c + a; {update} output o: [K] = m + x + f + c; }}"
        )
    };
    for update in [
        "m = max(m + f, x);",
        "let next = max(x, a + m); m = next;",
        "m = min(m, x); output between: [K] = exp(-abs(m)); m = min(m, f);",
        "let old = m; m = max(old, x); m = max(m, old + a);",
        "m = max(m + tanh(c), x * c);",
        "m = max(m, c); c = c + sum(x);",
        "m = max(m - f, x); c = c + dot(m, f); output sums: [] = sum(m);",
        "m = max(x, m); m = max(f, m);",
    ] {
        let (parsed, found) = verified(&recurrence(update));
        let m = &found.transitions[0];
        assert_eq!((m.class, m.obstacle), (Class::Extreme, None), "{update}");
        agree(&parsed, &found, 23);
    }
    // Both functions, an order in which equals have slopes that one comparison does not say, and a shift that
    // would be rounded before what it shifts is compared.
    for update in [
        "m = min(max(x, m), a);",
        "m = max(max(x, m), f);",
        "m = max(x, m); m = max(m, f);",
        "m = max(m, x); m = max(m - a, f);",
    ] {
        let (_, found) = verified(&recurrence(update));
        let m = &found.transitions[0];
        let why = Some(Obstacle::Extreme);
        assert_eq!((m.class, m.obstacle), (Class::Extreme, why), "{update}");
    }
    for update in [
        "m = max(0.5 * m, x);",
        "m = max(m, x) + a;",
        "m = max(m + m, x);",
        "m = max(m + tanh(m), x);",
        "m = 0.5 * m + max(m, x);",
    ] {
        let errors = verify::verify(&parse(&recurrence(update))).expect_err(update);
        assert!(errors.iter().all(|d| d.code == "R040"), "{update}");
    }
}

/// What may be zero in f32 is no decay, but keeps what is added to it from nothing.
#[test]
fn what_is_never_negative_beside_what_is_positive() {
    let recurrence = |decay: &str| {
        format!(
            "recurrence r {{ dims {{ K }} inputs {{ x: [K], g: [], h: [] }} state {{ S: [K] }}
             S = ({decay}) * S + x + g + h; output o: [K] = S; }}"
        )
    };
    for decay in [
        "0.1 + 0.9 * ndtr(g)",
        "0.1 + abs(g) * ndtr(h)",
        "0.5 + sqrt(abs(g) + relu(h))",
        "1 - 0.5 * ndtr(g)",
        "0.1 + 0.5 * min(relu(g), abs(h))",
    ] {
        let (parsed, found) = verified(&recurrence(decay));
        agree(&parsed, &found, 29);
    }
    for decay in [
        "ndtr(g)",
        "1 - ndtr(g)",
        "0.1 + g * ndtr(h)",
        "abs(g) * ndtr(h)",
        "0.1 + max(g, h)",
    ] {
        let errors = verify::verify(&parse(&recurrence(decay))).expect_err(decay);
        assert!(errors.iter().all(|d| d.code == "R043"), "{decay}");
    }
}

/// A state is an angle where it stands in `wrap` as it is, and nowhere else.
#[test]
fn angles() {
    let recurrence = |update: &str| {
        format!(
            "recurrence r {{ dims {{ K }} inputs {{ x: [K], a: [], f: [K] }} state {{ t: [K], c: [] }}
             c = 0.5 * c + a; {update} output o: [K] = sin(t) * x + f + c; }}"
        )
    };
    for (update, obstacle) in [
        ("t = wrap(t + f);", None),
        ("t = wrap(t);", None),
        ("let next = a - f + t; t = wrap(next);", None),
        ("t = wrap(t + sin(c) * x);", None),
        ("t = wrap(t + f); t = wrap(a + t);", None),
        ("t = wrap(max(t, x));", Some(Obstacle::Angle)),
        ("t = max(t, x); t = wrap(t + f);", Some(Obstacle::Angle)),
        ("t = wrap(t + f); t = max(t, x);", Some(Obstacle::Extreme)),
    ] {
        let (parsed, found) = verified(&recurrence(update));
        let t = &found.transitions[0];
        assert_eq!(t.obstacle, obstacle, "{update}");
        assert!([Class::Angle, Class::Extreme].contains(&t.class));
        if obstacle.is_none() {
            assert_eq!(t.class, Class::Angle, "{update}");
            agree(&parsed, &found, 11);
        }
    }
    for update in [
        "t = wrap(0.5 * t);",
        "t = wrap(t) + a;",
        "t = wrap(t + sin(t));",
        "t = sin(t + x);",
    ] {
        let errors = verify::verify(&parse(&recurrence(update))).expect_err(update);
        assert!(errors.iter().all(|d| d.code == "R040"), "{update}");
    }
}

#[test]
fn random_recurrences() {
    let (mut held, mut reads, mut coupled, mut across, mut refused) = (0, 0, 0, 0, 0);
    for seed in 0..4000_u64 {
        let source = Draw::recurrence(0x9e37_79b9_7f4a_7c15 ^ (seed << 20 | 1));
        let parsed = parse(&source);
        let found = match verify::verify(&parsed) {
            Ok(found) => found,
            // A vector that takes itself away has no certain decay.
            Err(errors) => {
                let why = text::render("it", &source, &errors);
                assert!(errors.iter().all(|d| d.code == "R043"), "{source}\n{why}");
                refused += 1;
                continue;
            }
        };
        if found.transitions.iter().any(|t| t.obstacle.is_some()) {
            continue;
        }
        held += 1;
        reads += usize::from(found.transitions.iter().any(|t| t.reads.len() > 1));
        coupled += usize::from(found.class() == Class::Coupled);
        across += usize::from(found.readouts.iter().any(|r| r.across.is_some()));
        agree(&parsed, &found, seed);
    }
    // Only a part of the drawn would pass were they all held by accident.
    assert!(
        held > 3000 && refused < 700,
        "{held} held, {refused} refused"
    );
    assert!(
        reads > 1000 && coupled > 1000 && across > 200,
        "{reads} with reads, {coupled} coupled, {across} across"
    );
}
