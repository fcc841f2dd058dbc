//! Decays that f32 cannot hold: their logarithms, their products over a chunk, and all gradients are the
//! truth's to the bounds of the suite.
//!
//! Gates are given numbers of several hundreds, so that a factor is `exp(-300)` at one step and one at the
//! next. Whatever computes such a factor to take its logarithm finds the logarithm of zero.

use crate::devices::check;
use baton_runtime::Options;
use baton_runtime::device::cpu::Cpu;
use baton_tests::{Case, Decay, Extents};

/// Decays made of decays, in every way in which one is accepted; what the truth computes stays below the largest f64.
const FACTORS: &[&str] = &[
    "sigmoid(x)",
    "1 - sigmoid(x)",
    "sqrt(sigmoid(x))",
    "rsqrt(1 + exp(x))",
    "exp(0.3 * x) / (1 + exp(0.3 * x))",
    "exp(0.2 * x) * rsqrt(1 + exp(0.4 * x))",
    "exp(0.2 * x) * exp(0.2 * y) / (exp(0.2 * x) * exp(0.2 * y) + 0.5)",
    "min(sigmoid(x), sigmoid(y))",
    "max(sigmoid(x), sigmoid(y))",
    "max(exp(-softplus(x)), sigmoid(x) * sigmoid(y))",
    "sigmoid(x) * sqrt(sigmoid(y))",
    "0.5 * (sigmoid(x) + sigmoid(y))",
    "0.5 * (sigmoid(x) * sigmoid(y) + sigmoid(x) * (1 - sigmoid(y)))",
    "0.5 * (1 - tanh(x))",
    "sigmoid(x) / (sigmoid(x) + sigmoid(y))",
];

fn agree(body: &str, kind: &str) {
    let source = format!(
        "recurrence r {{
            dims {{ K, V }}
            inputs {{ q: [K], k: [K], v: [V], x: {kind}, y: {kind} }}
            state {{ S: [K, V] }}
            {body}
            output o: [V] = dot(q, S) + sum(k) * sum(v) * sum(k * x + k * y);
        }}"
    );
    let extents = Extents {
        sizes: vec![5, 7],
        batch: 1,
        time: 45,
        heads: 2,
        groups: 2,
        cu_seqlens: None,
    };
    let mut case = Case::new(&source, extents, Decay::Weak, 5);
    for gates in &mut case.inputs[3..] {
        // Most steps keep something; every fourth nothing that f32 holds.
        for (i, gate) in gates.iter_mut().enumerate() {
            *gate = match i % 4 {
                0 => (500.0 * *gate).round(),
                _ => *gate,
            };
        }
    }
    let cpu = Cpu::new(Some(1)).expect("threads start");
    check(&case, &Options::default(), true, &cpu);
}

#[test]
fn a_factor_that_underflows_has_its_logarithm() {
    for factor in FACTORS {
        agree(&format!("S = ({factor}) * S + outer(k, v);"), "[]");
        agree(&format!("S = rows({factor}) * S + outer(k, v);"), "[K]");
    }
}

#[test]
fn sums_of_a_state_under_decays_that_underflow() {
    let body = "S = 0.5 * sigmoid(x) * S + 0.4 * sigmoid(x) * S + outer(k, v);";
    agree(body, "[]");
    agree(
        "S = cols(sigmoid(v)) * S; S = 0.5 * sigmoid(x) * S + 0.4 * sigmoid(y) * S + outer(k, v);",
        "[]",
    );
    agree(
        "S = rows(sigmoid(x)) * S; S = 0.25 * S + 0.5 * S + outer(k, v);",
        "[K]",
    );
}
