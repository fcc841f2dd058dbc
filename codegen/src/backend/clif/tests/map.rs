//! Maps: broadcasts, selects and sums over every kind of shape.

use super::{Draft, check};
use baton_ir::chunked::Direction;
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use baton_ir::tile::{Along, Fill, Op, Reduce, Scalar};

const SIZES: [usize; 8] = [1, 3, 4, 5, 16, 17, 34, 64];

#[test]
fn tiles() {
    let body = vec![
        Scalar::Operand(0),
        Scalar::Operand(1),
        Scalar::Operand(2),
        Scalar::Operand(3),
        Scalar::Unary(UnaryFn::Exp, 1),
        Scalar::Binary(BinaryFn::Mul, 0, 4),
        Scalar::Binary(BinaryFn::Mul, 2, 3),
        Scalar::Binary(BinaryFn::Add, 5, 6),
        Scalar::Select(2, 1, 0, 3),
        Scalar::Number(0.5),
        Scalar::Binary(BinaryFn::Sub, 8, 9),
        Scalar::Binary(BinaryFn::Sub, 7, 10),
    ];
    let with = |more: &[Scalar]| [&body[..], more].concat();
    for rows in SIZES {
        for cols in SIZES {
            let mut draft = Draft::new(rows, Direction::Forward);
            let operands = vec![
                (draft.tile(&[rows, cols], -1.0, 1.0), Along::Both),
                (draft.tile(&[rows], -1.0, 1.0), Along::First),
                (draft.tile(&[cols], -1.0, 1.0), Along::Second),
                (draft.tile(&[], -1.0, 1.0), Along::None),
            ];
            let bodies = [
                with(&[]),
                with(&[Scalar::Valid(11)]),
                with(&[Scalar::Causal(11, false), Scalar::Valid(12)]),
                with(&[Scalar::Causal(11, true), Scalar::Valid(12)]),
            ];
            // Only steps against steps are causal.
            let typed = if rows == cols { 4 } else { 2 };
            for body in bodies.into_iter().take(typed) {
                for (reduce, shape) in [
                    (Reduce::None, vec![rows, cols]),
                    (Reduce::First, vec![cols]),
                    (Reduce::Second, vec![rows]),
                    (Reduce::All, vec![]),
                ] {
                    let op = Op::Map {
                        shape: vec![rows as u32, cols as u32],
                        operands: operands.clone(),
                        body: body.clone(),
                        reduce,
                    };
                    let out = draft.node(op, &shape);
                    draft.keep(out);
                }
            }
            for len in [1, rows.div_ceil(2), rows] {
                check(&draft, len, 2, 2e-6);
            }
        }
    }
}

/// Every sum at every width: nothing that stands in padding, which is NaN here, is summed.
#[test]
fn sums_of_every_width() {
    for cols in 1..=50 {
        let rows = 3;
        let mut draft = Draft::new(rows, Direction::Forward);
        let x = draft.tile(&[rows, cols], 0.5, 1.0);
        let y = draft.tile(&[cols], 0.5, 1.0);
        for (reduce, shape) in [
            (Reduce::First, vec![cols]),
            (Reduce::Second, vec![rows]),
            (Reduce::All, vec![]),
        ] {
            let op = Op::Map {
                shape: vec![rows as u32, cols as u32],
                operands: vec![(x, Along::Both), (y, Along::Second)],
                body: vec![
                    Scalar::Operand(0),
                    Scalar::Operand(1),
                    Scalar::Binary(BinaryFn::Mul, 0, 1),
                ],
                reduce,
            };
            let out = draft.node(op, &shape);
            draft.keep(out);
        }
        let op = Op::Map {
            shape: vec![cols as u32],
            operands: vec![(y, Along::First)],
            body: vec![Scalar::Operand(0)],
            reduce: Reduce::All,
        };
        let out = draft.node(op, &[]);
        draft.keep(out);
        check(&draft, rows, 2, 2e-6);
    }
}

#[test]
fn vectors() {
    for n in SIZES {
        let mut draft = Draft::new(n, Direction::Forward);
        // What is summed over steps is zero past the end, one way or the other.
        let steps = [Fill::Zero, Fill::Repeat].map(|fill| draft.steps(&[], fill));
        let number = draft.tile(&[], -1.0, 1.0);
        for reduce in [Reduce::None, Reduce::All] {
            for valid in [false, true] {
                let of = steps[usize::from(valid)];
                let operands = vec![(of, Along::First), (number, Along::None)];
                let mut body = vec![
                    Scalar::Operand(0),
                    Scalar::Operand(1),
                    Scalar::Binary(BinaryFn::Div, 0, 1),
                ];
                body.extend(valid.then_some(Scalar::Valid(2)));
                let op = Op::Map {
                    shape: vec![n as u32],
                    operands,
                    body,
                    reduce,
                };
                let shape: &[usize] = if reduce == Reduce::None { &[n] } else { &[] };
                let out = draft.node(op, shape);
                draft.keep(out);
            }
        }
        for len in [1, n, 2 * n - 1] {
            check(&draft, len, 1, 2e-6);
        }
    }
}
