//! Decays, their adjoints and the trilinear form, at every size and strictness.

use super::{Draft, check, check_strictly};
use baton_ir::chunked::{Direction, Interval, Partial};
use baton_ir::tile::Op;

const SIZES: [usize; 7] = [1, 3, 5, 16, 17, 33, 64];

/// Ranges of log decays: none, weak, strong (the sum over a chunk is below -200), with growth.
const DECAYS: [(f32, f32); 4] = [(0.0, 0.0), (-0.1, 0.0), (-8.0, 0.0), (-0.2, 0.1)];

#[test]
fn decays() {
    for c in SIZES.into_iter().chain([128]) {
        for (low, high) in DECAYS {
            let mut draft = Draft::new(c, Direction::Forward);
            let l = draft.tile(&[c], low, high);
            for strict in [false, true] {
                let between = draft.node(Op::Decay(Interval::Between, strict, l), &[c, c]);
                draft.keep(between);
                for n in [0, 1, 5, 16, 40] {
                    let dims: &[usize] = if n == 0 { &[] } else { &[n] };
                    let rows = [&[c], dims].concat();
                    let l = draft.tile(&rows, low, high);
                    for interval in [Interval::Start, Interval::End, Interval::Total] {
                        let shape = match interval {
                            Interval::Total => dims.to_vec(),
                            _ => rows.clone(),
                        };
                        let out = draft.node(Op::Decay(interval, strict, l), &shape);
                        draft.keep(out);
                    }
                }
            }
            check_strictly(&draft, c, 1, 6e-7);
        }
    }
}

#[test]
fn spreads() {
    for c in SIZES {
        let mut draft = Draft::new(c, Direction::Forward);
        for strict in [false, true] {
            let x = draft.tile(&[c, c], -1.0, 1.0);
            let out = draft.node(Op::Spread(Interval::Between, strict, x), &[c]);
            draft.keep(out);
            for n in [0, 1, 5, 16, 40] {
                let dims: &[usize] = if n == 0 { &[] } else { &[n] };
                let rows = [&[c], dims].concat();
                let total = draft.tile(dims, -1.0, 1.0);
                let each = draft.tile(&rows, -1.0, 1.0);
                for (interval, x) in [
                    (Interval::Start, each),
                    (Interval::End, each),
                    (Interval::Total, total),
                ] {
                    let out = draft.node(Op::Spread(interval, strict, x), &rows);
                    draft.keep(out);
                }
            }
        }
        check(&draft, c, 1, 1e-6);
    }
}

/// A pair that does not count may hold anything finite, and a reset (-inf) forgets.
#[test]
fn a_reset_forgets() {
    let c = 20;
    let mut draft = Draft::new(c, Direction::Forward);
    let l = draft.tile(&[c], f32::NEG_INFINITY, f32::NEG_INFINITY);
    for strict in [false, true] {
        let out = draft.node(Op::Decay(Interval::Between, strict, l), &[c, c]);
        draft.keep(out);
    }
    check(&draft, c, 1, 0.0);
}

#[test]
fn trilinear() {
    for c in SIZES.into_iter().chain([48, 100, 128]) {
        for n in [1, 5, 16, 40] {
            for (low, high) in DECAYS {
                let mut draft = Draft::new(c, Direction::Forward);
                let m = draft.tile(&[c, c], -1.0, 1.0);
                let q = draft.tile(&[c, n], -1.0, 1.0);
                let k = draft.tile(&[c, n], -1.0, 1.0);
                let l = draft.tile(&[c, n], low, high);
                for strict in [false, true] {
                    for (partial, operands, shape) in [
                        (Partial::Weights, vec![q, k], [c, c]),
                        (Partial::Query, vec![m, k], [c, n]),
                        (Partial::Key, vec![m, q], [c, n]),
                        (Partial::LogDecay, vec![m, q, k], [c, n]),
                    ] {
                        let op = Op::Trilinear(partial, strict, operands, l);
                        let out = draft.node(op, &shape);
                        draft.keep(out);
                    }
                }
                check_strictly(&draft, c, 1, 2e-6);
            }
        }
    }
}
