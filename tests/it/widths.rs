//! Every width on the CPU: a dim that is no multiple of a vector's lanes leaves padding behind each
//! row, and nothing that stands there may reach a number.
//!
//! Dims go through all residues of 16, each in both places, with few steps: what is looked for
//! depends on the width alone. The recurrences of one's own are those whose outputs or gradients
//! sum over a dim.

use crate::devices::check;
use baton_ir::builtin;
use baton_runtime::Options;
use baton_runtime::device::cpu::Cpu;
use baton_tests::{Case, Decay, Extents};

/// Sums over a dim: as such, in a norm, in a product with itself, of a state.
const SUMS: &[&str] = &[
    "recurrence summed {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], g: [] }
        state { S: [K, V] }
        S = exp(g) * S + outer(k, v);
        output o: [V] = dot(q, S) * sum(k) + sum(v);
    }",
    "recurrence normed {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], g: [K] }
        state { S: [K, V] }
        S = rows(exp(g)) * S + outer(l2norm(k), v);
        output o: [V] = dot(l2norm(q), S);
    }",
    "recurrence squared {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], g: [] }
        state { S: [K, V], n: [K] }
        S = exp(g) * S + outer(k / (1 + dot(k, k)), v);
        n = exp(g) * n + k;
        output o: [V] = dot(q, S) / (1 + dot(q, q)) * sum(n);
    }",
];

fn extents(sizes: [usize; 2], time: usize) -> Extents {
    Extents {
        sizes: sizes.to_vec(),
        batch: 1,
        time,
        heads: 2,
        groups: 2,
        cu_seqlens: None,
    }
}

#[test]
fn every_width_of_every_recurrence() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let texts = builtin::NAMES.iter().filter_map(|name| builtin::text(name));
    for text in texts.chain(SUMS.iter().copied()) {
        for (i, width) in (1..=32).chain([45, 46, 47]).enumerate() {
            let sizes = [width, if width <= 32 { 33 - width } else { 14 }];
            // With keys of one entry a quotient of readouts depends on the query by its epsilon alone, and
            // all keys are parallel, for which `reads` has the bounds where there are two factors a step.
            if width == 1
                && ["dot(query, z)", "dot(query, n)", "dot(k1, S)"]
                    .iter()
                    .any(|part| text.contains(part))
            {
                continue;
            }
            let time = [19, 6][i % 2];
            let case = Case::new(text, extents(sizes, time), Decay::Weak, width as u64);
            check(&case, &Options::default(), true, &cpu);
        }
    }
}

/// What was found wrong, at the sizes at which it was found.
#[test]
fn widths_that_once_summed_padding() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    for (name, sizes, time) in [
        ("rwkv6", [29, 20], 40),
        ("rwkv6", [30, 20], 200),
        ("rwkv6", [31, 20], 40),
        ("mamba2", [16, 13], 40),
        ("mamba2", [16, 14], 40),
        ("hgrn2", [16, 13], 40),
    ] {
        let case = Case::builtin(name, extents(sizes, time), Decay::Weak, 1);
        check(&case, &Options::default(), true, &cpu);
    }
}
