//! `select` and the functions that are made of others: values, limits and gradients by their definitions.

use baton_ir::interp::problem::Problem;
use baton_ir::interp::recurrence::{forward, gradient};
use baton_ir::pointwise::unary;
use baton_ir::recurrence::UnaryFn;
use baton_ir::{text, verify};

/// `expression` of inputs x and y, and its gradient by x.
fn at(expression: &str, x: f64, y: f64) -> (f64, f64) {
    let source = format!(
        "recurrence one {{ inputs {{ x: [], y: [] }} state {{ s: [] }}
             s = 0.5 * s + x * y; output kept: [] = s; output o: [] = {expression}; }}"
    );
    let recurrence = text::parse(&source).unwrap();
    verify::verify(&recurrence).unwrap();
    let given = [[x], [y]];
    let problem = Problem {
        recurrence: &recurrence,
        sizes: vec![],
        batch: 1,
        time: 1,
        heads: 1,
        groups: 1,
        cu_seqlens: None,
        inputs: given.iter().map(|of| &of[..]).collect(),
        params: vec![],
        states: vec![None],
    };
    let value = forward(&problem).unwrap().outputs[1][0];
    let arriving = [1.0];
    let slope = gradient(&problem, &[None, Some(&arriving)], &[None]).unwrap();
    (value, slope.inputs[0][0])
}

#[track_caller]
fn close(found: f64, wanted: f64, bound: f64) {
    let same = found == wanted || found.is_nan() && wanted.is_nan();
    assert!(
        same || (found - wanted).abs() <= bound * wanted.abs(),
        "{found} where {wanted} was expected"
    );
}

/// The functions of one number by numbers from elsewhere, as the interpreter's own are the truth of every other test.
#[test]
fn functions_have_their_values() {
    use UnaryFn::*;
    for &function in UnaryFn::ALL {
        let known: [(f64, f64); 2] = match function {
            Neg => [(0.7, -0.7), (-2.5, 2.5)],
            Exp => [(0.7, 2.0137527074704766), (-2.5, 0.0820849986238988)],
            Log => [(0.7, -0.35667494393873245), (2.5, 0.9162907318741551)],
            Sqrt => [(0.7, 0.8366600265340756), (2.5, 1.5811388300841898)],
            Rsqrt => [(0.7, 1.1952286093343936), (0.25, 2.0)],
            Abs => [(0.7, 0.7), (-2.5, 2.5)],
            Sigmoid => [(0.7, 0.6681877721681662), (-2.5, 0.07585818002124355)],
            Softplus => [(0.7, 1.103186048885458), (-2.5, 0.07888973429254963)],
            Silu => [(0.7, 0.46773144051771626), (-2.5, -0.18964545005310887)],
            Tanh => [(0.7, 0.6043677771171636), (-2.5, -0.9866142981514303)],
            Sin => [(0.7, 0.644217687237691), (-2.5, -0.5984721441039565)],
            Cos => [(0.7, 0.7648421872844885), (-2.5, -0.8011436155469337)],
            Wrap => [(0.75, 0.75), (-2.5, -0.5)],
            Ndtr => [(0.7, 0.758036347776927), (-2.5, 0.006209665325776139)],
            Relu => [(0.7, 0.7), (-2.5, 0.0)],
        };
        for (x, wanted) in known {
            close(unary(function, x), wanted, 1e-14);
        }
    }
}

/// Sizes from 1e-30 to 100 with both signs.
fn points() -> impl Iterator<Item = f64> {
    (-120..9)
        .map(|quarter| 10f64.powf(f64::from(quarter) / 4.0))
        .flat_map(|x| [x, -x])
}

#[test]
fn comparisons_choose() {
    let numbers = [-1.5, -0.0, 0.0, 2.0, f64::INFINITY, f64::NEG_INFINITY];
    for x in numbers {
        for y in numbers {
            for (mark, holds) in [(">", x > y), ("<", x < y), (">=", x >= y), ("<=", x <= y)] {
                let (value, slope) = at(&format!("select(x {mark} y, 3 * x, 7)"), x, y);
                close(value, if holds { 3.0 * x } else { 7.0 }, 0.0);
                close(slope, if holds { 3.0 } else { 0.0 }, 0.0);
            }
        }
    }
    let (value, slope) = at("select(x > y, 1, 2)", f64::NAN, 0.0);
    assert!(value.is_nan() && slope == 0.0);
    // What is not chosen may be no number.
    assert_eq!(
        at("select(y > 0, x, log(y))", 2.0, 0.0).0,
        f64::NEG_INFINITY
    );
    assert_eq!(at("select(y > 0, log(y), x)", 2.0, -1.0), (2.0, 1.0));
}

#[test]
fn elu_keeps_its_digits() {
    for x in points() {
        let (value, slope) = at("elu(x)", x, 0.0);
        close(value, if x > 0.0 { x } else { x.exp_m1() }, 1e-14);
        close(slope, if x > 0.0 { 1.0 } else { x.exp() }, 1e-12);
    }
    close(at("elu(x)", f64::INFINITY, 0.0).0, f64::INFINITY, 0.0);
    close(at("elu(x)", f64::NEG_INFINITY, 0.0).0, -1.0, 0.0);
    assert!(at("elu(x)", f64::NAN, 0.0).0.is_nan());
}

/// Numbers, GELU of them and its slope, from 40 digits. The cumulative function has its own digits below zero, where
/// `1 + erf` would have lost all of them at -8.3.
#[allow(clippy::excessive_precision)] // Seventeen digits, as they were computed.
const GELU: [(f64, f64, f64); 10] = [
    (-37.5, -1.7270073785932331e-306, -6.4762711430558126e-305),
    (-26.3, -2.5217925121808573e-151, -6.6322867803009221e-150),
    (-13.1, -2.156637682105645e-38, -2.8250088612719514e-37),
    (-5.5, -1.0444259356238246e-7, -5.7334723987399248e-7),
    (-1.25, -0.13206221708356907, -0.12266158306942212),
    (-0.75, -0.16997051428265115, 0.00077427826076489563),
    (-1e-10, -4.9999999996010579e-11, 0.49999999992021154),
    (0.3, 0.18537342665668578, 0.73232776682710985),
    (2.2, 2.1694124154703032, 1.0641406567482105),
    (7.9, 7.8999999999999893, 1.000000000000087),
];

#[test]
fn gelu_keeps_its_digits() {
    for (x, wanted, steep) in GELU {
        let (value, slope) = at("gelu(x)", x, 0.0);
        close(value, wanted, 1e-15);
        // The two terms of the slope cancel at -0.75; the density has the roundings of its exponent.
        let bound = 4e-16 * (1.0 + x * x);
        assert!(
            (slope - steep).abs() <= bound * steep.abs() + 1e-16,
            "{slope} and {steep} at {x}"
        );
        close(at("x * ndtr(x)", x, 0.0).0, wanted, 1e-15);
    }
    for x in [41.0, 1e20, 1e200, f64::INFINITY] {
        assert_eq!(at("gelu(x)", x, 0.0), (x, 1.0));
        let (value, slope) = at("gelu(x)", -x, 0.0);
        assert!(value == 0.0 && slope == 0.0);
        assert_eq!(at("ndtr(x)", x, 0.0), (1.0, 0.0));
        assert_eq!(at("ndtr(x)", -x, 0.0), (0.0, 0.0));
    }
    let (value, slope) = at("gelu(x)", f64::NAN, 0.0);
    assert!(value.is_nan() && slope.is_nan());
}

#[test]
fn gelu_is_its_form_by_the_hyperbolic_tangent() {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    for x in points().filter(|x| x.abs() < 5.0) {
        let inner = root * (x + 0.044715 * x.powi(3));
        let (value, slope) = at("gelu_tanh(x)", x, 0.0);
        // 1 + tanh cancels below zero, where ours does not.
        let whole = 0.5 * x * (1.0 + inner.tanh());
        assert!((value - whole).abs() <= 1e-15 * x.abs());
        let own = root * (1.0 + 3.0 * 0.044715 * x * x);
        let wanted = 0.5 * (1.0 + inner.tanh()) + 0.5 * x * own / inner.cosh().powi(2);
        assert!(
            (slope - wanted).abs() <= 1e-13,
            "{slope} and {wanted} at {x}"
        );
    }
    for x in [31.0, 1e20, 1e200, f64::INFINITY] {
        assert_eq!(at("gelu_tanh(x)", x, 0.0), (x, 1.0));
        let (value, slope) = at("gelu_tanh(x)", -x, 0.0);
        assert!(value == 0.0 && slope == 0.0);
    }
}

#[test]
fn powers_of_every_kind() {
    let exponents = [
        "1", "2", "-3", "8", "0.5", "-0.5", "2.5", "-1.5", "0.3", "9", "-0.0625",
    ];
    for text in exponents {
        let c: f64 = text.parse().unwrap();
        let whole = c.fract() == 0.0 && c.abs() <= 8.0;
        for x in points().filter(|x| (1e-9..1e9).contains(&x.abs()) && (whole || *x > 0.0)) {
            let (value, slope) = at(&format!("pow(x, {text})"), x, 0.0);
            close(value, x.powf(c), 1e-13);
            close(slope, c * x.powf(c - 1.0), 1e-12);
        }
    }
    // A gate's power is a decay whose logarithm is taken of the gate, not of what has underflowed.
    let recurrence = text::parse(
        "recurrence gla { dims { K, V } inputs { q: [K], k: [K], v: [V], g: [K] } state { S: [K, V] }
            S = rows(pow(sigmoid(g), 0.0625)) * S + outer(k, v); output o: [V] = dot(q, S); }",
    )
    .unwrap();
    let facts = verify::verify(&recurrence).unwrap();
    let chunks = format!("{:?}", facts.pure);
    assert!(
        chunks.contains("Softplus") && !chunks.contains("Log"),
        "{chunks}"
    );
}

#[test]
fn nesting_cannot_grow_without_bound() {
    let nested = |times: usize| {
        let value = (0..times).fold("x".to_string(), |x, _| format!("gelu_tanh({x})"));
        text::parse(&format!(
            "recurrence deep {{ inputs {{ x: [] }} state {{ s: [] }} s = 0.5 * s + {value}; output o: [] = s; }}"
        ))
    };
    assert!(text::print(&nested(4).unwrap()).len() < 1_000_000);
    let refused = nested(5).unwrap_err();
    assert_eq!(refused[0].code, "R004");
}

#[test]
fn what_was_printed_means_the_same() {
    let source = "recurrence back { dims { K } inputs { x: [K], y: [] } state { s: [K] }
        s = select(x <= y, 0.5, 0.9) * s + elu(x); output o: [K] = pow(s, 2); }";
    let first = text::print(&text::parse(source).unwrap());
    let second = text::print(&text::parse(&first).unwrap());
    assert_eq!(first, second);
    assert!(first.contains("select(x > y, 0.9, 0.5) * s"), "{first}");
}
